"""The spool: where an event is before it is in ClickHouse, and the reason an answer may say yes.

`commit` returns when its records are on disk. Commits that arrive while an fsync runs share the
next one, which starts the moment the last one returns: no timer, so a lone client waits for one
fsync, and a hundred clients wait for at most two. Records that the disk did not take are never
acknowledged: the caller is told, and asks the client to send again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from desirepath.errors import LogError, LogFullError
from desirepath.journal import Journal
from desirepath_collector.http.answers import Refusal

__all__ = ["SEGMENT_BYTES", "Spool"]

SEGMENT_BYTES: Final = 32 << 20


class Spool:
    """Group commit over a journal; made and used on one event loop.

    Parameters
    ----------
    journal
        Where the records go. The loader reads the same one.
    on_commit
        Called on the event loop after each group became durable.
    """

    def __init__(self, journal: Journal, on_commit: Callable[[], None] | None = None) -> None:
        self.journal = journal
        self._on_commit = on_commit
        self._waiting: list[asyncio.Future[None]] = []
        self._running: asyncio.Task[None] | None = None
        self._syncer = ThreadPoolExecutor(1, thread_name_prefix="spool-sync")
        self.sync_failures = 0
        self.groups = 0

    @classmethod
    def open(
        cls, folder: Path, *, max_bytes: int, on_commit: Callable[[], None] | None = None
    ) -> Spool:
        """Open or make the spool in a folder; LogHeldError if another process owns it."""
        segment_bytes = min(SEGMENT_BYTES, max_bytes)
        return cls(
            Journal.open(folder, max_bytes=max_bytes, segment_bytes=segment_bytes), on_commit
        )

    async def commit(self, records: Sequence[bytes]) -> None:
        """Return when the records are durable.

        Raises
        ------
        Refusal
            `full` if there is no room, `disk` if the disk failed. Nothing may be acknowledged.
        """
        if not records:
            return
        try:
            self.journal.append_many(records)
        except LogFullError as error:
            raise Refusal("full", "the spool is full", retry_after_s=5) from error
        except LogError as error:
            raise Refusal("disk", "the spool cannot be written", retry_after_s=5) from error
        loop = asyncio.get_running_loop()
        durable: asyncio.Future[None] = loop.create_future()
        self._waiting.append(durable)
        if self._running is None:
            self._running = loop.create_task(self._sync_groups())
        # A client that hangs up must not cancel what others wait for; each future is its own.
        await durable

    async def _sync_groups(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                group, self._waiting = self._waiting, []
                failure: Refusal | None = None
                try:
                    await loop.run_in_executor(self._syncer, self.journal.sync)
                except LogError as error:
                    self.sync_failures += 1
                    failure = Refusal("disk", "the disk failed to keep the events")
                    failure.__cause__ = error
                self.groups += 1
                for durable in group:
                    if durable.done():
                        continue
                    if failure is None:
                        durable.set_result(None)
                    else:
                        durable.set_exception(failure)
                if failure is None and self._on_commit is not None:
                    self._on_commit()
        finally:
            self._running = None

    async def close(self) -> None:
        """Wait for the running group, seal, and give the folder free."""
        if self._running is not None:
            await asyncio.wait([self._running])
        loop = asyncio.get_running_loop()
        with contextlib.suppress(LogError):
            await loop.run_in_executor(self._syncer, self.journal.close)
        self._syncer.shutdown()

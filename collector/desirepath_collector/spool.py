"""The spool: where an event is before it is in ClickHouse, and the reason an answer may say yes.

`submit` calls back when its records are on disk. Records that arrive while an fsync runs share
the next one, which starts the moment the last one returns: no timer, so a lone client waits for
one fsync, and a hundred clients wait for at most two. Records that the disk did not take are
never acknowledged: the caller is told, and asks the client to send again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from desirepath.errors import LogError, LogFullError
from desirepath.journal import DiskFileSystem, File, Journal
from desirepath_collector.http.answers import Refusal

__all__ = ["SEGMENT_BYTES", "Done", "Spool"]

SEGMENT_BYTES: Final = 32 << 20
_LARGE_BYTES: Final = 16 << 10

Done = Callable[[Refusal | None], None]
"""Called on the event loop with None when the records are durable, else with the reason."""


class _SpoolFiles(DiskFileSystem):
    """Writes large records past the journal's memory map.

    A fresh page of a shared map costs a fault and a note in the file system's own journal, 3 us
    each: 190 us for the record of 500 events, where one pwrite takes 85.
    """

    def create(self, path: Path, size: int) -> File:
        file = super().create(path, size)
        try:
            return _SpoolFile(file, os.open(path, os.O_WRONLY | os.O_CLOEXEC))
        except OSError:
            file.close()
            path.unlink()
            raise


class _SpoolFile:
    def __init__(self, file: File, descriptor: int) -> None:
        self._descriptor = descriptor
        self._file = file
        self.size = file.size
        self.read = file.read
        self.truncate = file.truncate
        self.sync = file.sync

    def write(self, offset: int, data: bytes) -> None:
        if len(data) < _LARGE_BYTES:
            self._file.write(offset, data)
            return
        view = memoryview(data)
        while view:
            written = os.pwrite(self._descriptor, view, offset)
            offset += written
            view = view[written:]

    def close(self) -> None:
        self._file.close()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


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
        self.groups = 0
        self.sync_failures = 0
        self._on_commit = on_commit
        self._waiting: list[Done] = []
        self._syncing = False
        self._loop = asyncio.get_running_loop()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._groups: queue.SimpleQueue[list[Done] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._sync_groups, name="spool-sync", daemon=True)
        self._thread.start()

    @classmethod
    def open(
        cls, folder: Path, *, max_bytes: int, on_commit: Callable[[], None] | None = None
    ) -> Spool:
        """Open or make the spool in a folder; LogHeldError if another process owns it."""
        journal = Journal.open(
            folder,
            max_bytes=max_bytes,
            segment_bytes=min(SEGMENT_BYTES, max_bytes),
            files=_SpoolFiles(),
        )
        return cls(journal, on_commit)

    def submit(self, records: Sequence[bytes], done: Done) -> None:
        """Append records; `done` is called, later, when they are durable or cannot be.

        Raises
        ------
        Refusal
            `full` if there is no room, `disk` if nothing can be written. Nothing was kept.
        """
        try:
            self.journal.append_many(records)
        except LogFullError as error:
            raise Refusal("full", "the spool is full", retry_after_s=5) from error
        except LogError as error:
            raise Refusal("disk", "the spool cannot be written", retry_after_s=5) from error
        self._waiting.append(done)
        if not self._syncing:
            self._next_group()

    async def commit(self, records: Sequence[bytes]) -> None:
        """Return when the records are durable.

        Raises
        ------
        Refusal
            `full` or `disk`; nothing may be acknowledged.
        """
        if not records:
            return
        durable: asyncio.Future[None] = self._loop.create_future()

        def done(failure: Refusal | None) -> None:
            # A client that hung up cancelled its own future only.
            if durable.done():
                return
            if failure is None:
                durable.set_result(None)
            else:
                durable.set_exception(failure)

        self.submit(records, done)
        await durable

    async def close(self) -> None:
        """Wait for the running group, seal, and give the folder free."""
        await self._quiet.wait()
        self._groups.put(None)
        await self._loop.run_in_executor(None, self._thread.join)
        with contextlib.suppress(LogError):
            await self._loop.run_in_executor(None, self.journal.close)

    def _next_group(self) -> None:
        group, self._waiting = self._waiting, []
        self._syncing = True
        self._quiet.clear()
        self._groups.put(group)

    def _synced(self, group: list[Done], failure: Refusal | None) -> None:
        self.groups += 1
        self._syncing = False
        if self._waiting:
            # The disk works on the next group while this one is answered.
            self._next_group()
        else:
            self._quiet.set()
        if failure is not None:
            self.sync_failures += 1
        for done in group:
            done(failure)
        if failure is None and self._on_commit is not None:
            self._on_commit()

    def _sync_groups(self) -> None:
        while (group := self._groups.get()) is not None:
            failure: Refusal | None = None
            try:
                self.journal.sync()
            except Exception as error:
                # Whatever went wrong, it was not made durable.
                failure = Refusal("disk", "the disk failed to keep the events")
                failure.__cause__ = error
            with contextlib.suppress(RuntimeError):  # the loop was closed over our head
                self._loop.call_soon_threadsafe(self._synced, group, failure)

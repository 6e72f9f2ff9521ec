"""Queue, sender and ledger of one tracker, and their life beside the process's own.

A fork leaves the parent's queue, thread and sockets to the parent; the child begins with a queue
folder of its own at its first event. At the interpreter's exit every pipeline gets a bounded time
to send; what is left on disk is for the next start. Pipelines are held here until they are
closed, so a tracker that is simply dropped loses nothing.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Callable
from typing import Final

from desirepath import _ids
from desirepath._ledger import Ledger
from desirepath._queue import Queue, destination_folder
from desirepath._sender import NEVER, Sender
from desirepath._settings import Settings
from desirepath.transport import Transport

__all__ = ["Pipeline"]


class Pipeline:
    """From a finished record to the collector."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        *,
        refused: Callable[[bytes], bool] | None = None,
        after_fork: Callable[[], None] | None = None,
    ) -> None:
        self.settings = settings
        self._after_fork = after_fork
        self.ledger = ledger
        folder = None
        if settings.queue == "disk":
            folder = destination_folder(
                settings.queue_dir, settings.endpoint, str(settings.write_key)
            )
        self.folder = folder
        self.queue = Queue(
            folder,
            endpoint=settings.endpoint,
            max_bytes=settings.max_queue_bytes,
            memory_bytes=settings.max_memory_bytes,
            on_trouble=self._trouble,
            on_note=self._note,
            on_lost=ledger.lose,
        )
        transport = Transport(
            settings.endpoint,
            str(settings.write_key),
            timeout_s=settings.timeout_s,
            gzip=settings.gzip,
        )
        self.sender = Sender(
            self.queue,
            transport,
            ledger,
            batch_events=settings.batch_events,
            batch_bytes=settings.batch_bytes,
            flush_interval_s=settings.flush_interval_s,
            dead_letters=None if folder is None else folder / "dead-letter.jsonl",
            refused=refused,
        )
        self.closed = False
        self._finalized = False
        self._ended = False
        self._end_lock = threading.RLock()
        _register(self)

    def put(self, record: bytes) -> None:
        """Keep a record and let the sender know, if it waits for that."""
        if self.closed:
            self.ledger.refuse("closed", "the tracker is closed")
            return
        queue = self.queue
        if not queue.put(record):
            self.ledger.lose("queue_full", 1, "neither disk nor memory has room")
        sender = self.sender
        threshold = sender.threshold
        # While the sender is busy nobody needs to count.
        if threshold != NEVER and queue.pending >= threshold:
            if self._ended:
                # The interpreter is going down: what is on disk is for the next start.
                if queue.memory_records:
                    self._close_queue()
                return
            sender.wake()
            if not self._finalized:
                self._finalize()

    def begin_close(self, timeout_s: float) -> None:
        """Take nothing more, and let the sender finish."""
        self.closed = True
        self.begin_exit(timeout_s)

    def begin_exit(self, timeout_s: float) -> None:
        """Let the sender finish; what comes still is kept on disk."""
        if not self._ended:
            self.sender.begin_close(timeout_s)

    def end_close(self) -> None:
        """Wait for the sender, within its time, and give the queue up."""
        self.sender.join()
        self._ended = True
        self._close_queue()
        _unregister(self)

    def end_close_later(self) -> None:
        """Let the sender's thread do so as its last act."""
        self.sender.at_end = self.end_close
        if not self.sender.running:
            self.end_close()

    def _close_queue(self) -> None:
        with self._end_lock:
            dropped = self.queue.close(for_good=self.closed)
        if dropped:
            self.ledger.lose("memory_at_exit", dropped, "they waited in memory when time was up")

    def forget(self) -> None:
        """In a forked child."""
        self.queue.forget()
        self.sender.forget()
        self.ledger.reset()
        self._finalized = False
        self._ended = self.closed
        self._end_lock = threading.RLock()
        if self._after_fork is not None:
            self._after_fork()

    def _trouble(self, text: str) -> None:
        self.ledger.say(("disk",), "warning", f"events wait in memory only: {text}")

    def _note(self, kind: str, text: str) -> None:
        self.ledger.say(("queue", kind), "warning", f"trouble in the queue's folder: {text}")

    def _finalize(self) -> None:
        # A child of multiprocessing leaves by os._exit and runs its finalizers only.
        self._finalized = True
        util = sys.modules.get("multiprocessing.util")
        process = sys.modules.get("multiprocessing.process")
        if util is not None and process is not None and process.parent_process() is not None:
            util.Finalize(None, _close_all, exitpriority=100)


_open: Final[set[Pipeline]] = set()
_open_lock = threading.Lock()


def _register(pipeline: Pipeline) -> None:
    with _open_lock:
        _open.add(pipeline)


def _unregister(pipeline: Pipeline) -> None:
    with _open_lock:
        _open.discard(pipeline)


def _close_all() -> None:
    with _open_lock:
        pipelines = list(_open)
    for pipeline in pipelines:
        pipeline.begin_exit(pipeline.settings.exit_timeout_s)
    for pipeline in pipelines:
        pipeline.end_close()


def _after_fork() -> None:
    global _open_lock
    _open_lock = threading.Lock()
    _ids.reseed()
    for pipeline in _open:
        pipeline.forget()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

"""The one background thread: takes from the queue, posts, and removes what was answered.

Started by the first event. It waits for a full batch or for `flush_interval_s`, then sends until
less than a batch is left. What it cannot deliver stays in the queue; it gives up on nothing but a
single event that the collector calls malformed or too large, which goes to the dead-letter file.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from desirepath._ledger import Ledger, log
from desirepath._pace import Pace, Step
from desirepath._queue import Mark, Queue
from desirepath.errors import LogError
from desirepath.transport import Answer, Outcome, Transport

__all__ = ["NEVER", "Sender"]

NEVER: Final = sys.maxsize
"""The threshold of a sender that is awake."""

_MAX_DEAD_LETTER_BYTES: Final = 64 << 20
_ORPHANS_EVERY_S: Final = 15.0
_SYNC_EVERY_S: Final = 1.0


class Sender:
    """Drains one queue into one transport.

    `threshold` is the number of waiting events at which the app's threads call `wake`: they read
    it on every event, so that waking costs nothing while the sender is busy.
    """

    def __init__(
        self,
        queue: Queue,
        transport: Transport,
        ledger: Ledger,
        *,
        batch_events: int,
        batch_bytes: int,
        flush_interval_s: float,
        dead_letters: Path | None,
        refused: Callable[[bytes], bool] | None = None,
    ) -> None:
        self._queue = queue
        self._transport = transport
        self._ledger = ledger
        self._batch_events = batch_events
        self._batch_bytes = batch_bytes
        self._flush_interval_s = flush_interval_s
        self._dead_letters = dead_letters
        self._refused = refused
        self._reset()

    def _reset(self) -> None:
        self._pace = Pace(self._batch_events)
        self._wake = threading.Event()
        self._progress = threading.Condition()
        # Re-entrant, because a signal handler or a finaliser may track inside `_start`.
        self._start_lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._last_try = False
        self._deadline_s = float("inf")
        self.at_end: Callable[[], None] | None = None
        self._flushing = False
        self._purging = False
        self._orphans_s = 0.0
        self._looked = 0
        self._synced_s = 0.0
        self.threshold = 1

    def wake(self) -> None:
        """There is something to do."""
        self.threshold = NEVER
        if self._thread is None:
            self._start()
        self._wake.set()

    def flush(self, timeout_s: float) -> bool:
        """Wait until what waits now is dealt with; False if that took too long."""
        deadline = time.monotonic() + timeout_s
        done = self.hurry()
        with self._progress:
            while not done():
                left = deadline - time.monotonic()
                if left <= 0 or self._thread is None:
                    return done()
                self._progress.wait(min(left, 0.5))
        return True

    def hurry(self) -> Callable[[], bool]:
        """Send what waits, also what dead processes left; the answer tells whether that is done."""
        mark = self._queue.mark()
        looked = self._looked
        left_behind: Mark | None = None
        self._flushing = True
        self._orphans_s = 0.0
        self.wake()

        def done() -> bool:
            nonlocal left_behind
            if self._looked == looked:
                return False
            if left_behind is None:
                left_behind = self._queue.mark()
            return self._queue.passed(mark) and self._queue.adopted_passed(left_behind)

        return done

    def purge(self) -> None:
        """Take out of the queue what may no longer leave."""
        self._purging = True
        self.wake()

    def begin_close(self, timeout_s: float) -> None:
        """Let the thread send what it can until then, and end."""
        self._deadline_s = time.monotonic() + timeout_s
        self._closing = True
        if self._queue.pending or self._thread is not None:
            self.wake()

    def join(self) -> None:
        """Wait for the thread's end, at most until the deadline of `begin_close`."""
        thread = self._thread
        if thread is not None and thread.ident and thread is not threading.current_thread():
            thread.join(max(0.0, self._deadline_s - time.monotonic()))

    @property
    def running(self) -> bool:
        """Whether there is a thread."""
        return self._thread is not None

    def forget(self) -> None:
        """In a forked child: the parent's thread and connection are not ours."""
        self._transport.forget()
        self._reset()

    # -- the thread ------------------------------------------------------------------------------

    def _start(self) -> None:
        with self._start_lock:
            if self._thread is not None:
                return
            thread = threading.Thread(target=self._run, name="desirepath-sender", daemon=True)
            # Before it runs: who comes in between must not start another.
            self._thread = thread
            try:
                thread.start()
            except RuntimeError as error:
                self._thread = None
                # The interpreter is going down: what is on disk is for the next start.
                self._ledger.say(("thread",), "warning", f"cannot start the sender: {error}")

    def _run(self) -> None:
        try:
            while not self._over():
                self._look_for_orphans()
                if not self._wait():
                    continue
                self._drain()
        except LogError as error:
            if not self._closing:
                self._ledger.say(("queue",), "error", error.message)
        except Exception:
            log("error", "the sender failed", trace=True)
        finally:
            self._transport.close()
            with self._progress:
                self._thread = None
                self.threshold = 1
                self._progress.notify_all()
            if self.at_end is not None:
                self.at_end()

    def _over(self) -> bool:
        if not self._closing:
            return False
        return not self._queue.pending or time.monotonic() >= self._deadline_s

    def _wait(self) -> bool:
        """Wait for a batch; False to look round once more."""
        if self._flushing or self._closing:
            return True
        self._wake.clear()
        self.threshold = 1
        if not self._queue.pending:
            self._wake.wait(_ORPHANS_EVERY_S)
            self.threshold = NEVER
            if not self._queue.pending:
                return self._flushing or self._closing
            self._wake.clear()
        self.threshold = self._batch_events
        if self._queue.pending < self._batch_events and not (self._flushing or self._closing):
            self._wake.wait(self._flush_interval_s)
        self.threshold = NEVER
        return True

    def _drain(self) -> None:
        while True:
            if self._purging and self._refused is not None:
                self._purging = False
                self._ledger.discard("consent", self._queue.purge(self._refused))
            take = self._queue.peek(self._pace.limit, self._batch_bytes)
            if not take.records:
                self._flushing = False
                self._tell()
                return
            records = take.records
            if self._refused is not None:
                records = [record for record in records if not self._refused(record)]
            answer = self._post(records) if records else Answer(Outcome.DELIVERED)
            step = self._pace.after(answer, len(take.records))
            if step is Step.WAIT:
                self._failed(answer)
                if not self._pause():
                    return
                continue
            if step is Step.SMALLER:
                self._ledger.retries += 1
                continue
            if step is Step.BURY:
                self._bury(take.records[0], answer)
            else:
                self._ledger.discard("consent", len(take.records) - len(records))
                self._delivered(answer, records)
            self._queue.done(take)
            self._tell()
            if self._over():
                return
            if not self._flushing and self._queue.pending < self._batch_events:
                return

    def _post(self, records: list[bytes]) -> Answer:
        try:
            return self._transport.post(records)
        except Exception as error:
            # Ours or the machine's, whatever it is: it is no reason to give up.
            if not self._ledger.said(("post",)):
                log("error", "a request failed", trace=True)
            return Answer(Outcome.RETRY, 0, repr(error))

    def _tell(self) -> None:
        with self._progress:
            self._progress.notify_all()

    def _delivered(self, answer: Answer, records: list[bytes]) -> None:
        ledger = self._ledger
        ledger.delivered += len(records)
        ledger.quarantined += len(answer.quarantined)
        self._queue.note_refused(False)
        for one in answer.quarantined:
            for violation in one.violations:
                code, pointer = str(violation.get("code")), str(violation.get("pointer"))
                ledger.say(
                    ("quarantined", code, pointer),
                    "warning",
                    f"the collector set an event aside: {pointer}: {code}",
                )
        if ledger.forget(("delivery",)):
            log("warning", "delivery works again")

    def _failed(self, answer: Answer) -> None:
        self._ledger.retries += 1
        if answer.status == 401:
            self._queue.note_refused(True)
        self._ledger.say(
            ("delivery",),
            "warning",
            f"delivery fails, events wait in the queue: {answer.reason}",
        )

    def _pause(self) -> bool:
        """Wait before the next attempt; False where the time to close has come."""
        until = time.monotonic() + self._pace.delay_s
        while (now := time.monotonic()) < until:
            if self._closing and not self._last_try and not self._pace.asked:
                self._last_try = True
                return True
            if self._closing and until >= self._deadline_s:
                # Nothing more can come of it; the rest stays where it is.
                self._deadline_s = now
                return False
            self._wake.clear()
            if self._flushing and not self._pace.asked and not self._closing:
                # Somebody waits: try sooner, but not in a tight loop.
                until = min(until, now + 0.25)
            if self._purging:
                return True
            self._sync()
            self._wake.wait(min(max(0.0, until - now), _SYNC_EVERY_S))
        return not self._over()

    def _sync(self) -> None:
        """What waits long is made safe from a power cut."""
        now = time.monotonic()
        if now - self._synced_s >= _SYNC_EVERY_S:
            self._synced_s = now
            self._queue.sync()

    def _look_for_orphans(self) -> None:
        now = time.monotonic()
        if now >= self._orphans_s:
            self._orphans_s = now + _ORPHANS_EVERY_S
            self._ledger.adopted += self._queue.adopt()
            if homeless := self._queue.adopt_refused():
                self._ledger.adopted += homeless
                self._ledger.say(
                    ("refused",),
                    "warning",
                    f"{homeless:,} events that wait under a refused write key go under this one",
                )
            self._looked += 1
            self._tell()

    def _bury(self, record: bytes, answer: Answer) -> None:
        reason = "too_large" if answer.outcome is Outcome.TOO_LARGE else "malformed"
        why = answer.reason
        if self._dead_letters is not None:
            try:
                descriptor = os.open(
                    self._dead_letters, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600
                )
                with os.fdopen(descriptor, "ab") as file:
                    if file.tell() > _MAX_DEAD_LETTER_BYTES:
                        raise OSError(f"{self._dead_letters} is full")
                    file.write(record + b"\n")
                    file.flush()
                    os.fsync(file.fileno())
                why += f"; kept in {self._dead_letters}"
            except OSError as error:
                why += f"; not kept: {error}"
        self._ledger.lose(reason, 1, why)

"""Sending a file's rows: one thread reads and shapes, another waits for the collector's answers.

Every message is answered before `Replay.send` ends, or an exception says why not.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import msgspec

from desirepath import transport
from desirepath._pace import Pace, Step
from desirepath._rows import RowFile
from desirepath._shape import BadRow, Shape
from desirepath.errors import DeliveryError
from desirepath.transport import Answer, Transport

if TYPE_CHECKING:
    from desirepath.plan import Plan

__all__ = ["Outcome", "Replay"]

_BATCH_EVENTS: Final = 500
_BATCH_BYTES: Final = 480_000
_BATCHES_AHEAD: Final = 4
_GIVE_UP_S: Final = 60.0
_STEP_ROWS: Final = 500


class Outcome(msgspec.Struct):
    """What became of a file's lines."""

    lines: int = 0
    accepted: int = 0
    quarantined: int = 0
    reserved: int = 0
    """Accepted with violations."""
    events: Counter[str] = msgspec.field(default_factory=Counter)
    reasons: Counter[tuple[str, str]] = msgspec.field(default_factory=Counter)
    """(code, pointer) of violations."""
    broken: list[tuple[int, str]] = msgspec.field(default_factory=list)
    """Lines that could not be sent, with the reason."""


class Replay:
    """The replay of one file."""

    def __init__(self, file: RowFile, shape: Shape, *, plan: Plan | None = None) -> None:
        self._file = file
        self._shape = shape
        self._check = None if plan is None else plan.compile().check
        self.outcome = Outcome()

    def check(self) -> Iterator[int]:
        """Read and check everything, send nothing; yields how many events were read."""
        for messages in self._batches():
            yield self._read(len(messages))

    def send(self, endpoint: str, write_key: str) -> Iterator[int]:
        """Send everything; yields how many events were answered.

        Raises
        ------
        DeliveryError
            If the collector cannot be reached, or refuses what is sent.
        """
        courier = _Courier(endpoint, write_key, self.outcome)
        waiting: deque[Future[None]] = deque()
        with ThreadPoolExecutor(1, thread_name_prefix="desirepath-send") as pool:
            try:
                for messages in self._batches():
                    waiting.append(pool.submit(courier.deliver, messages))
                    while len(waiting) > _BATCHES_AHEAD or (waiting and waiting[0].done()):
                        waiting.popleft().result()
                    yield self._read(0)
                while waiting:
                    waiting.popleft().result()
                    yield self._read(0)
            except BaseException:
                courier.stopped.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
            finally:
                courier.close()
        self.outcome.broken.sort()

    def _read(self, more: int) -> int:
        outcome = self.outcome
        return outcome.accepted + outcome.quarantined + more

    def _batches(self) -> Iterator[list[tuple[int, bytes]]]:
        outcome = self.outcome
        messages: list[tuple[int, bytes]] = []
        size = 0
        for row in self._file.rows():
            outcome.lines += 1
            if row.values is None:
                outcome.broken.append((row.line, row.error))
                continue
            try:
                record, message = self._shape.message(row.line, row.values)
            except BadRow as error:
                outcome.broken.append((row.line, str(error)))
                continue
            outcome.events[message.get("event", message["type"])] += 1
            if self._check is not None:
                self._note(message)
            if messages and (len(messages) >= _BATCH_EVENTS or size + len(record) > _BATCH_BYTES):
                yield messages
                messages, size = [], 0
            messages.append((row.line, record))
            size += len(record)
        if messages:
            yield messages

    def _note(self, message: dict[str, Any]) -> None:
        if self._check is None:
            return
        body = message.get("traits") if "traits" in message else message.get("properties")
        verdict = self._check(
            message["type"],
            message.get("event", ""),
            msgspec.json.encode(body or {}),
            msgspec.json.encode(message["context"]),
        )
        for violation in verdict.violations:
            self.outcome.reasons[f"plan: {violation.code}", violation.pointer] += 1


class _Courier:
    """Delivers batches one after another, with the SDK's own pace, in one thread."""

    def __init__(self, endpoint: str, write_key: str, outcome: Outcome) -> None:
        # Without sentAt: the times in a file are no reading of this machine's clock.
        self._transport = Transport(endpoint, write_key, timeout_s=30.0, sent_at=False)
        self._endpoint = endpoint
        self._outcome = outcome
        self._pace = Pace(_BATCH_EVENTS)
        self._reached = False
        self.stopped = threading.Event()

    def close(self) -> None:
        """End the connection."""
        self._transport.close()

    def deliver(self, messages: list[tuple[int, bytes]]) -> None:
        """Send until each message is answered."""
        failing_since_s = time.monotonic()
        while messages and not self.stopped.is_set():
            part = messages[: self._pace.limit]
            answer = self._transport.post([record for _, record in part])
            step = self._pace.after(answer, len(part))
            if step is Step.WAIT:
                self._wait_or_raise(answer, time.monotonic() - failing_since_s)
                continue
            failing_since_s = time.monotonic()
            self._reached = True
            if step is Step.SMALLER:
                continue
            if step is Step.BURY:
                self._outcome.broken.append((part[0][0], f"refused: {answer.reason}"))
            else:
                self._count(answer)
            messages = messages[len(part) :]

    def _count(self, answer: Answer) -> None:
        outcome = self._outcome
        outcome.accepted += answer.accepted
        outcome.quarantined += len(answer.quarantined)
        outcome.reserved += len(answer.reserved)
        for one in (*answer.quarantined, *answer.reserved):
            for violation in one.violations:
                outcome.reasons[str(violation.get("code")), str(violation.get("pointer"))] += 1

    def _wait_or_raise(self, answer: Answer, failing_s: float) -> None:
        if answer.status in (401, 403):
            raise DeliveryError(
                f"{self._endpoint} refuses the write key ({answer.reason})",
                hint="give the collector's write key with --write-key",
            )
        if answer.outcome is transport.Outcome.REFUSED:
            raise DeliveryError(
                f"{self._endpoint} does not take events ({answer.reason})",
                hint="is --endpoint the address of a collector?",
            )
        if answer.status == 0 and not self._reached:
            raise DeliveryError(
                f"{self._endpoint} cannot be reached ({answer.reason})",
                hint="start one with `desirepath serve`, or give its address with --endpoint",
            )
        if failing_s > _GIVE_UP_S:
            raise DeliveryError(f"{self._endpoint} fails for {failing_s:.0f} s ({answer.reason})")
        # Until it is stopped: a Retry-After may be minutes, and Ctrl-C waits for this thread.
        self.stopped.wait(self._pace.delay_s)

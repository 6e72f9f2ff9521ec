"""What became of every event: counted by reason, told to the app, one log line a kind."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from desirepath._imports import load_logging

if TYPE_CHECKING:
    from desirepath.plan.violations import Violation

__all__ = ["Ledger", "Level", "OnLoss", "Stats", "log"]

_MAX_KINDS: Final = 1_000
"""Different things that are logged once each."""

OnLoss = Callable[[str, int], None]
"""Called with the reason of a loss and how many events it took."""

Level = Literal["warning", "error"]


class Stats(msgspec.Struct, frozen=True):
    """The counts since the tracker was made, in this process.

    `tracked` = `delivered` + `queued` + the sums of `lost` and `discarded`, once nothing is under
    way; adopted events, which a dead process left, count as tracked.

    Parameters
    ----------
    tracked
        Events that were handed in.
    queued
        Events that wait, or are under way; after `close` those that are left on disk.
    delivered
        Events the collector has stored, of them `quarantined` aside.
    retries
        Attempts that failed and were, or will be, repeated.
    discarded
        Events that were not to be sent, by reason: `opt_out`, `consent`, `sampling`,
        `before_send`.
    violations
        Violations found here, by code.
    lost
        Events that could not be kept or will never be taken, by reason: `queue_full`,
        `malformed`, `too_large`, `disk`, `memory_at_exit`, `closed`, `error`.
    """

    tracked: int
    queued: int
    delivered: int
    quarantined: int
    retries: int
    discarded: dict[str, int]
    violations: dict[str, int]
    lost: dict[str, int]


class Ledger:
    """Counts; safe to use from any thread."""

    def __init__(self, on_loss: OnLoss | None) -> None:
        self._on_loss = on_loss
        self.reset()

    def reset(self) -> None:
        """Begin anew, in a forked child."""
        self._lock = threading.RLock()
        self._said: set[tuple[str, ...]] = set()
        self._lost: Counter[str] = Counter()
        self._discarded: Counter[str] = Counter()
        self._violations: Counter[str] = Counter()
        self._untaken = 0
        self.adopted = 0
        self.delivered = 0
        self.quarantined = 0
        self.retries = 0

    def lose(self, reason: str, events: int, why: str) -> None:
        """Count a loss and say so."""
        with self._lock:
            self._lost[reason] += events
        self.say(("lost", reason), "error", f"events are lost ({reason}): {why}")
        if self._on_loss is not None:
            try:
                self._on_loss(reason, events)
            except Exception:
                log("error", "the on_loss callback failed", trace=True)

    def refuse(self, reason: str, why: str) -> None:
        """Count an event that is lost before the queue has seen it."""
        with self._lock:
            self._untaken += 1
        self.lose(reason, 1, why)

    def discard(self, reason: str, events: int | None = None) -> None:
        """Count events that were not to be sent: so many that waited, or the one of this call."""
        with self._lock:
            if events is None:
                self._untaken += 1
            if events != 0:
                self._discarded[reason] += events or 1

    def report(self, event: str, violations: Iterable[Violation]) -> None:
        """Count an event's violations and log each kind once."""
        with self._lock:
            for violation in violations:
                self._violations[violation.code] += 1
                self.say(
                    ("violation", event, violation.code, violation.pointer),
                    "warning",
                    f"{event!r} breaks its plan: {violation}",
                )

    def say(self, kind: tuple[str, ...], level: Level, text: str) -> None:
        """One line in the app's log, once for each `kind`."""
        with self._lock:
            if kind in self._said or len(self._said) >= _MAX_KINDS:
                return
            self._said.add(kind)
        log(level, text)

    def said(self, kind: tuple[str, ...]) -> bool:
        """Note that this kind is said now; whether it had been before."""
        with self._lock:
            before = kind in self._said
            self._said.add(kind)
            return before

    def forget(self, kind: tuple[str, ...]) -> bool:
        """Let this kind be said again; whether it had been said."""
        with self._lock:
            said = kind in self._said
            self._said.discard(kind)
            return said

    def stats(self, tracked: int, queued: int) -> Stats:
        """The counts now."""
        with self._lock:
            return Stats(
                tracked=tracked + self.adopted + self._untaken,
                queued=queued,
                delivered=self.delivered,
                quarantined=self.quarantined,
                retries=self.retries,
                discarded=dict(self._discarded),
                violations=dict(self._violations),
                lost=dict(self._lost),
            )


def log(level: Level, text: str, *, trace: bool = False) -> None:
    """One line in the app's log `desirepath`."""
    # Here, because most apps never get one and importing it takes 7 ms.
    logging = load_logging()
    number = logging.ERROR if level == "error" else logging.WARNING
    logging.getLogger("desirepath").log(number, "desirepath: %s", text, exc_info=trace)

"""How many events to send next and how long to wait before: decided from the answers alone."""

from __future__ import annotations

import enum
import os
from typing import Final

from desirepath.transport import Answer, Outcome

__all__ = ["Pace", "Step"]

_FIRST_DELAY_S: Final = 0.2
_MAX_DELAY_S: Final = 30.0
_REFUSED_DELAY_S: Final = 5.0
_MAX_RETRY_AFTER_S: Final = 300.0


class Step(enum.Enum):
    """What to do with a batch after its answer."""

    DONE = enum.auto()
    SMALLER = enum.auto()
    """Send its beginning again, at most `Pace.limit` events."""
    BURY = enum.auto()
    """This one event will never be taken."""
    WAIT = enum.auto()
    """Send it again after `Pace.delay_s`."""


class Pace:
    """Exponential backoff with full jitter, Retry-After, and batches that shrink and grow.

    A batch that is too large (413) or malformed (400) is halved until it passes or a single event
    is left, which is the one to blame. Every success doubles the size again; close below a size
    that was too large it grows slowly, or every other request would be refused.
    """

    def __init__(self, batch_events: int) -> None:
        self._batch_events = batch_events
        self._failures = 0
        self._too_large = 2 * batch_events
        self.limit = batch_events
        self.delay_s = 0.0
        self.asked = False
        """Whether the collector itself asked for the delay."""

    def after(self, answer: Answer, sent: int) -> Step:
        """The step after `sent` events got `answer`."""
        outcome = answer.outcome
        if outcome is Outcome.DELIVERED:
            self._failures = 0
            grown = self.limit * 2
            if grown >= self._too_large:
                grown = self.limit + max(1, self.limit // 16)
            self.limit = min(self._batch_events, grown)
            return Step.DONE
        if outcome in (Outcome.TOO_LARGE, Outcome.MALFORMED):
            self._failures = 0
            if outcome is Outcome.TOO_LARGE:
                self._too_large = sent
            if sent > 1:
                self.limit = sent // 2
                return Step.SMALLER
            # The event was to blame, not the size.
            self._too_large = 2 * self._batch_events
            return Step.BURY
        first = _REFUSED_DELAY_S if outcome is Outcome.REFUSED else _FIRST_DELAY_S
        ceiling = min(_MAX_DELAY_S, first * 2.0 ** min(self._failures, 16))
        self._failures += 1
        # Importing `random` for this would cost every app 5 ms.
        self.delay_s = ceiling * int.from_bytes(os.urandom(4), "little") / 2**32
        self.asked = answer.retry_after_s is not None
        if answer.retry_after_s is not None:
            # Jitter on top, or all clients come back in the same moment.
            self.delay_s += min(answer.retry_after_s, _MAX_RETRY_AFTER_S)
        return Step.WAIT

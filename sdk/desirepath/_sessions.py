"""Visits: the same session id for a person's events until a pause of `timeout_s`."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import OrderedDict
from typing import Final

from desirepath import _ids

__all__ = ["Sessions"]

_MAX_PEOPLE: Final = 10_000


class Sessions:
    """Sessions of the people this process sees, the last 10,000 of them.

    Measured with the monotonic clock: the wall clock stepping back neither ends nor extends one.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self.after_fork()
        self._people: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def after_fork(self) -> None:
        """In a forked child: a thread of the parent may have held the lock."""
        # Re-entrant, because a signal handler or a finaliser may track inside `of`.
        self._lock = threading.RLock()

    def of(self, person: str) -> str:
        """The id of the session this event of `person` belongs to."""
        now = time.monotonic()
        with self._lock:
            known = self._people.get(person)
            if known is None or now - known[1] > self._timeout_s:
                if known is None and len(self._people) >= _MAX_PEOPLE:
                    self._people.popitem(last=False)
                known = (_ids.message_id(), now)
            self._people[person] = (known[0], now)
            # Gone only where this was interrupted by the first event of another person.
            with contextlib.suppress(KeyError):
                self._people.move_to_end(person)
        return known[0]

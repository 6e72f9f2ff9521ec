"""Consent by purpose, opt-out, and sampling that keeps or drops a person as a whole."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Final
from zlib import crc32

import msgspec

from desirepath.errors import SettingsError

__all__ = ["DEFAULT_PURPOSE", "Consent", "check_rates", "keeps"]

DEFAULT_PURPOSE: Final = "analytics"
"""The purpose of events that the app names no other for."""

_SALT: Final = 0x64657369


class _Head(msgspec.Struct):
    type: str = ""
    event: str | None = None


class Consent:
    """Which purposes are refused, for everybody or by one person's scope.

    Parameters
    ----------
    purposes
        Event name, or kind of call (`page`), -> purpose; others serve `analytics`.
    """

    def __init__(self, purposes: Mapping[str, str]) -> None:
        self._purposes = dict(purposes)
        self.after_fork()
        self._refused: frozenset[str] = frozenset()
        self.opted_out = False
        self._head = msgspec.json.Decoder(_Head)

    def after_fork(self) -> None:
        """In a forked child: a thread of the parent may have held the lock."""
        # Re-entrant, because a signal handler may call `consent` inside `set`.
        self._lock = threading.RLock()

    def set(self, answers: Mapping[str, bool]) -> None:
        """Note answers: purpose -> allowed."""
        with self._lock:
            refused = set(self._refused)
            for purpose, allowed in answers.items():
                (refused.discard if allowed else refused.add)(purpose)
            self._refused = frozenset(refused)

    @property
    def limited(self) -> bool:
        """Whether anything at all is refused."""
        return self.opted_out or bool(self._refused)

    def refuses(self, event: str, personal: Mapping[str, bool] | None = None) -> bool:
        """Whether an event's purpose is refused."""
        purpose = self._purposes.get(event, DEFAULT_PURPOSE)
        if personal is not None and personal.get(purpose) is False:
            return True
        return purpose in self._refused

    def refuses_record(self, record: bytes) -> bool:
        """Whether what waits in the queue may no longer leave."""
        if not self.limited:
            return False
        if self.opted_out:
            return True
        try:
            head = self._head.decode(record)
        except msgspec.MsgspecError:
            # A hook's doing: it serves what everything serves that is named nowhere.
            head = _Head()
        return self.refuses(head.event or head.type)


def keeps(person: str, rate: float) -> bool:
    """Whether a person is among the `rate` (0 to 1) that is kept; always the same answer."""
    return crc32(person.encode("utf-8", "replace"), _SALT) < rate * 2**32


def check_rates(rates: Mapping[str, float]) -> None:
    """Refuse sampling rates that are no shares."""
    for event, rate in rates.items():
        if not 0.0 <= rate <= 1.0:
            raise SettingsError(f"the sampling rate of {event!r} is {rate}, not within 0 and 1")

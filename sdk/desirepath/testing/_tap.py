"""Where every tracker's records pass while somebody listens.

The methods that make a record and that queue it are replaced for that time, on their classes:
trackers that an app made when it was imported are heard like those that the test makes, and so
are methods that it has taken from them. While a listener `captures`, no tracker's record goes on
to the queue, so neither disk nor network is touched.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol

from desirepath._ledger import Ledger
from desirepath._pipeline import Pipeline
from desirepath._recorder import Recorder
from desirepath.tracker import Tracker

if TYPE_CHECKING:
    from desirepath.plan import Plan, Violation

__all__ = ["Listener", "listening"]

ANONYMOUS_ID: Final = "this-installation"
"""Stands for the id that is otherwise kept on disk."""


class Listener(Protocol):
    """Hears of every record."""

    captures: bool
    """Whether records end here."""

    def saw(self, record: bytes, plan: Plan | None, violations: tuple[Violation, ...]) -> None:
        """A record is finished; `plan` is its tracker's."""

    def lost(self, reason: str, why: str) -> None:
        """A record is lost before it could be kept."""


_listeners: Final[list[Listener]] = []
_originals: Final[dict[tuple[type, str], Any]] = {}
_lock: Final = threading.RLock()
_current = threading.local()


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Let a listener hear until the block ends."""
    with _lock:
        if not _listeners:
            _install()
        _listeners.append(listener)
    try:
        yield
    finally:
        with _lock:
            _listeners.remove(listener)
            if not _listeners:
                _uninstall()


def _install() -> None:
    for owner, name, replacement in (
        (Recorder, "record", _record),
        (Pipeline, "put", _put),
        (Tracker, "_installation", _installation),
        (Tracker, "flush", _flush),
        (Tracker, "aflush", _aflush),
        (Ledger, "report", _report),
        (Ledger, "lose", _lose),
    ):
        _originals[owner, name] = getattr(owner, name)
        setattr(owner, name, replacement)


def _uninstall() -> None:
    for (owner, name), original in _originals.items():
        setattr(owner, name, original)
    _originals.clear()


def _captures() -> bool:
    return any(listener.captures for listener in _listeners)


def _record(recorder: Recorder, *given: Any) -> bytes | None:
    outer, _current.violations = getattr(_current, "violations", None), []
    try:
        record: bytes | None = _originals[Recorder, "record"](recorder, *given)
        plan = getattr(getattr(recorder._check, "__self__", None), "plan", None)
        _current.made = (record, plan, tuple(_current.violations))
    finally:
        _current.violations = outer
    return record


def _put(pipeline: Pipeline, record: bytes) -> None:
    made, _current.made = getattr(_current, "made", None), None
    # What no recorder has made is no tracker's: the events of a file that is being sent.
    if made is None or made[0] is not record or pipeline.closed:
        _originals[Pipeline, "put"](pipeline, record)
        return
    for listener in _listeners:
        listener.saw(*made)
    if not _captures():
        _originals[Pipeline, "put"](pipeline, record)


def _installation(tracker: Tracker) -> str:
    if _captures():
        return ANONYMOUS_ID
    found: str = _originals[Tracker, "_installation"](tracker)
    return found


def _flush(tracker: Tracker, timeout: float = 10.0) -> bool:
    return _captures() or bool(_originals[Tracker, "flush"](tracker, timeout))


async def _aflush(tracker: Tracker, timeout: float = 10.0) -> bool:
    return _captures() or bool(await _originals[Tracker, "aflush"](tracker, timeout))


def _report(ledger: Ledger, event: str, violations: Any) -> None:
    found = tuple(violations)
    collected = getattr(_current, "violations", None)
    if collected is not None:
        collected.extend(found)
    _originals[Ledger, "report"](ledger, event, found)


def _lose(ledger: Ledger, reason: str, events: int, why: str) -> None:
    for listener in _listeners:
        listener.lost(reason, why)
    _originals[Ledger, "lose"](ledger, reason, events, why)

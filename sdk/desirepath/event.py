"""What an event is on the wire, and the ids and clocks it is stamped with.

The wire form is Segment's: one JSON object a call, batches as `{"batch": [...], "sentAt": ...}`
(https://segment.com/docs/connections/spec/common/). Times are time zone aware UTC everywhere.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Literal

__all__ = [
    "KINDS",
    "PAGE_EVENT",
    "SCREEN_EVENT",
    "Clock",
    "IdFactory",
    "Kind",
    "isoformat",
    "new_message_id",
    "utc_now",
]

Kind = Literal["track", "identify", "page", "screen", "group", "alias"]
"""The six calls of the Segment specification."""

KINDS: Final[tuple[Kind, ...]] = ("track", "identify", "page", "screen", "group", "alias")

PAGE_EVENT: Final = "Page Viewed"
"""The event name under which `page` calls are planned and stored."""

SCREEN_EVENT: Final = "Screen Viewed"
"""The event name under which `screen` calls are planned and stored."""

Clock = Callable[[], datetime]
IdFactory = Callable[[], str]


def utc_now() -> datetime:
    """The time now, aware, in UTC."""
    return datetime.now(UTC)


def isoformat(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds, as Segment's clients write it.

    Raises
    ------
    ValueError
        If `moment` has no time zone.
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no time zone; use datetime.now(UTC)")
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def new_message_id() -> str:
    """A UUID version 7 (RFC 9562): unique, and sorted by the time it was made."""
    raw = bytearray((time.time_ns() // 1_000_000).to_bytes(6, "big") + os.urandom(10))
    raw[6] = (raw[6] & 0x0F) | 0x70
    raw[8] = (raw[8] & 0x3F) | 0x80
    return str(uuid.UUID(bytes=bytes(raw)))

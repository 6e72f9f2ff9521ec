"""Rows for the warehouse's tests, everything plain but what is named."""

from __future__ import annotations

import msgspec

from desirepath_collector.warehouse import EventRow

T0 = 1_767_225_600_000
"""2026-01-01T00:00:00Z"""


def event(message_id: str, name: str = "Viewed", at: int = T0, **fields: object) -> EventRow:
    """An event called `name` at `at`."""
    row = {
        "message_id": message_id, "kind": "track", "event": name, "user_id": "",
        "anonymous_id": "", "previous_id": "", "group_id": "", "session_id": "", "timestamp": at,
        "original_timestamp": at, "sent_at": at + 10, "received_at": at + 20, "source": "web",
        "plan": "shop", "plan_version": "1.0.0", "properties": msgspec.Raw(b"{}"),
        "context": msgspec.Raw(b"{}"),
    } | fields  # fmt: skip
    for key in ("properties", "context"):
        if not isinstance(row[key], msgspec.Raw):
            row[key] = msgspec.Raw(msgspec.json.encode(row[key]))
    return EventRow(**row)  # type: ignore[arg-type]


def identify(
    message_id: str, user: str, anonymous: str, at: int = T0, **fields: object
) -> EventRow:
    """An identify call."""
    ids = {"user_id": user, "anonymous_id": anonymous}
    return event(message_id, "", at, kind="identify", **ids, **fields)


def alias(message_id: str, user: str, previous: str, at: int = T0) -> EventRow:
    """An alias call."""
    return event(message_id, "", at, kind="alias", user_id=user, previous_id=previous)

"""The rows that travel from admission through the spool to ClickHouse.

Admission makes them, the spool stores them as JSON arrays (`msgspec.json`), the loader decodes
them and hands them to `Warehouse.insert_events` and `Warehouse.insert_quarantine`. A field is
only ever added at the end, with a default, so a spool written by an older version stays readable.
Times are milliseconds since the Unix epoch, UTC; an absent id is the empty string.
"""

from __future__ import annotations

import msgspec

from desirepath.plan.violations import Violation

__all__ = ["EventRow", "QuarantineRow"]


class EventRow(msgspec.Struct, array_like=True, gc=False, tag="e"):
    """One accepted event.

    `timestamp` is `original_timestamp` corrected for the client's clock skew. `properties`
    (an identify's and group's traits too) and `context` are canonical JSON objects, personal
    data already hashed or dropped. `violations` are those the plan's policy let through.
    """

    message_id: str
    kind: str
    event: str
    user_id: str
    anonymous_id: str
    previous_id: str
    group_id: str
    session_id: str
    timestamp: int
    original_timestamp: int
    sent_at: int
    received_at: int
    source: str
    plan: str
    plan_version: str
    properties: msgspec.Raw
    context: msgspec.Raw
    violations: tuple[Violation, ...] = ()


class QuarantineRow(msgspec.Struct, array_like=True, gc=False, tag="q"):
    """One event that broke its plan, with its reasons, ready to be mended and replayed.

    `payload` is the event's JSON as it came in, personal data already hashed or dropped.
    """

    message_id: str
    kind: str
    event: str
    user_id: str
    anonymous_id: str
    received_at: int
    sent_at: int
    source: str
    plan: str
    plan_version: str
    violations: tuple[Violation, ...]
    payload: str

"""Small histories for the warehouse: what tests write down, as rows."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from desirepath_collector.warehouse import EventRow

if TYPE_CHECKING:
    from desirepath_collector.warehouse import Warehouse

START = datetime(2026, 1, 1, tzinfo=UTC)
START_MS = round(START.timestamp() * 1000)
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000

_tokens = itertools.count(1)


def event(
    person: str,
    name: str,
    at_ms: int,
    properties: Mapping[str, Any] | None = None,
    *,
    message_id: str | None = None,
    kind: str = "track",
    context: Mapping[str, Any] | None = None,
    session: str = "",
    group: str = "",
) -> EventRow:
    """One event, `at_ms` after the first of January 2026."""
    moment = START_MS + at_ms
    return EventRow(
        message_id=message_id or f"m{next(_tokens)}",
        kind=kind,
        event=name,
        user_id=person,
        anonymous_id="",
        previous_id="",
        group_id=group,
        session_id=session,
        timestamp=moment,
        original_timestamp=moment,
        sent_at=moment,
        received_at=moment,
        source="test",
        plan="",
        plan_version="",
        properties=msgspec.Raw(json.dumps(dict(properties or {})).encode()),
        context=msgspec.Raw(json.dumps(dict(context or {})).encode()),
    )


def identify(person: str, traits: Mapping[str, Any], at_ms: int = 0) -> EventRow:
    """Traits of a person."""
    return event(person, "", at_ms, traits, kind="identify")


def insert(warehouse: Warehouse, rows: Iterable[EventRow]) -> None:
    """Put rows into the warehouse, each call under a token of its own."""
    warehouse.insert_events(list(rows), token=f"kit-{next(_tokens)}")

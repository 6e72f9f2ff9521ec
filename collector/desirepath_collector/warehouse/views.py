"""A view for each planned event: typed columns named after its properties.

`Order Completed` becomes `order_completed`, with the columns every event has and one for each
property the plan gives it, now or ever: a property that a plan drops keeps its column, and one
whose type a plan changes keeps its old column and gets a second one, `total_string` beside
`total`, so no statement that ran yesterday breaks today. A value that does not fit its column's
type reads as NULL. What the views are made of is kept in `event_columns`; a view is rewritten only
where that changed.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec
from clickhouse_connect.driver.client import Client

from desirepath_collector.warehouse.cluster import on_cluster
from desirepath_collector.warehouse.sql import identifier, literal

if TYPE_CHECKING:
    from desirepath.plan import Event, Plan

__all__ = ["Column", "column_type", "publish_views", "view_name"]

ENVELOPE: Final = {
    "message_id": "String",
    "timestamp": "DateTime64(3, 'UTC')",
    "person": "UInt64",
    "person_id": "String",
    "user_id": "String",
    "anonymous_id": "String",
    "session_id": "String",
    "group_id": "String",
    "source": "LowCardinality(String)",
    "plan_version": "LowCardinality(String)",
    "context": "Map(LowCardinality(String), String)",
}
"""The columns of every view, before those of the properties."""

_COMMENTS: Final = {
    "message_id": "Made once by the client; each is here once",
    "timestamp": "When it happened, corrected for the skew of the client's clock",
    "person": "Hash of person_id: grouping and joining by it costs half as much",
    "person_id": "The person, after identify and alias, also for what happened before them",
    "user_id": "The id the application knows the person by; empty while unknown",
    "anonymous_id": "The id of the device or browser",
    "session_id": "The session as the client counts it",
    "group_id": "The account, team or company that the event belongs to",
    "source": "The source (write key) it came through",
    "plan_version": "Version of the tracking plan it was checked against",
    "context": "Nested names joined with dots: page.url, campaign.source",
}

_EXPRESSIONS: Final = {
    "String": "properties[{key}]",
    "Nullable(Float64)": "toFloat64OrNull(properties[{key}])",
    "Nullable(Int64)": "toInt64OrNull(properties[{key}])",
    "Nullable(Bool)": "accurateCastOrNull(properties[{key}], 'Bool')",
    "Nullable(DateTime64(3, 'UTC'))": (
        "parseDateTime64BestEffortOrNull(properties[{key}], 3, 'UTC')"
    ),
    "Nullable(Date32)": "toDate32OrNull(properties[{key}])",
}
"""How a column of each type is read out of the map. Strings are empty where they are absent."""

_SUFFIX: Final = {
    "String": "string",
    "Nullable(Float64)": "number",
    "Nullable(Int64)": "integer",
    "Nullable(Bool)": "boolean",
    "Nullable(DateTime64(3, 'UTC'))": "time",
    "Nullable(Date32)": "date",
}

_COLUMNS: Final = """
SELECT event, view, property, column, type, position, comment
FROM event_columns FINAL
ORDER BY event, position
"""


class Column(msgspec.Struct, frozen=True):
    """One column of one view, as `event_columns` remembers it."""

    property: str
    name: str
    type: str
    comment: str


def publish_views(client: Client, plan: Plan, *, cluster: str | None = None) -> list[str]:
    """Make and alter the views of `plan`'s events; the names of those that changed."""
    known: dict[str, list[Column]] = {}
    names: dict[str, str] = {}
    for event, view, prop, column, kind, _, comment in client.query(_COLUMNS).result_rows:
        names[event] = view
        known.setdefault(event, []).append(Column(prop, column, kind, comment))
    taken = set(names.values()) | {
        row[0]
        for row in client.query(
            "SELECT name FROM system.tables WHERE database = currentDatabase()"
        ).result_rows
    }
    changed = []
    for name, event in plan.events.items():
        view = names.get(name) or view_name(name, taken)
        taken.add(view)
        before = known.get(name, [])
        after = _merged(before, event)
        if after == before:
            continue
        # The view first: a publishing that dies in between makes it again.
        definition = _definition(view, event, after)
        for statement in on_cluster(definition, cluster) if cluster else [definition]:
            client.command(statement)
        version = time.time_ns()
        client.insert(
            "event_columns",
            [
                [name, view, c.property, c.name, c.type, position, c.comment, version]
                for position, c in enumerate(after, 1)
            ],
            column_names=["event", "view", "property", "column", "type", "position", "comment",
                          "version"],
        )  # fmt: skip
        changed.append(view)
    return changed


def view_name(event: str, taken: Iterable[str] = ()) -> str:
    """`Order Completed` -> `order_completed`, and another name where that is taken."""
    slug = re.sub(r"[^a-z0-9]+", "_", event.lower()).strip("_")
    if not slug or slug[0].isdigit():
        slug = f"event_{slug}".rstrip("_")
    taken = set(taken)
    candidates = [slug, f"event_{slug}"]
    number = 2
    while candidates[0] in taken:
        candidates.pop(0)
        if not candidates:
            candidates.append(f"event_{slug}_{number}")
            number += 1
    return candidates[0]


def column_type(schema: Mapping[str, Any]) -> str:
    """The ClickHouse type for the values that a property's schema allows."""
    said = schema.get("type")
    types = {said} if isinstance(said, str) else set(said or ())
    if not types:
        values = schema["enum"] if "enum" in schema else [schema.get("const")]
        types = {_TYPES.get(type(value), "string") for value in values}
    types.discard("null")
    if types == {"integer"}:
        return "Nullable(Int64)"
    if types and types <= {"integer", "number"}:
        return "Nullable(Float64)"
    if types == {"boolean"}:
        return "Nullable(Bool)"
    if types == {"string"} and schema.get("format") == "date-time":
        return "Nullable(DateTime64(3, 'UTC'))"
    if types == {"string"} and schema.get("format") == "date":
        return "Nullable(Date32)"
    return "String"


_TYPES: Final[dict[type, str]] = {bool: "boolean", int: "integer", float: "number"}


def _merged(before: list[Column], event: Event) -> list[Column]:
    """The columns the view had, and those that `event` adds."""
    after = [Column("", "", "", event.description or ""), *before[1:]]
    used = {column.name for column in after} | ENVELOPE.keys()
    for name, prop in event.properties.items():
        kind = column_type(prop.schema)
        comment = prop.description or ""
        if prop.unit:
            comment = f"{comment} ({prop.unit})".strip()
        own = [
            i for i, column in enumerate(after) if (column.property, column.type) == (name, kind)
        ]
        if own:
            after[own[0]] = Column(name, after[own[0]].name, kind, comment)
            continue
        wanted = [name, f"{name}_{_SUFFIX[kind]}", f"property_{name}"]
        free = next((w for w in wanted if w not in used), None)
        number = 2
        while free is None or free in used:
            free = f"property_{name}_{number}"
            number += 1
        used.add(free)
        after.append(Column(name, free, kind, comment))
    return after


def _definition(view: str, event: Event, columns: list[Column]) -> str:
    declared = [
        f"{identifier(name)} {kind} COMMENT {literal(_COMMENTS[name])}"
        for name, kind in ENVELOPE.items()
    ]
    selected = [identifier(name) for name in ENVELOPE]
    for column in columns[1:]:
        comment = f" COMMENT {literal(column.comment)}" if column.comment else ""
        declared.append(f"{identifier(column.name)} {column.type}{comment}")
        expression = _EXPRESSIONS[column.type].format(key=literal(column.property))
        selected.append(f"{expression} AS {identifier(column.name)}")
    comment = event.description or f"The event {event.name!r}"
    # Everything that stands in the text is an identifier or a literal, quoted.
    return (
        f"CREATE OR REPLACE VIEW {identifier(view)}\n(\n    "
        + ",\n    ".join(declared)
        + "\n)\nAS SELECT\n    "
        + ",\n    ".join(selected)
        + f"\nFROM resolved_events\nWHERE event = {literal(event.name)}"
        + f"\nCOMMENT {literal(comment)}"
    )

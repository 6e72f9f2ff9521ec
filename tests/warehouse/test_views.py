"""A view per planned event: typed, deduplicated, resolved, and never broken by the next plan."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from tests.warehouse.rows import event, identify

from desirepath.plan import Plan
from desirepath_collector.warehouse import Sql, Warehouse
from desirepath_collector.warehouse.views import column_type, view_name

PLAN = """
plan: shop
version: 1.0.0
events:
  Order Completed:
    description: The buyer paid; it's "final".
    properties:
      order_id: {type: string, required: true, description: Number of the order}
      total: {type: number, unit: EUR, description: To pay}
      items: integer
      gift: boolean
      at: {type: string, format: date-time}
      day: {type: string, format: date}
      products: {type: array}
      timestamp: string
      "it's `odd`": string
  Events: {}
"""

Ask = Callable[..., list[tuple[object, ...]]]


def test_a_view_has_the_plan_s_columns(warehouse: Warehouse, ask: Ask, database: str) -> None:
    warehouse.publish(Plan.parse(PLAN))
    properties = {
        "order_id": "A1", "total": 42.5, "items": 3, "gift": True, "products": [1],
        "at": "2026-01-02T03:04:05.678Z", "day": "2026-01-02", "timestamp": "x", "it's `odd`": "y",
    }  # fmt: skip
    full = event("m1", "Order Completed", anonymous_id="a", properties=properties)
    warehouse.insert_events([full, event("m2", "Order Completed", user_id="u2")], "1")
    warehouse.insert_events([full, identify("m3", "u1", "a")], "2")
    rows = warehouse.query(Sql("SELECT * FROM order_completed ORDER BY message_id")).to_pylist()
    assert [row["message_id"] for row in rows] == ["m1", "m2"]
    first, second = rows
    assert first["person_id"] == "u1"
    own = list(first)[list(first).index("context") + 1 :]
    assert {name: first[name] for name in own} == {
        "order_id": "A1", "total": 42.5, "items": 3, "gift": True, "products": "[1]",
        "at": datetime(2026, 1, 2, 3, 4, 5, 678000, UTC), "day": datetime(2026, 1, 2).date(),
        "timestamp_string": "x", "it's `odd`": "y",
    }  # fmt: skip
    assert [second[name] for name in own] == ["", None, None, None, None, None, "", "", ""]
    comments = dict(
        ask("SELECT name, comment FROM system.columns "
            "WHERE database = {db:String} AND table = 'order_completed'", db=database)
    )  # fmt: skip
    assert comments["total"] == "To pay (EUR)"
    assert comments["person_id"]
    assert ask(
        "SELECT comment FROM system.tables WHERE database = {db:String} AND name = {view:String}",
        view="order_completed",
        db=database,
    ) == [('The buyer paid; it\'s "final".',)]
    assert ask("SELECT count() FROM event_events") == [(0,)]


def test_the_next_plan_breaks_no_reader(warehouse: Warehouse, ask: Ask) -> None:
    warehouse.publish(Plan.parse(PLAN))
    assert warehouse.plan().version == "1.0.0"
    changed = (
        PLAN.replace("total: {type: number, unit: EUR", "total: {type: string")
        .replace("      items: integer\n", "      coupon: string\n")
        .replace("gift: boolean", "gift: string")
        .replace("format: date}", "minLength: 1}")
        .replace("version: 1.0.0", "version: 2.0.0")
    )
    warehouse.publish(Plan.parse(changed))
    assert warehouse.plan().version == "2.0.0"
    rows = [
        event("m1", "Order Completed", user_id="u", properties={"total": 1.5, "items": 2}),
        event(
            "m2",
            "Order Completed",
            user_id="u",
            properties={"total": "free", "coupon": "c", "gift": "wrapped", "day": "x", "at": "y"},
        ),
    ]
    warehouse.insert_events(rows, "1")
    found = ask(
        "SELECT total, total_string, items, coupon FROM order_completed ORDER BY message_id"
    )
    assert found == [(1.5, "1.5", 2, ""), (None, "free", None, "c")]
    found = ask("SELECT gift, gift_string, day, at FROM order_completed ORDER BY message_id")
    assert found == [(None, "", None, None), (None, "wrapped", None, None)]
    columns = ask("SELECT column FROM event_columns FINAL ORDER BY event, position")
    warehouse.publish(Plan.parse(PLAN))
    assert warehouse.plan().version == "1.0.0"
    assert ask("SELECT column FROM event_columns FINAL ORDER BY event, position") == columns


def test_publishing_what_is_live_changes_nothing(warehouse: Warehouse, ask: Ask) -> None:
    assert warehouse.plan() is None
    for _ in range(3):
        warehouse.publish(Plan.parse(PLAN))
    assert ask("SELECT count() FROM plans") == [(1,)]
    assert warehouse.plan().digest == Plan.parse(PLAN).digest


@pytest.mark.parametrize(
    ("name", "taken", "expected"),
    [
        ("Order Completed", (), "order_completed"),
        ("  Ünïcode!! ", (), "n_code"),
        ("2nd Visit", (), "event_2nd_visit"),
        ("***", (), "event"),
        ("Events", ("events",), "event_events"),
        ("Events", ("events", "event_events"), "event_events_2"),
        ("Events", ("events", "event_events", "event_events_2"), "event_events_3"),
    ],
)
def test_names(name: str, taken: tuple[str, ...], expected: str) -> None:
    assert view_name(name, taken) == expected


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": ["integer", "null"]}, "Nullable(Int64)"),
        ({"type": ["integer", "number"]}, "Nullable(Float64)"),
        ({"type": ["integer", "string"]}, "String"),
        ({"enum": [1, 2]}, "Nullable(Int64)"),
        ({"enum": [True, False]}, "Nullable(Bool)"),
        ({"const": 1.5}, "Nullable(Float64)"),
        ({"anyOf": [{"type": "integer"}]}, "String"),
        ({}, "String"),
    ],
)
def test_types(schema: dict[str, object], expected: str) -> None:
    assert column_type(schema) == expected


def test_a_plan_of_500_events_is_published_in_seconds(warehouse: Warehouse) -> None:
    body = "".join(
        f"  Event {n}:\n    properties: {{a: string, b: number, c: integer, d: boolean}}\n"
        for n in range(500)
    )
    plan = Plan.parse(f"plan: big\nversion: 1.0.0\nevents:\n{body}")
    started = time.monotonic()
    warehouse.publish(plan)
    assert time.monotonic() - started < 20

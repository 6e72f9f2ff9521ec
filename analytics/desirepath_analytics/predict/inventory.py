"""Which events, properties, traits and context fields there are to make features from.

Looked up once, at training, in what lies before the holdout cut-off, so that even the choice of
features knows nothing of the holdout. What the plan marks as personal is never used, and neither
is anything with many different texts (an id, an address).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from desirepath.errors import NotEstimable, QueryError
from desirepath_analytics.names import did_you_mean
from desirepath_analytics.predict.features import Inventory
from desirepath_analytics.predict.spec import Propensity
from desirepath_analytics.predict.sql import sql_text
from desirepath_collector.warehouse import Sql

if TYPE_CHECKING:
    from desirepath.plan import Plan
    from desirepath_collector.warehouse import Warehouse

__all__ = ["bounds", "joined_later", "take_inventory"]

_MAX_EVENTS: Final = 16
_MAX_NUMBERS: Final = 12
_MAX_CONTEXT: Final = 12
_MAX_TRAITS: Final = 16
_MAX_LEVELS: Final = 40
_SAMPLED_EVENTS: Final = 300_000
_MIN_NUMERIC_SHARE: Final = 0.99
_MIN_COVERAGE: Final = 0.05
_NUMERIC: Final = frozenset({"number", "integer"})
# Facts about the delivery, not about the person.
_CONTEXT_IGNORED: Final = ("library.", "plan", "ip", "userAgent")


def bounds(warehouse: Warehouse, now: datetime) -> tuple[datetime, datetime]:
    """The first and the last event's time, the latter no later than `now`.

    Raises
    ------
    NotEstimable
        If there is no event.
    """
    sql = Sql(sql_text("bounds"), {"now_ms": round(now.timestamp() * 1000)})
    row = warehouse.query(sql).to_pylist()[0]
    if not row["events"]:
        raise NotEstimable("there are no events", hint="send some first: desirepath send FILE")
    return (
        datetime.fromtimestamp(row["first_ms"] / 1000, now.tzinfo),
        datetime.fromtimestamp(row["last_ms"] / 1000, now.tzinfo),
    )


def joined_later(warehouse: Warehouse, spec: Propensity, cutoff: datetime) -> int:
    """How many persons were, at the cut-off, not yet known to be one person."""
    active = cutoff - timedelta(days=spec.active_days)
    params = {
        "cutoff_ms": round(cutoff.timestamp() * 1000),
        "active_ms": round(active.timestamp() * 1000),
    }
    return int(warehouse.query(Sql(sql_text("joined"), params))["persons"][0].as_py())


def take_inventory(
    warehouse: Warehouse, spec: Propensity, plan: Plan | None, end: datetime
) -> Inventory:
    """Find what there is before `end`.

    Raises
    ------
    NotEstimable
        If there is nothing at all before `end`.
    QueryError
        If an event the question names never happened before `end`.
    """
    end_ms = round(end.timestamp() * 1000)
    found = warehouse.query(Sql(sql_text("events"), {"end_ms": end_ms, "most": 1000})).to_pylist()
    if not found:
        raise NotEstimable(f"there are no events before {end:%Y-%m-%d %H:%M}")
    seen = {row["event"]: row["times"] for row in found}
    for name in (spec.outcome, *spec.population.did, *spec.population.did_not):
        if name not in seen:
            # Nothing to learn from, even if it is planned; a mistyped name gets its nearest.
            raise QueryError(
                f"{name!r} never happened before {end:%Y-%m-%d %H:%M}",
                hint=did_you_mean(name, seen),
            )
    others = spec.events or tuple(row["event"] for row in found)
    events = (spec.outcome, *(name for name in others if name != spec.outcome))[:_MAX_EVENTS]
    times = sum(row["times"] for row in found)
    stride = max(1, times // _SAMPLED_EVENTS)
    params = {"end_ms": end_ms, "events": list(events), "stride": stride}
    keys = warehouse.query(Sql(sql_text("keys"), params)).to_pylist()
    everyone = max((row["persons"] for row in keys), default=0)
    usual = [row for row in keys if row["persons"] >= _MIN_COVERAGE * everyone]
    return Inventory(
        events=events,
        numbers=tuple((row["event"], row["key"]) for row in keys if _number_property(row, plan))[
            :_MAX_NUMBERS
        ],
        context=tuple(
            row["key"]
            for row in usual
            if row["place"] == "context"
            and 1 < row["levels"] <= _MAX_LEVELS
            and not row["key"].startswith(_CONTEXT_IGNORED)
            and not (plan is not None and _personal(plan.context.get(row["key"])))
        )[:_MAX_CONTEXT],
        trait_numbers=tuple(row["key"] for row in keys if _trait(row, plan) and _is_numeric(row))[
            :_MAX_TRAITS
        ],
        trait_categories=tuple(
            row["key"]
            for row in keys
            if _trait(row, plan) and not _is_numeric(row) and row["levels"] <= _MAX_LEVELS
        )[:_MAX_TRAITS],
    )


def _number_property(row: dict[str, Any], plan: Plan | None) -> bool:
    if row["place"] != "property":
        return False
    event = plan.events.get(row["event"]) if plan is not None else None
    planned = event.properties.get(row["key"]) if event is not None else None
    if planned is not None:
        kind = planned.schema.get("type")
        kinds = {kind} if isinstance(kind, str) else set(kind or ())
        return planned.pii is None and bool(kinds & _NUMERIC) and row["levels"] > 1
    return _is_numeric(row) and row["levels"] > 1


def _trait(row: dict[str, Any], plan: Plan | None) -> bool:
    if row["place"] != "trait" or row["levels"] < 2:
        return False
    return plan is None or not _personal(plan.traits.get(row["key"]))


def _is_numeric(row: dict[str, Any]) -> bool:
    # Numbers that only name something say nothing by their size.
    return row["numeric"] >= _MIN_NUMERIC_SHARE * row["times"] and not row["key"].lower().endswith(
        ("id", "code", "zip", "phone")
    )


def _personal(planned: Any) -> bool:
    return planned is not None and planned.pii is not None

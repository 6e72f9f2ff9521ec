"""Events as plain Python, and whether one is a step: for the slow, obvious references."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from desirepath_analytics.conditions import Combined, Condition
from desirepath_analytics.conditions import Test as Check
from desirepath_analytics.spec import Match, Step


@dataclass(frozen=True)
class Event:
    """One thing a person did; `at` in milliseconds since 1970."""

    person: str
    name: str
    at: int
    properties: dict[str, Any] = field(default_factory=dict)
    session: str = ""
    group: str = ""
    message_id: str = ""


def once(events: Iterable[Event]) -> list[Event]:
    """Each message once."""
    return list({event.message_id: event for event in events}.values())


def between(events: Iterable[Event], since: datetime | None, until: datetime | None) -> list[Event]:
    """From `since` on and before `until`."""
    low = -1 if since is None else round(since.timestamp() * 1000)
    high = 2**62 if until is None else round(until.timestamp() * 1000)
    return [event for event in events if low <= event.at < high]


def is_step(event: Event, step: Step) -> bool:
    """Whether any of the step's alternatives matches."""
    return any(is_match(event, match) for match in step.matches)


def is_match(event: Event, match: Match) -> bool:
    """Name and filter."""
    if match.event is not None and event.name != match.event:
        return False
    return match.where is None or holds(match.where, event)


def holds(condition: Condition, event: Event) -> bool:
    """A filter on an event's own properties."""
    if isinstance(condition, Combined):
        parts = [holds(part, event) for part in condition.parts]
        return {"all": all(parts), "any": any(parts), "not": not parts[0]}[condition.how]
    return check(condition, event.properties)


def check(test: Check, values: dict[str, Any]) -> bool:
    """One test; a negative operator is the complement of its positive."""
    positive = {"!=": "==", "not_in": "in", "not_contains": "contains"}.get(test.op)
    if positive is not None:
        return not check(Check(test.field, positive, test.operand), values)
    found, wanted = values.get(test.field.name), test.operand
    if test.op == "exists":
        return (found is not None) == wanted
    if test.op == "in":
        assert isinstance(wanted, tuple)
        return any(check(Check(test.field, "==", one), values) for one in wanted)
    if test.op == "==" and wanted is None:
        return found is None
    if found is None:
        return False
    if test.op == "between":
        assert isinstance(wanted, tuple)
        bounds = ((">=", wanted[0]), ("<=", wanted[1]))
        return all(check(Check(test.field, op, one), values) for op, one in bounds)
    if isinstance(wanted, (int, float)) and not isinstance(wanted, bool):
        try:
            number = float(text(found))
        except ValueError:
            return False
        return compare(test.op, number, float(wanted))
    return compare(test.op, text(found), text(wanted))


def compare(op: str, found: Any, wanted: Any) -> bool:
    """One operator on two numbers or two texts."""
    return bool(
        {
            "==": lambda: found == wanted,
            "<": lambda: found < wanted,
            "<=": lambda: found <= wanted,
            ">": lambda: found > wanted,
            ">=": lambda: found >= wanted,
            "contains": lambda: wanted in found,
            "starts_with": lambda: found.startswith(wanted),
            "ends_with": lambda: found.endswith(wanted),
            "matches": lambda: re.search(wanted, found) is not None,
        }[op]()
    )


def text(value: Any) -> str:
    """A value as the warehouse holds it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)

"""Who is in a segment, by the letter of its rules."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from tests.reference.events import Event, between, check, is_step, once, text
from tests.reference.funnel import counts

from desirepath_analytics.behaviour.funnel import Funnel
from desirepath_analytics.behaviour.rules import (
    AllOf,
    AnyOf,
    Did,
    HasTrait,
    Not,
    Ordered,
    People,
    Rule,
)
from desirepath_analytics.conditions import Combined, Condition
from desirepath_analytics.spec import Period, duration_text


def members(
    rule: Rule, events: Iterable[Event], until: datetime, traits: dict[str, dict[str, Any]]
) -> list[str]:
    """The people of whom the rule holds at a moment, sorted."""
    seen = between(once(events), None, until)
    people = {event.person for event in seen} | set(traits)
    return sorted(
        person
        for person in people
        if holds(rule, [e for e in seen if e.person == person], until, person, traits)
    )


def holds(
    rule: Rule,
    history: list[Event],
    until: datetime,
    person: str,
    traits: dict[str, dict[str, Any]],
) -> bool:
    """One rule of one person."""
    if isinstance(rule, (AllOf, AnyOf)):
        inner = [holds(part, history, until, person, traits) for part in rule.rules]
        return all(inner) if isinstance(rule, AllOf) else any(inner)
    if isinstance(rule, Not):
        return not holds(rule.rule, history, until, person, traits)
    if isinstance(rule, People):
        return person in rule.ids
    if isinstance(rule, HasTrait):
        return _trait(rule.condition, traits.get(person, {}))
    if isinstance(rule, Ordered):
        within = None if rule.within_ms is None else duration_text(rule.within_ms)
        funnel = Funnel(list(rule.steps), within=within)
        return counts(funnel, history, Period(), {})[None]["counts"][-1] > 0
    assert isinstance(rule, Did)
    return _did(rule, [e for e in history if is_step(e, rule.step)], until)


def _did(rule: Did, done: list[Event], until: datetime) -> bool:
    end = round(until.timestamp() * 1000)
    begin = -1 if rule.within_ms is None else end - rule.within_ms
    inside = [e for e in done if e.at >= begin]
    if rule.how == "first":
        return bool(done) and min(e.at for e in done) >= begin
    if rule.how == "more":
        before = [e for e in done if begin - (rule.within_ms or 0) <= e.at < begin]
        return _measure(rule, inside) > _measure(rule, before)
    found = _measure(rule, inside)
    return found >= rule.least and (rule.most is None or found <= rule.most)


def _measure(rule: Did, events: list[Event]) -> float:
    if rule.measure == "days":
        return len({datetime.fromtimestamp(e.at / 1000, UTC).date() for e in events})
    if rule.measure == "sum":
        assert rule.of is not None
        return sum(float(e.properties.get(rule.of.name) or 0) for e in events)
    return len(events)


def _trait(condition: Condition, values: dict[str, Any]) -> bool:
    if isinstance(condition, Combined):
        inner = [_trait(part, values) for part in condition.parts]
        return {"all": all(inner), "any": any(inner), "not": not inner[0]}[condition.how]
    return check(condition, {name: text(value) for name, value in values.items()})

"""Lifecycle and stickiness by the letter of their definitions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime

from tests.reference.events import Event, between, holds, is_step, once

from desirepath_analytics import Lifecycle, Stickiness
from desirepath_analytics.behaviour.periods import Grid, number
from desirepath_analytics.spec import Period


def lifecycle(
    question: Lifecycle, events: Iterable[Event], period: Period, grid: Grid
) -> list[tuple[int, int, int, int]]:
    """New, returning, resurrecting and dormant people in each period."""
    active = _active(question, events, Period(None, period.until))
    answer = []
    for p in range(grid.first, grid.first + grid.count):
        counts = Counter(_state(periods, p) for periods in active.values())
        states = ("new", "returning", "resurrecting", "dormant")
        answer.append(tuple(counts[state] for state in states))
    return answer


def stickiness(question: Stickiness, events: Iterable[Event], period: Period) -> Counter[int]:
    """How many people were active in exactly so many periods."""
    return Counter(len(periods) for periods in _active(question, events, period).values())


def _state(periods: set[int], p: int) -> str:
    if p in periods:
        if p - 1 in periods:
            return "returning"
        return "resurrecting" if any(q < p for q in periods) else "new"
    return "dormant" if p - 1 in periods else ""


def _active(
    question: Lifecycle | Stickiness, events: Iterable[Event], period: Period
) -> dict[str, set[int]]:
    active: dict[str, set[int]] = {}
    for event in between(once(events), period.since, period.until):
        if is_step(event, question.event) and (
            question.where is None or holds(question.where, event)
        ):
            moment = datetime.fromtimestamp(event.at / 1000, UTC)
            p = number(moment, question.unit, question.timezone)
            active.setdefault(event.person, set()).add(p)
    return active

"""Trends by the letter of their definition."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import numpy as np
from tests.reference.events import Event, between, holds, is_step, once, text

from desirepath_analytics.behaviour.periods import Grid, number
from desirepath_analytics.behaviour.trend import OTHER, Series, Trend
from desirepath_analytics.spec import Period

QUANTILES = {"median": 0.5, "p75": 0.75, "p90": 0.9, "p95": 0.95, "p99": 0.99}


def lines(
    question: Trend,
    events: Iterable[Event],
    period: Period,
    grid: Grid,
    traits: dict[str, dict[str, Any]],
) -> dict[tuple[int, tuple[Any, ...]], list[float | None]]:
    """For each series and value: a number a period."""
    answer: dict[tuple[int, tuple[Any, ...]], list[float | None]] = {}
    for place, series in enumerate(question.series):
        read = Period(None, period.until) if series.measure == "active" else period
        chosen = [
            e
            for e in between(once(events), read.since, read.until)
            if is_step(e, series.step) and (question.where is None or holds(question.where, e))
        ]
        if series.measure == "active":
            low = grid.first - series.days + 1
            chosen = [e for e in chosen if _number(question, e) >= low]
        by_value: dict[tuple[Any, ...], list[Event]] = {}
        for e in chosen:
            by_value.setdefault(_value(question, e, traits), []).append(e)
        ranked = sorted(by_value, key=lambda v: (-len(by_value[v]), [one or "" for one in v]))
        for i, value in enumerate(ranked):
            if i >= question.top:
                name = (OTHER,) * len(question.by)
                merged = [e for v in ranked[question.top :] for e in by_value[v]]
                answer[place, name] = _points(question, series, merged, grid)
                break
            answer[place, value] = _points(question, series, by_value[value], grid)
    return answer


def _points(question: Trend, series: Series, events: list[Event], grid: Grid) -> list[float | None]:
    points = []
    for p in range(grid.first, grid.first + grid.count):
        if series.measure == "active":
            here = [e for e in events if p - series.days < _number(question, e) <= p]
        else:
            here = [e for e in events if _number(question, e) == p]
        points.append(_measure(series, here))
    return points


def _measure(series: Series, events: list[Event]) -> float | None:
    people = {e.person for e in events}
    if series.measure == "count":
        return len(events)
    if series.measure in ("people", "active"):
        return len(people)
    if series.measure == "per_person":
        return len(events) / len(people) if people else None
    assert series.of is not None
    found = [e.properties.get(series.of.name) for e in events]
    numbers = [float(value) for value in found if value is not None]
    if series.measure == "sum":
        return sum(numbers)
    if not numbers:
        return None
    if series.measure in QUANTILES:
        return float(np.quantile(numbers, QUANTILES[series.measure]))
    return {"average": np.mean, "min": min, "max": max}[series.measure](numbers)


def _number(question: Trend, event: Event) -> int:
    moment = datetime.fromtimestamp(event.at / 1000, UTC)
    return number(moment, question.unit, question.timezone)


def _value(question: Trend, event: Event, traits: dict[str, dict[str, Any]]) -> tuple[Any, ...]:
    return tuple(
        text(traits.get(event.person, {}).get(field.name, "")) or None
        if field.kind == "trait"
        else text(event.properties.get(field.name, "")) or None
        for field in question.by
    )

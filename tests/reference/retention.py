"""Retention by the letter of its definition: sets of periods, one person after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from tests.reference.events import Event, between, holds, is_step, once, text

from desirepath_analytics.behaviour.periods import number
from desirepath_analytics.behaviour.retention import Retention
from desirepath_analytics.spec import Period


def table(
    question: Retention, events: Iterable[Event], period: Period, traits: dict[str, dict[str, Any]]
) -> dict[tuple[Any, ...], dict[int, tuple[int, list[int]]]]:
    """For each value, for each cohort (number of its period): size, and people in each column."""
    people: dict[str, list[Event]] = {}
    for event in once(events):
        if question.where is None or holds(question.where, event):
            people.setdefault(event.person, []).append(event)
    answer: dict[tuple[Any, ...], dict[int, tuple[int, list[int]]]] = {}
    for person, history in people.items():
        inside = between(history, period.since, period.until)
        starts = [e for e in inside if is_step(e, question.start)]
        back = [e for e in inside if is_step(e, question.back)]
        earlier = between(history, None, period.since) if period.since else []
        if not starts:
            continue
        if question.cohort == "first" and any(is_step(e, question.start) for e in earlier):
            continue
        value = _value(question, starts, traits.get(person, {}))
        cohorts = sorted({_number(question, e.at) for e in starts})
        for cohort in cohorts[:1] if question.cohort == "first" else cohorts:
            came = _came(question, cohort, starts, back)
            size, cells = answer.setdefault(value, {}).get(cohort, (0, [0] * len(question.columns)))
            marks = [_mark(question, came, first, last) for first, last in question.columns]
            added = [a + b for a, b in zip(cells, marks, strict=True)]
            answer[value][cohort] = (size + 1, added)
    return answer


def _number(question: Retention, at: int) -> int:
    return number(datetime.fromtimestamp(at / 1000, UTC), question.unit, question.timezone)


def _came(question: Retention, cohort: int, starts: list[Event], back: list[Event]) -> set[int]:
    """The periods after the cohort's in which the person came back often enough."""
    if question.rolling:
        begin = min(e.at for e in starts)
        return {(e.at - begin) // question.unit_ms for e in back if e.at >= begin}
    often = Counter(_number(question, e.at) - cohort for e in back)
    return {k for k, times in often.items() if k >= 0 and times >= question.at_least}


def _mark(question: Retention, came: set[int], first: int, last: int) -> int:
    if question.mode == "on_or_after":
        return int(any(k >= first for k in came))
    if question.mode == "streak":
        return int(all(k in came for k in range(1, last + 1)))
    return int(any(k in came for k in range(first, last + 1)))


def _value(question: Retention, starts: list[Event], traits: dict[str, Any]) -> tuple[Any, ...]:
    own = [field for field in question.by if field.kind != "trait"]
    at = min(e.at for e in starts)
    texts = min([text(e.properties.get(f.name, "")) for f in own] for e in starts if e.at == at)
    values = iter(texts)
    return tuple(
        (text(traits.get(f.name, "")) if f.kind == "trait" else next(values)) or None
        for f in question.by
    )

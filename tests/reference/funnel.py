"""A funnel by the letter of its definition: every attempt of every person, one after the other."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from tests.reference.events import Event, between, holds, is_step, once, text

from desirepath_analytics.behaviour.funnel import Funnel
from desirepath_analytics.behaviour.periods import number
from desirepath_analytics.spec import Period

FAR = 2**62


@dataclass
class Attempt:
    """Where each step was taken: its place in the history and the event; None if it was not."""

    line: list[Event]
    places: list[int | None]
    events: list[Event | None]
    spoiled: set[str]

    def depth(self, funnel: Funnel) -> int:
        """How many of the required steps were taken."""
        taken = zip(funnel.steps, self.events, strict=True)
        return sum(event is not None and not step.optional for step, event in taken)


def counts(
    funnel: Funnel, events: Iterable[Event], period: Period, traits: dict[str, dict[str, Any]]
) -> dict[Any, dict[str, Any]]:
    """For every value of the breakdown, and for None (all): units and seconds of each step."""
    units = list(_units(funnel, once(events), period))
    answer: dict[Any, dict[str, Any]] = {None: _numbers(funnel, units)}
    if funnel.by:
        keyed = [
            (_values(funnel, attempt, unit, own, traits), (unit, attempt, own))
            for unit, attempt, own in units
        ]
        for value in {value for value, _ in keyed}:
            answer[value] = _numbers(funnel, [unit for v, unit in keyed if v == value])
    return answer


def _units(
    funnel: Funnel, events: list[Event], period: Period
) -> Iterable[tuple[Any, Attempt, tuple[str, ...]]]:
    """The attempt that counts, of every person, session, group, or every attempt."""
    for unit, own, found in _found(funnel, events, period):
        if funnel.count == "attempts":
            yield from ((unit, attempt, own) for attempt in found)
        elif found:
            yield unit, min(found, key=lambda a: _preference(funnel, a)), own


def over_time(funnel: Funnel, events: Iterable[Event], period: Period) -> dict[int, list[int]]:
    """For the number of each period in which attempts began: units at each step."""
    assert funnel.over is not None
    units: dict[int, list[Any]] = {}
    for unit, own, found in _found(funnel, once(events), period):
        begun: dict[int, list[Attempt]] = {}
        for attempt in found:
            moment = datetime.fromtimestamp(_begin(attempt) / 1000, UTC)
            begun.setdefault(number(moment, funnel.over, funnel.timezone), []).append(attempt)
        for p, here in begun.items():
            best = min(here, key=lambda a: _preference(funnel, a))
            counted = here if funnel.count == "attempts" else [best]
            units.setdefault(p, []).extend((unit, attempt, own) for attempt in counted)
    return {p: _numbers(funnel, here)["counts"] for p, here in units.items()}


def _found(
    funnel: Funnel, events: list[Event], period: Period
) -> Iterable[tuple[Any, tuple[str, ...], list[Attempt]]]:
    """All attempts that were not spoiled, of each unit."""
    read = between(events, None if funnel.entry == "first" else period.since, period.until)
    if funnel.where is not None:
        read = [event for event in read if holds(funnel.where, event)]
    histories: dict[Any, dict[Any, list[Event]]] = {}
    for event in read:
        who = event.group if funnel.count == "groups" else event.person
        in_sessions = funnel.count == "sessions" or funnel.within_session
        if not who or (in_sessions and not event.session):
            continue
        unit: tuple[Any, ...] = (who, event.session) if funnel.count == "sessions" else (who,)
        own: tuple[str, ...] = ()
        if funnel.attribution == "all":
            own = tuple(_value(event, field.name) for field in funnel.by)
        held = tuple(_value(event, field.name) for field in funnel.hold)
        part = (held, event.session if in_sessions else "")
        histories.setdefault((unit, own), {}).setdefault(part, []).append(event)
    for (unit, own), parts in histories.items():
        found: list[Attempt] = []
        for history in parts.values():
            attempts = _attempts(funnel, history)
            if funnel.entry == "first":
                attempts = attempts[:1]
                if period.since is not None:
                    since = round(period.since.timestamp() * 1000)
                    attempts = [a for a in attempts if _begin(a) >= since]
            if not any("person" in attempt.spoiled for attempt in attempts):
                found += [attempt for attempt in attempts if not attempt.spoiled]
        yield unit, own, found


def _attempts(funnel: Funnel, history: list[Event]) -> list[Attempt]:
    ordered = sorted(history, key=lambda event: (event.at, _rank(funnel, event)))
    if funnel.order == "strict":
        line = ordered
    else:
        line = [event for event in ordered if any(_rank(funnel, event))]
    first = funnel.stages[0]
    return [
        _attempt(funnel, line, place)
        for place, event in enumerate(line)
        if any(_counts_as(funnel, event, slot) for slot in first)
    ]


def _rank(funnel: Funnel, event: Event) -> list[bool]:
    """At equal times: by the last of the steps it matches; excluded events first."""
    steps = [
        _counts_as(funnel, event, slot) and not _again(funnel, slot)
        for slot in range(len(funnel.steps))
    ]
    excluded = [is_step(event, exclusion.step) for exclusion in funnel.exclude]
    return [*reversed(steps), *reversed(excluded)]


def _again(funnel: Funnel, slot: int) -> bool:
    """Whether the same step stands before it in its group."""
    group = next((stage for stage in funnel.stages if slot in stage), ())
    wanted = funnel.steps[slot].matches
    return any(other < slot and funnel.steps[other].matches == wanted for other in group)


def _counts_as(funnel: Funnel, event: Event, slot: int) -> bool:
    """Whether an event is this step; in a group it is the first step that it matches."""
    if not is_step(event, funnel.steps[slot]):
        return False
    group = next((stage for stage in funnel.stages if slot in stage), ())
    first = next((other for other in group if is_step(event, funnel.steps[other])), slot)
    return funnel.steps[first].matches == funnel.steps[slot].matches


def _attempt(funnel: Funnel, line: list[Event], begin: int) -> Attempt:
    end = FAR if funnel.window_ms is None else line[begin].at + funnel.window_ms
    places: list[int | None] = [None] * len(funnel.steps)
    place = begin - 1
    for stage in funnel.stages:
        open_slots, taken = list(stage), []
        while open_slots:
            place += 1
            if place >= len(line) or line[place].at > end:
                break
            slot = next((s for s in open_slots if _counts_as(funnel, line[place], s)), None)
            if slot is not None:
                open_slots.remove(slot)
                taken.append(place)
            elif funnel.order == "strict":
                place = len(line)
        for slot, where in zip(stage, taken, strict=False):
            places[slot] = where
        if open_slots:
            break
    for slot, step in enumerate(funnel.steps):
        if step.optional:
            places[slot] = _optional(funnel, line, places, slot, end)
    spoiled = {
        exclusion.drop
        for exclusion in funnel.exclude
        if _spoils(funnel, exclusion, line, places, end)
    }
    return Attempt(line, places, [None if p is None else line[p] for p in places], spoiled)


def _optional(
    funnel: Funnel, line: list[Event], places: list[int | None], slot: int, end: int
) -> int | None:
    """The first event between the required steps around it."""
    required = [s for stage in funnel.stages for s in stage]
    before = max(s for s in required if s < slot)
    start = places[before]
    if start is None:
        return None
    after = [s for s in required if s > slot]
    stop = places[after[0]] if after else None
    for place in range(start + 1, len(line) if stop is None else stop):
        if line[place].at <= end and is_step(line[place], funnel.steps[slot]):
            return place
    return None


def _spoils(
    funnel: Funnel, exclusion: Any, line: list[Event], places: list[int | None], end: int
) -> bool:
    """An excluded event after one step and before another, or before the window's end."""
    group = next(stage for stage in funnel.stages if exclusion.after - 1 in stage)
    if any(places[slot] is None for slot in group):
        return False
    start = max(p for p in (places[slot] for slot in group) if p is not None)
    stage = next(stage for stage in funnel.stages if exclusion.before - 1 in stage)
    stop = places[stage[0]]
    return any(
        line[place].at <= end and is_step(line[place], exclusion.step)
        for place in range(start + 1, len(line) if stop is None else stop)
    )


def _preference(funnel: Funnel, attempt: Attempt) -> tuple[Any, ...]:
    """The deepest; the earliest in each required step, in each optional one; the least values."""
    times = [(FAR, [False]) if e is None else (e.at, _rank(funnel, e)) for e in attempt.events]
    order = sorted(range(len(times)), key=lambda slot: funnel.steps[slot].optional)
    return -attempt.depth(funnel), [times[slot] for slot in order], _touched(funnel, attempt)


def _begin(attempt: Attempt) -> int:
    return min(event.at for event in attempt.events if event is not None)


def _value(event: Event, name: str) -> str:
    value = event.properties.get(name)
    return "" if value is None else text(value)


def _values(
    funnel: Funnel,
    attempt: Attempt,
    unit: tuple[Any, ...],
    own: tuple[str, ...],
    traits: dict[str, dict[str, Any]],
) -> tuple[str | None, ...]:
    carried = list(own) if funnel.attribution == "all" else _touched(funnel, attempt)
    values = []
    for field, value in zip(funnel.by, carried, strict=True):
        if field.kind == "trait":
            value = text(traits.get(unit[0], {}).get(field.name, ""))
        values.append(value or None)
    return tuple(values)


def _touched(funnel: Funnel, attempt: Attempt) -> list[str]:
    """The values at the event that the attempt is attributed to."""
    if funnel.attribution in ("first", "all"):
        event = attempt.events[0]
    elif funnel.attribution == "last":
        taken = zip(attempt.places, attempt.events, strict=True)
        event = max(((p, e) for p, e in taken if p is not None), key=lambda pair: pair[0])[1]
    else:
        event = attempt.events[int(funnel.attribution) - 1]
    if event is None:
        return [""] * len(funnel.by)
    # Of events that nothing tells apart, the one with the least values.
    rank = _rank(funnel, event)
    same = [e for e in attempt.line if e.at == event.at and _rank(funnel, e) == rank]
    return min([_value(e, field.name) for field in funnel.by] for e in same)


def _numbers(funnel: Funnel, units: list[Any]) -> dict[str, Any]:
    counted: list[int] = []
    from_start: list[list[float]] = []
    from_step: list[list[float]] = []
    for slot in range(len(funnel.steps)):
        here = [(unit, a) for unit, a, _ in units if a.events[slot] is not None]
        distinct = {unit for unit, _ in here}
        counted.append(len(here) if funnel.count == "attempts" else len(distinct))
        times = [[e.at if e else None for e in a.events] for _, a in here]
        from_start.append([(t[slot] - t[0]) / 1000 for t in times])
        before = [max(x for x in t[: slot or 1] if x is not None) for t in times]
        from_step.append([(t[slot] - b) / 1000 for t, b in zip(times, before, strict=True)])
    return {"counts": counted, "start": _spread(from_start), "step": _spread(from_step)}


def _spread(spans: list[list[float]]) -> list[tuple[float, float, float] | None]:
    """Median, mean and 90 % point of each step's seconds."""
    return [
        (float(np.quantile(s, 0.5)), float(np.mean(s)), float(np.quantile(s, 0.9))) if s else None
        for s in itertools.islice(spans, 1, None)
    ]

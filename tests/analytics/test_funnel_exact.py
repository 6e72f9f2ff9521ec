"""Every option of a funnel against the pure-Python reference, on random histories.

The histories are drawn once (see `people`); Hypothesis draws the questions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.analytics.people import NAMES, TRAITS, Crowd, crowd, histories, thorough
from tests.reference.funnel import counts, over_time

from desirepath_analytics import Funnel
from desirepath_analytics.behaviour.periods import number
from desirepath_analytics.spec import Period


@pytest.fixture(scope="module")
def people(engine: str) -> Iterator[Crowd]:
    """The random histories."""
    with crowd(engine, "funnel_exact", histories()) as found:
        yield found


events_ = st.sampled_from(NAMES)
steps_ = st.one_of(
    events_,
    st.lists(events_, min_size=2, max_size=3, unique=True),
    st.builds(lambda e, w: {"event": e, "where": {"v": w}}, events_, st.sampled_from([1, 2])),
)
groups_ = st.builds(lambda steps: {"any_order": steps}, st.lists(steps_, min_size=2, max_size=3))


def optional(step: Any) -> Any:
    """The same step, not required."""
    return {**(step if isinstance(step, dict) else {"event": step}), "optional": True}


@st.composite
def funnels(draw: st.DrawFn) -> Funnel:
    """Any valid question."""
    order = draw(st.sampled_from(["ordered", "ordered", "ordered", "strict", "any"]))
    items = draw(st.lists(steps_, min_size=2, max_size=4))
    if order == "ordered":
        kinds = draw(st.lists(st.sampled_from("sssog"), min_size=4, max_size=4))
        required = list(items)
        for i, kind in enumerate(kinds[: len(items)]):
            if kind == "g":
                items[i] = draw(groups_)
            elif kind == "o" and i and required[i] != required[i - 1]:
                items[i] = optional(items[i])
    spec: dict[str, Any] = {
        "steps": items,
        "order": order,
        "within": draw(st.sampled_from(["all", "3m", "10m", "1h", "session"])),
        "entry": draw(st.sampled_from(["every", "every", "first"])),
        "count": draw(st.sampled_from(["people", "people", "sessions", "attempts", "groups"])),
        "where": draw(st.sampled_from([None, None, {"v": {"exists": True}}, {"w": {"!=": "y"}}])),
        "hold": draw(st.sampled_from([None, None, "v", ["v", "w"]])),
    }
    by = draw(st.sampled_from([None, "w", ["w", "v"], "traits.tier"]))
    if by is not None and not (spec["count"] == "groups" and by == "traits.tier"):
        spec["by"] = by
        slots = len(Funnel(items, order=order).steps)
        touches = (
            ["first", "last", slots] if by == "traits.tier" else ["first", "last", "all", slots]
        )
        spec["attribution"] = draw(st.sampled_from(touches))
    if order == "ordered" and draw(st.booleans()):
        plain = Funnel(items)
        stages = [stage[0] + 1 for stage in plain.stages]
        if len(stages) > 1:
            after = draw(st.sampled_from(stages[:-1]))
            before = draw(st.sampled_from([n for n in stages if n > after]))
            drop = draw(st.sampled_from(["attempt", "person"]))
            exclusion = {"event": draw(events_), "after": after, "before": before, "drop": drop}
            spec["exclude"] = [exclusion]
    return Funnel.from_spec(spec)


periods_ = st.sampled_from(
    [
        Period.of(),
        Period.of("2026-01-01T00:03:00Z", None),
        Period.of("2026-01-01T00:02:00Z", "2026-01-01T00:12:00Z"),
    ]
)


@thorough
@given(funnel=funnels(), period=periods_)
def test_a_funnel_agrees_with_the_reference(people: Crowd, funnel: Funnel, period: Period) -> None:
    """Counts, times and breakdowns, to the last person."""
    result = funnel.run(people.warehouse, period.since, period.until)
    expected = counts(funnel, people.events, period, TRAITS)
    found = {None: result.steps, **dict(result.breakdown)}
    assert {v: [step.count for step in steps] for v, steps in found.items()} == {
        v: numbers["counts"] for v, numbers in expected.items()
    }
    for value, steps in found.items():
        for name, key in (("time_from_start", "start"), ("time_from_previous", "step")):
            for step, spread in zip(steps[1:], expected[value][key], strict=True):
                times = getattr(step, name)
                if spread is None:
                    assert times.median is None
                else:
                    assert sum(n for _, n in times.histogram) == times.n
                    got = (times.median, times.mean, times.p90)
                    assert got == pytest.approx(spread, abs=1e-6)


@thorough
@given(funnel=funnels(), period=periods_, timezone=st.sampled_from(["UTC", "Asia/Kolkata"]))
def test_a_funnel_over_time_agrees_with_the_reference(
    people: Crowd, funnel: Funnel, period: Period, timezone: str
) -> None:
    """Everybody in every hour in which they began."""
    plain = {k: v for k, v in funnel.to_spec().items() if k not in ("by", "attribution")}
    asked = Funnel.from_spec({**plain, "over": "hour", "timezone": timezone})
    result = asked.run(people.warehouse, period.since, period.until)
    found = {
        number(one.begins, "hour", timezone): [step.count for step in one.steps]
        for one in result.periods
    }
    assert found == over_time(asked, people.events, period)

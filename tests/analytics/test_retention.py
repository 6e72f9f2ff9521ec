"""Retention: by example, and every option against the reference."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.analytics.kit import DAY, HOUR, event, insert
from tests.analytics.people import NAMES, TRAITS, Crowd, crowd, long_histories, thorough
from tests.reference.retention import table

from desirepath.errors import QueryError
from desirepath_analytics import Retention, read_question
from desirepath_analytics.behaviour.periods import number
from desirepath_analytics.spec import Period
from desirepath_collector.warehouse import Warehouse


def cells(result: Any) -> dict[str, list[int | None]]:
    """What is in each cohort's columns."""
    return {cohort.label: list(cohort.cells) for cohort in result.cohorts}


def test_a_cohort_is_told_by_its_first_day(warehouse: Warehouse) -> None:
    """Two begin on the first, one on the second; cells that are not over are empty."""
    insert(
        warehouse,
        [
            *(event("p", "open", 0), event("p", "open", 2 * DAY)),
            *(event("q", "open", HOUR), event("q", "open", DAY)),
            *(event("r", "open", DAY), event("r", "open", 2 * DAY + HOUR)),
        ],
    )
    result = Retention("open", periods=2).run(warehouse, "2026-01-01", "2026-01-04")
    assert cells(result) == {"2026-01-01": [2, 1, 1], "2026-01-02": [1, 1, None]}
    assert [(e.value, e.n) for e in result.weighted] == [(1.0, 3), (2 / 3, 3), (0.5, 2)]
    assert result.simple == (1.0, 0.75, 0.5)
    assert list(result.frame.columns) == ["cohort", "size", "0", "1", "2"]
    assert result.figure().data[0].type == "heatmap"
    assert "are not over" in result.notes[0]
    assert '"weighted"' in result.to_json()


def test_first_means_first_ever(warehouse: Warehouse) -> None:
    """Who began before the range is in no cohort; recurring cohorts take everybody."""
    insert(warehouse, [event("p", "open", day * DAY) for day in (0, 2, 3)])
    later = ("2026-01-02", "2026-01-05")
    assert cells(Retention("open", periods=1).run(warehouse, *later)) == {}
    every = Retention("open", periods=1, cohort="every").run(warehouse, *later)
    assert cells(every) == {"2026-01-03": [1, 1], "2026-01-04": [1, None]}


def test_days_are_days_of_the_time_zone(warehouse: Warehouse) -> None:
    """23:30 in UTC is the next day in Stockholm."""
    insert(warehouse, [event("p", "open", 23 * HOUR + HOUR // 2), event("p", "open", DAY + HOUR)])
    period = ("2026-01-01", "2026-01-05")
    utc = Retention("open", periods=1).run(warehouse, *period)
    assert cells(utc) == {"2026-01-01": [1, 1]}
    north = Retention("open", periods=1, timezone="Europe/Stockholm").run(warehouse, *period)
    assert cells(north) == {"2026-01-02": [1, 0]}


def test_without_a_range_the_data_bound_it(warehouse: Warehouse) -> None:
    """And the last period counts as not over."""
    insert(warehouse, [event("p", "open", 0), event("p", "open", DAY), event("p", "open", 2 * DAY)])
    result = Retention("open", periods=3).run(warehouse)
    assert cells(result) == {"2026-01-01": [1, 1, None, None]}


FORMS: list[dict[str, Any]] = [
    {"start": "a"},
    {"start": ["a", "b"], "returning": {"event": "c", "where": {"x": 1}}, "unit": "week"},
    {"start": "a", "mode": "bracket", "brackets": [1, 2, 4], "cohort": "every", "at_least": 2},
    {"start": "a", "rolling": True, "timezone": "Europe/Berlin", "by": ["x", "traits.y"]},
]


@pytest.mark.parametrize("spec", FORMS)
def test_the_plain_form_is_read_back(spec: dict[str, Any]) -> None:
    """from_spec and to_spec are inverse."""
    question = Retention.from_spec(spec)
    assert Retention.from_spec(question.to_spec()) == question
    assert read_question({"retention": spec})[0] == question
    assert Retention.from_spec({**spec, "where": {"z": 1}}) != question


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "no start"),
        ({"start": "a", "unit": "fortnight"}, "unit: unknown 'fortnight'"),
        ({"start": "a", "timezone": "Europe/Stokholm"}, "unknown time zone"),
        ({"start": "a", "periods": 0}, "whole number from 1 to 90"),
        ({"start": "a", "mode": "bracket"}, "brackets: given with mode"),
        ({"start": "a", "rolling": True, "unit": "month"}, "months differ in length"),
        ({"start": "a", "rolling": True, "at_least": 2}, "rolling: needs"),
        ({"start": "a", "periode": 3}, "unknown key 'periode'"),
    ],
)
def test_a_mistake_is_named(spec: dict[str, Any], message: str) -> None:
    """With the nearest right word."""
    with pytest.raises(QueryError, match=message):
        Retention.from_spec(spec)


def test_a_range_of_too_many_periods_is_refused(warehouse: Warehouse) -> None:
    """One bit a period, 256 of them."""
    insert(warehouse, [event("p", "a", 0)])
    with pytest.raises(QueryError, match="at most 256"):
        Retention("a", unit="hour").run(warehouse, "2026-01-01", "2026-03-01")


@pytest.fixture(scope="module")
def people(engine: str) -> Iterator[Crowd]:
    """Random histories over some weeks."""
    with crowd(engine, "retention_exact", long_histories()) as found:
        yield found


steps_ = st.one_of(
    st.sampled_from(NAMES),
    st.builds(lambda e: {"event": e, "where": {"v": {"exists": True}}}, st.sampled_from(NAMES)),
)


@st.composite
def retentions(draw: st.DrawFn) -> Retention:
    """Any valid question."""
    mode = draw(st.sampled_from(["on", "on_or_after", "bracket", "streak"]))
    unit = draw(st.sampled_from(["hour", "day", "week", "month"]))
    rolling = unit != "month" and draw(st.booleans())
    return Retention(
        draw(steps_),
        draw(st.one_of(st.none(), steps_)),
        unit=unit,
        mode=mode,
        brackets=draw(st.sampled_from([[1, 2, 4], [3, 1]])) if mode == "bracket" else (),
        periods=draw(st.integers(1, 9)),
        timezone=draw(st.sampled_from(["UTC", "America/New_York", "Asia/Kolkata"])),
        rolling=rolling,
        cohort="first" if rolling else draw(st.sampled_from(["first", "every"])),
        at_least=1 if rolling else draw(st.sampled_from([1, 1, 2])),
        by=draw(st.sampled_from([None, "w", ["traits.tier", "v"]])),
        where=draw(st.sampled_from([None, {"w": {"!=": "y"}}])),
    )


@thorough
@given(question=retentions(), late=st.booleans())
def test_retention_agrees_with_the_reference(
    people: Crowd, question: Retention, late: bool
) -> None:
    """Every cohort, every column, every value."""
    since = "2026-01-12T05:00:00Z" if late else "2026-01-01"
    until = "2026-03-01"
    if question.unit == "hour":
        until = "2026-01-22" if late else "2026-01-11"
    period = Period.of(since, until)
    result = question.run(people.warehouse, since, until)
    groups = result.breakdown if question.by else (((), result.cohorts),)
    found = {
        values: {
            number(c.begins, question.unit, question.timezone): (
                c.size,
                list(c.cells),
            )
            for c in cohorts
        }
        for values, cohorts in groups
        if cohorts
    }
    expected = table(question, people.events, period, TRAITS)
    assert found.keys() == expected.keys()
    for value, cohorts in expected.items():
        assert found[value].keys() == cohorts.keys()
        for cohort, (size, wanted) in cohorts.items():
            got_size, got = found[value][cohort]
            assert got_size == size
            over = [k for k, count in enumerate(got) if count is not None]
            assert [got[k] for k in over] == [wanted[k] for k in over]

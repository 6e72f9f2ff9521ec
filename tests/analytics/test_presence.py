"""Lifecycle and stickiness: by example, and against the reference."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.analytics.kit import DAY, event, insert
from tests.analytics.people import NAMES, Crowd, crowd, long_histories, thorough
from tests.reference.presence import lifecycle, stickiness

from desirepath.errors import QueryError
from desirepath_analytics import Lifecycle, Stickiness, read_question
from desirepath_analytics.behaviour.periods import Grid
from desirepath_analytics.spec import Period
from desirepath_collector.warehouse import Warehouse


def test_people_come_stay_come_back_and_leave(warehouse: Warehouse) -> None:
    """The four states over four days."""
    days = {"p": (0, 1, 3), "q": (1,), "r": (2, 3)}
    insert(warehouse, [event(who, "a", d * DAY) for who, on in days.items() for d in on])
    result = Lifecycle("a", unit="day").run(warehouse, "2026-01-01", "2026-01-05")
    states = [(p.new, p.returning, p.resurrecting, p.dormant) for p in result.periods]
    assert states == [(1, 0, 0, 0), (1, 1, 0, 0), (1, 0, 0, 2), (0, 1, 1, 0)]
    assert list(result.frame["active"]) == [1, 2, 1, 2]
    # What came before the range makes nobody new, and somebody dormant.
    later = Lifecycle(unit="day").run(warehouse, "2026-01-03", "2026-01-05")
    states = [(p.new, p.returning, p.resurrecting, p.dormant) for p in later.periods]
    assert states == [(1, 0, 0, 2), (0, 1, 1, 0)]
    assert len(later.figure().data) == 4


def test_how_many_days_people_are_active(warehouse: Warehouse) -> None:
    """Exactly, and at least, so many days."""
    days = {"p": (0, 1, 3), "q": (1,), "r": (2, 2)}
    rows = [event(who, "a", d * DAY + i) for who, on in days.items() for i, d in enumerate(on)]
    insert(warehouse, rows)
    result = Stickiness("a").run(warehouse, "2026-01-01", "2026-01-05")
    assert [group.exactly for group in result.groups] == [2, 0, 1, 0]
    assert [group.at_least.value for group in result.groups] == [1, 1 / 3, 1 / 3, 0]
    assert result.mean == pytest.approx(5 / 3)
    assert result.figure().data[0].type == "bar"
    nobody = Stickiness("a").run(warehouse, "2027-01-01", "2027-01-03")
    assert nobody.mean is None


@pytest.mark.parametrize(
    "spec",
    [
        {"lifecycle": {"event": ["a", "b"], "unit": "month", "timezone": "Europe/Berlin"}},
        {"stickiness": {"event": "a", "unit": "week", "where": {"x": {">": 1}}}},
        {"lifecycle": {}},
    ],
)
def test_the_plain_form_is_read_back(spec: dict[str, Any]) -> None:
    """from_spec and to_spec are inverse."""
    question, _ = read_question(spec)
    assert read_question({question.kind: question.to_spec()})[0] == question


def test_a_mistake_is_named() -> None:
    """With the nearest right word."""
    with pytest.raises(QueryError, match="unit: unknown 'dya'"):
        Stickiness("a", unit="dya")


@pytest.fixture(scope="module")
def people(engine: str) -> Iterator[Crowd]:
    """Random histories over some weeks."""
    with crowd(engine, "presence_exact", long_histories()) as found:
        yield found


steps_ = st.one_of(
    st.just("*"),
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=2),
    st.builds(lambda e: {"event": e, "where": {"v": 1}}, st.sampled_from(NAMES)),
)


@thorough
@given(
    event=steps_,
    unit=st.sampled_from(["hour", "day", "week", "month"]),
    timezone=st.sampled_from(["UTC", "America/New_York", "Asia/Kolkata"]),
    where=st.sampled_from([None, {"w": {"!=": "y"}}]),
    late=st.booleans(),
)
def test_lifecycle_and_stickiness_agree_with_the_reference(
    people: Crowd, event: Any, unit: str, timezone: str, where: Any, late: bool
) -> None:
    """Every period, every state, every number of days."""
    since = datetime(2026, 1, 12, 5, tzinfo=UTC) if late else datetime(2026, 1, 1, tzinfo=UTC)
    days = 8 if unit == "hour" else 45
    period = Period.of(since, datetime.fromtimestamp(since.timestamp() + days * 86_400, UTC))
    options = {"unit": unit, "timezone": timezone, "where": where}
    states = Lifecycle(event, **options)
    result = states.run(people.warehouse, period.since, period.until)
    grid = Grid.over(period, states.unit, timezone, end=since)
    assert [(p.new, p.returning, p.resurrecting, p.dormant) for p in result.periods] == lifecycle(
        states, people.events, period, grid
    )
    sticky = Stickiness(event, **options)
    groups = sticky.run(people.warehouse, period.since, period.until).groups
    expected = stickiness(sticky, people.events, period)
    assert {g.periods: g.exactly for g in groups if g.exactly} == dict(expected)

"""Trends: by example, and every measure against the reference."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.analytics.kit import DAY, HOUR, event, insert
from tests.analytics.people import NAMES, TRAITS, Crowd, crowd, long_histories, thorough
from tests.reference.trend import lines

from desirepath.errors import QueryError
from desirepath_analytics import Trend, read_question
from desirepath_analytics.behaviour.periods import Grid
from desirepath_analytics.behaviour.trend import MEASURES, OTHER
from desirepath_analytics.spec import Period
from desirepath_collector.warehouse import Warehouse

JANUARY = ("2026-01-01", "2026-01-04")


@pytest.fixture
def shop(warehouse: Warehouse) -> Warehouse:
    """Orders of two people on two of three days."""
    insert(
        warehouse,
        [
            event("p", "buy", HOUR, {"total": 10, "kind": "book"}),
            event("p", "buy", 2 * HOUR, {"total": 20, "kind": "map"}),
            event("q", "buy", 3 * HOUR, {"total": 3, "kind": "book"}),
            event("q", "buy", 2 * DAY, {"kind": "book"}),
            *(event("p", "view", HOUR), event("r", "view", DAY), event("r", "view", 2 * DAY)),
        ],
    )
    return warehouse


def values(question: Trend, warehouse: Warehouse, *period: str) -> list[list[float | None]]:
    """The values of all lines."""
    return [line.values for line in question.run(warehouse, *(period or JANUARY)).lines]


def test_measures(shop: Warehouse) -> None:
    """0 of what is counted, no average without events."""

    def ask(measure: str, **more: Any) -> list[float | None]:
        return values(Trend({"event": "buy", "measure": measure, **more}), shop)[0]

    assert ask("count") == [3, 0, 1]
    assert ask("people") == [2, 0, 1]
    assert ask("per_person") == [1.5, None, 1]
    assert ask("sum", of="total") == [33, 0, 0]
    assert ask("average", of="total") == [11, None, None]
    assert ask("median", of="total") == [10, None, None]
    assert ask("max", of="total") == [20, None, None]
    assert ask("active", days=2) == [2, 2, 1]


def test_a_formula_over_series(shop: Warehouse) -> None:
    """Buyers a viewer; dividing by nobody gives no value."""
    people = [{"event": name, "measure": "people"} for name in ("buy", "view")]
    question = Trend(people, formula="100 * A / B")
    result = question.run(shop, *JANUARY)
    assert [line.values for line in result.lines] == [[200, 0, 100]]
    assert values(Trend(["buy", "view"], formula="A / (A - 1)"), shop) == [[1.5, 0, None]]


def test_values_beyond_the_largest_are_other(shop: Warehouse) -> None:
    """`top` lines and one more."""
    result = Trend("buy", by="kind", top=1).run(shop, *JANUARY)
    assert [(line.by, line.values) for line in result.lines] == [
        (("book",), [2, 0, 1]),
        ((OTHER,), [1, 0, 0]),
    ]
    assert [line.total.value for line in result.lines] == [3, 1]


def test_running_sums_means_and_the_time_before(shop: Warehouse) -> None:
    """cumulative, smooth, compare."""
    assert values(Trend("buy", cumulative=True), shop) == [[3, 3, 4]]
    assert values(Trend("buy", smooth=2), shop) == [[3, 1.5, 0.5]]
    result = Trend("buy", compare=True).run(shop, "2026-01-02", "2026-01-04")
    assert result.lines[0].values == [0, 1]
    assert result.previous[0].values == [0, 3]
    assert len(result.figure().data) == 2
    assert result.to_dict()["previous"][0]["total"]["value"] == 3
    assert list(result.frame["value"]) == [0, 1]


def test_an_average_has_an_interval(shop: Warehouse) -> None:
    """From its standard error."""
    question = Trend({"event": "buy", "measure": "average", "of": "total"})
    result = question.run(shop, *JANUARY)
    point = result.lines[0].points[0]
    assert point.n == 3
    assert point.low == pytest.approx(11 - 1.959964 * 8.544 / 3**0.5, abs=0.01)
    assert len(result.figure().data) == 2


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "no series"),
        ({"series": []}, "1 to 10"),
        ({"series": {"event": "a", "measure": "sum"}}, "sum is of a property"),
        ({"series": {"event": "a", "measure": "people", "of": "x"}}, "not of a property"),
        ({"series": {"event": "a", "measure": "totl"}}, "unknown 'totl'"),
        ({"series": "a", "formula": "B / 2"}, "no series 'B'"),
        ({"series": "a", "formula": "__import__('os')"}, "only series, numbers"),
        ({"series": "a", "formula": "A **"}, "is no formula"),
        ({"series": {"event": "a", "measure": "people"}, "cumulative": True}, "added up"),
        ({"series": {"event": "a", "measure": "active"}, "unit": "week"}, "told for days"),
    ],
)
def test_a_mistake_is_named(spec: dict[str, Any], message: str) -> None:
    """Before any SQL is run."""
    with pytest.raises(QueryError, match=message):
        Trend.from_spec(spec)


def test_the_plain_form_is_read_back() -> None:
    """from_spec and to_spec are inverse."""
    spec = {
        "series": ["a", {"event": ["b", "c"], "measure": "p90", "of": "x", "where": {"y": 1}}],
        "formula": "A / B",
        "by": ["x", "traits.y"],
        "smooth": 7,
        "unit": "hour",
    }
    question, _ = read_question({"trend": spec})
    assert read_question({"trend": question.to_spec()})[0] == question


@pytest.fixture(scope="module")
def people(engine: str) -> Iterator[Crowd]:
    """Random histories over some weeks."""
    with crowd(engine, "trend_exact", long_histories()) as found:
        yield found


@st.composite
def trends(draw: st.DrawFn) -> Trend:
    """Any valid question."""
    unit = draw(st.sampled_from(["hour", "day", "week", "month"]))
    measures = [m for m in MEASURES if m != "active" or unit == "day"]
    series = []
    for _ in range(draw(st.integers(1, 2))):
        one: dict[str, Any] = {"event": draw(st.sampled_from([*NAMES, "*", ["a", "b"]]))}
        one["measure"] = draw(st.sampled_from(measures))
        if one["measure"] == "active":
            one["days"] = draw(st.sampled_from([1, 7, 30]))
        elif one["measure"] not in ("count", "people", "per_person"):
            one["of"] = "v"
        series.append(one)
    return Trend(
        series,
        unit=unit,
        timezone=draw(st.sampled_from(["UTC", "America/New_York", "Asia/Kolkata"])),
        by=draw(st.sampled_from([None, "w", ["traits.tier", "v"]])),
        top=draw(st.sampled_from([1, 2, 10])),
        where=draw(st.sampled_from([None, {"w": {"!=": "y"}}])),
    )


@thorough
@given(question=trends(), late=st.booleans())
def test_a_trend_agrees_with_the_reference(people: Crowd, question: Trend, late: bool) -> None:
    """Every series, every value, every period."""
    since = datetime(2026, 1, 12, 5, tzinfo=UTC) if late else datetime(2026, 1, 1, tzinfo=UTC)
    period = Period.of(since, since + timedelta(days=8 if question.unit == "hour" else 45))
    result = question.run(people.warehouse, period.since, period.until)
    grid = Grid.over(period, question.unit, question.timezone, end=since)
    expected = lines(question, people.events, period, grid, TRAITS)
    found = {}
    for i, line in enumerate(result.lines):
        found[i % len(question.series), line.by] = line.values
    for key, points in expected.items():
        assert found[key] == pytest.approx(points), key
    for key in found.keys() - expected.keys():
        assert not any(found[key]), key

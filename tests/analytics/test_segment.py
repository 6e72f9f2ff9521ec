"""Segments: rules by example, their plain form, mistakes."""

from __future__ import annotations

from typing import Any

import pytest
from tests.analytics.kit import DAY, event, identify, insert

from desirepath.errors import QueryError
from desirepath_analytics import Segment, did, did_not, trait
from desirepath_analytics.behaviour.rules import Rule
from desirepath_analytics.catalog import Catalog, OpenCatalog
from desirepath_collector.warehouse import Warehouse


@pytest.fixture
def people(warehouse: Warehouse) -> Warehouse:
    """Four people with traits and orders in January 2026."""
    insert(
        warehouse,
        [
            identify("anna", {"country": "SE", "age": 31}),
            identify("bert", {"country": "NL"}),
            identify("carl", {"country": "SE", "age": 17}),
            *(
                event("anna", "Order Completed", day * DAY, {"total": 10 * day})
                for day in (1, 2, 20)
            ),
            event("bert", "Order Completed", 25 * DAY, {"total": 99.5}),
            event("carl", "Product Viewed", 3 * DAY),
            event("dora", "Product Viewed", 28 * DAY),
        ],
    )
    return warehouse


def who(rule: Rule | Segment, warehouse: Warehouse, until: str = "2026-02-01") -> str:
    """The initials of a segment's people."""
    segment = rule if isinstance(rule, Segment) else Segment(rule)
    return "".join(name[0] for name in segment.run(warehouse, until=until).people)


def test_rules_of_behaviour_and_traits(people: Warehouse) -> None:
    """did, did_not, trait; counts, windows, filters."""
    order = did("Order Completed")
    assert who(order, people) == "ab"
    assert who(order.at_least(3), people) == "a"
    assert who(order.at_most(1), people) == "bcd"
    assert who(order.exactly(1), people) == "b"
    assert who(order.at_least(2).within("15d"), people) == ""
    assert who(order.within("15d"), people) == "ab"
    assert who(order.where(total={">=": 20}).at_least(2), people) == "a"
    assert who(order.where({"total": 99.5}), people) == "b"
    assert who(did_not("Order Completed"), people) == "cd"
    assert who(did_not("Order Completed").within("12d"), people) == "cd"
    assert who(did(["Order Completed", "Product Viewed"]), people) == "abcd"
    assert who(trait("country").is_in(["SE"]), people) == "ac"
    assert who(trait("country").equals("NL"), people) == "b"
    assert who(trait("age").matches({">=": 18}), people) == "a"
    assert who(trait("age").exists(), people) == "ac"
    assert who(~trait("age").exists(), people) == "bd"


def test_rules_of_days_sums_first_times_and_sequences(people: Warehouse) -> None:
    """on_days, sum, first, more_than_before, then."""
    order = did("Order Completed")
    assert who(order.on_days(3), people) == "a"
    assert who(order.sum("total", at_least=99), people) == "ab"
    assert who(order.sum("total", at_most=99.5), people) == "bcd"
    assert who(order.first().within("10d"), people) == "b"
    assert who(order.more_than_before().within("10d"), people) == "b"
    assert who(order.more_than_before().within("15d"), people) == "b"
    assert who(order.then("Order Completed", within="2d"), people) == "a"
    assert who(order.then("Product Viewed"), people) == ""


def test_rules_combine(people: Warehouse) -> None:
    """And, or, not, nested; a list of people."""
    order, swede = did("Order Completed"), trait("country").is_in(["SE"])
    assert who(order & swede, people) == "a"
    assert who(order | swede, people) == "abc"
    assert who(~(order | swede), people) == "d"
    assert who((order & ~swede) | did("Product Viewed").within("10d"), people) == "bd"
    assert who(Segment(order) & Segment(swede), people) == "a"
    assert who(~Segment(order), people) == "cd"
    assert who(Segment.of_people(["anna", "dora", "nobody"]), people) == "ad"


def test_the_window_ends_at_the_moment_asked_for(people: Warehouse) -> None:
    """As of `until`, so that a segment can be asked for the past."""
    recent = did("Order Completed").within("5d")
    assert who(recent, people, until="2026-01-04") == "a"
    assert who(recent, people, until="2026-01-27") == "b"
    assert who(recent, people, until="2026-02-20") == ""


def test_the_design_example_reads_as_rules() -> None:
    """The YAML of a plan and the Python are one value."""
    spec = {
        "all": [
            {"did": "Order Completed", "at_least": 3, "within": "30d"},
            {"trait": {"country": {"in": ["SE", "NL"]}}},
        ]
    }
    rule = did("Order Completed").at_least(3).within("30d") & trait("country").is_in(["SE", "NL"])
    assert Segment.from_spec(spec) == Segment(rule)
    assert Segment(rule).to_spec() == spec


SPECS: list[dict[str, Any]] = [
    {"did": "a"},
    {"did": ["a", "b"], "where": {"x": {">": 1}}, "at_least": 2, "at_most": 5},
    {"did_not": "a", "within": "7d"},
    {"not": {"any": [{"did": "a", "exactly": 2}, {"segment": "others"}]}},
    {"trait": {"country": "SE", "age": {">": 17}}},
    {"people": ["u1", "u2"]},
]


@pytest.mark.parametrize("spec", SPECS)
def test_the_plain_form_is_read_back_to_an_equal_segment(spec: dict[str, Any]) -> None:
    """from_spec and to_spec are inverse."""
    segment = Segment.from_spec(spec)
    assert Segment.from_spec(segment.to_spec()) == segment


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "found nothing"),
        ([], "expected a mapping"),
        ({"dit": "a"}, "found dit"),
        ({"did": "a", "at_leest": 2}, "unknown key 'at_leest'"),
        ({"did": "a", "at_least": -1}, "no number of times"),
        ({"did": "a", "at_least": 3, "at_most": 1}, "at most 1 and at least 3"),
        ({"did": "a", "exactly": 1, "at_least": 1}, "stands alone"),
        ({"all": []}, "list of rules"),
        ({"trait": {}}, "empty condition"),
        ({"trait": {"context.x": 1}}, "no trait of a person"),
        ({"did": "a", "did_not": "b"}, "exactly one of"),
        ({"did": "a", "first": True}, "need a window"),
        ({"did": "a", "first": True, "within": "3d", "at_least": 2}, "without a count"),
        ({"did": "a", "sum": {"of": "x"}}, "at_least or at_most"),
        ({"did": "a", "sum": {"of": "x", "at_least": 1}, "on_days": 2}, "one of times"),
        ({"then": ["a"]}, "two or more steps"),
    ],
)
def test_a_mistake_is_named(spec: Any, message: str) -> None:
    """With its place."""
    with pytest.raises(QueryError, match=message):
        Segment.from_spec(spec)


def test_segments_may_name_each_other_but_not_themselves() -> None:
    """A circle is an error, not a recursion."""
    segments = {"a": {"segment": "b"}, "b": {"not": {"segment": "a"}}, "c": {"did": "x"}}
    catalog = Catalog(events={"x": ()}, segments=segments)
    assert "c0 >= 1" in Segment("c").compile(catalog).text
    with pytest.raises(QueryError, match="defined by itself"):
        Segment("a").compile(catalog)
    with pytest.raises(QueryError, match="no segment 'd'"):
        Segment("d").compile(catalog)


def test_only_the_events_of_the_rules_are_read_where_that_is_enough() -> None:
    """A rule that nobody without the events can satisfy need not look at anybody else."""
    needs = Segment(did("a").within("7d") & trait("x").exists()).compile(OpenCatalog())
    assert "WHERE event IN" in needs.text
    everyone = Segment(did("a") | trait("x").exists()).compile(OpenCatalog())
    assert "WHERE event IN" not in everyone.text

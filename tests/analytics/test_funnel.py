"""Funnels: the published numbers, every option by example, the forms of the question."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.analytics.kit import DAY, HOUR, MINUTE, START_MS, event, identify, insert

from desirepath.errors import QueryError
from desirepath_analytics import Funnel, Segment, Step, did, read_question, trait
from desirepath_analytics.catalog import OpenCatalog
from desirepath_collector.warehouse import Warehouse


def counts(funnel: Funnel, warehouse: Warehouse, **period: Any) -> list[int]:
    """People at each step."""
    return list(funnel.run(warehouse, **period).counts)


@pytest.fixture
def shop(warehouse: Warehouse, shared_data: Path) -> Warehouse:
    """The events of a small online shop, whose funnels were published."""
    rows = []
    with (shared_data / "simple_shop" / "events.csv").open(newline="") as file:
        for line in csv.DictReader(file):
            at = datetime.fromisoformat(line["timestamp"]).replace(tzinfo=UTC)
            at_ms = round(at.timestamp() * 1000) - START_MS
            rows.append(event(line["user_id"], line["event"], at_ms))
    insert(warehouse, rows)
    return warehouse


def test_the_published_funnels_of_simple_shop_hold(shop: Warehouse) -> None:
    """Ordered, without a window."""
    assert counts(Funnel(["catalog", "cart", "payment_done"]), shop) == [3611, 1924, 653]
    either = Funnel(["catalog", ["product1", "product2"], "cart", "payment_done"], within="all")
    assert counts(either, shop) == [3611, 2010, 1257, 429]


def test_steps_must_come_in_order_within_the_window(warehouse: Warehouse) -> None:
    """The bound of the window counts; a later beginning gets a window of its own."""
    insert(
        warehouse,
        [
            *(event("in time", "a", 0), event("in time", "b", DAY)),
            *(event("late", "a", 0), event("late", "b", DAY + 1)),
            *(event("again", "a", 0), event("again", "a", HOUR), event("again", "b", DAY + 1)),
            *(event("backwards", "b", 0), event("backwards", "a", HOUR)),
            event("never", "b", 0),
        ],
    )
    assert counts(Funnel(["a", "b"], within="1d"), warehouse) == [4, 2]
    assert counts(Funnel(["a", "b"]), warehouse) == [4, 3]


def test_one_event_is_never_two_steps(warehouse: Warehouse) -> None:
    """a, a, b needs two events a (windowFunnel takes one for both)."""
    insert(
        warehouse,
        [
            *(event("once", "a", 0), event("once", "b", MINUTE)),
            *(event("twice", "a", 0), event("twice", "a", 1), event("twice", "b", MINUTE)),
        ],
    )
    assert counts(Funnel(["a", "a", "b"]), warehouse) == [2, 1, 1]


def test_equal_times_are_read_in_the_order_of_the_steps(warehouse: Warehouse) -> None:
    """The tie rule."""
    insert(warehouse, [event("p", "b", 5), event("p", "a", 5), event("p", "c", 5)])
    assert counts(Funnel(["a", "b", "c"]), warehouse) == [1, 1, 1]
    assert counts(Funnel(["c", "b", "a"]), warehouse) == [1, 1, 1]


def test_duplicates_of_a_message_count_once(warehouse: Warehouse) -> None:
    """A retry of the client's is the same event."""
    once = event("p", "a", 0, message_id="same")
    insert(warehouse, [once])
    insert(warehouse, [once])
    assert counts(Funnel(["a", "a"]), warehouse) == [1, 0]


def test_the_deepest_earliest_attempt_gives_the_times(warehouse: Warehouse) -> None:
    """Of the attempts that get as far, the one that began first."""
    insert(
        warehouse,
        [
            event("p", "a", 0),
            event("p", "a", 2 * DAY),
            event("p", "a", 2 * DAY + HOUR),
            event("p", "b", 2 * DAY + 3 * HOUR),
        ],
    )
    step = Funnel(["a", "b"], within="1d").run(warehouse).steps[1]
    assert step.time_from_previous is not None
    assert step.time_from_previous.median == 3 * 3600
    assert step.time_from_previous.n == 1
    assert step.time_from_previous.histogram == ((3600, 1),)


def test_where_filters_properties_context_and_traits(warehouse: Warehouse) -> None:
    """On the whole funnel and on one step."""
    insert(
        warehouse,
        [
            identify("p", {"country": "SE", "age": 40}),
            identify("q", {"country": "DE"}),
            *(event("p", "a", 1, {"price": 10}), event("p", "b", 2, {"price": 5, "code": "X1"})),
            *(event("q", "a", 1, {"price": 9.5}, context={"page": {"url": "/home"}}),),
            event("q", "b", 3, {"price": 50}),
        ],
    )

    def ask(**options: Any) -> list[int]:
        return counts(Funnel(["a", "b"], **options), warehouse)

    assert ask() == [2, 2]
    assert ask(where={"price": {">=": 9.5}}) == [2, 1]
    assert ask(where={"price": 10}) == [1, 0]
    assert ask(where={"price": [10, 5]}) == [1, 1]
    assert ask(where={"traits.country": "SE"}) == [1, 1]
    assert ask(where={"traits.country": {"!=": "SE"}}) == [1, 1]
    assert ask(where={"traits.age": {"exists": False}}) == [1, 1]
    assert ask(where={"context.page.url": {"starts_with": "/ho"}}) == [1, 0]
    assert ask(where={"not": {"price": {"<": 10}}}) == [1, 0]
    assert ask(where={"any": [{"price": 10}, {"code": "X1"}]}) == [1, 1]
    with_code = ["a", {"event": "b", "where": {"code": {"exists": True}}}]
    assert counts(Funnel(with_code), warehouse) == [2, 1]
    without = ["a", {"event": "b", "where": {"code": {"not_in": ["X1"]}}}]
    assert counts(Funnel(without), warehouse) == [2, 1]


def test_a_breakdown_takes_the_value_of_the_attempts_first_event(warehouse: Warehouse) -> None:
    """First touch unless asked otherwise; the total is counted, not added."""
    insert(
        warehouse,
        [
            identify("p", {"country": "SE"}),
            *(event("p", "a", 0, {"source": "ad"}), event("p", "a", 1, {"source": "mail"})),
            *(event("p", "b", 2, {"source": "ad"}), event("q", "a", 0)),
        ],
    )

    def ask(**options: Any) -> dict[Any, list[int]]:
        result = Funnel(["a", "b"], **options).run(warehouse)
        assert result.counts == (2, 1)
        return {values: [step.count for step in steps] for values, steps in result.breakdown}

    assert ask(by="source") == {("ad",): [1, 1], (None,): [1, 0]}
    assert ask(by="source", attribution=2) == {("ad",): [1, 1], (None,): [1, 0]}
    assert ask(by="source", attribution="all") == {
        ("ad",): [1, 1],
        ("mail",): [1, 0],
        (None,): [1, 0],
    }
    assert ask(by="traits.country") == {("SE",): [1, 1], (None,): [1, 0]}
    both = {("SE", "ad"): [1, 1], (None, None): [1, 0]}
    assert ask(by=["traits.country", "source"]) == both


def test_a_period_takes_its_beginning_and_not_its_end(warehouse: Warehouse) -> None:
    """since <= time < until."""
    insert(warehouse, [event("p", "a", 0), event("p", "b", DAY)])
    funnel = Funnel(["a", "b"])
    assert counts(funnel, warehouse, since="2026-01-01", until="2026-01-02") == [1, 0]
    assert counts(funnel, warehouse, since="2026-01-01T00:00:00.001Z") == [0, 0]


def test_conversion_over_time_tells_what_is_not_over(warehouse: Warehouse) -> None:
    """A person counts in each day in which they began; the window of the last is open."""
    insert(
        warehouse,
        [
            *(event("p", "a", 0), event("p", "b", HOUR), event("p", "a", DAY)),
            *(event("q", "a", DAY), event("q", "b", DAY + HOUR), event("q", "c", 2 * DAY)),
        ],
    )
    funnel = Funnel(["a", "b"], within="12h", over="day")
    result = funnel.run(warehouse, until="2026-01-03")
    assert [(p.label, p.complete, [s.count for s in p.steps]) for p in result.periods] == [
        ("2026-01-01", True, [1, 1]),
        ("2026-01-02", False, [2, 1]),
    ]
    assert result.counts == (2, 2)
    assert result.to_dict()["over_time"][1]["steps"][1]["people"] == 1
    assert result.figure().data[0].type == "scatter"
    assert Funnel.from_spec(funnel.to_spec()) == funnel
    with pytest.raises(QueryError, match="not both"):
        Funnel(["a", "b"], over="day", by="x")


def test_an_empty_answer_has_no_shares(warehouse: Warehouse) -> None:
    """None with a reason, not 0 %."""
    insert(warehouse, [event("p", "a", 0), event("p", "b", 1)])
    result = Funnel(["a", "b"]).run(warehouse, since="2027-01-01")
    assert result.counts == (0, 0)
    assert result.steps[1].from_start.value is None
    assert result.steps[1].from_start.reason
    assert result.steps[1].time_from_start is not None
    assert result.steps[1].time_from_start.median is None


def test_only_the_people_of_a_segment(warehouse: Warehouse) -> None:
    """As a value, and by its name it needs a plan."""
    insert(
        warehouse,
        [
            identify("p", {"country": "SE"}),
            *(event("p", "a", 1), event("q", "a", 1), event("q", "b", 2)),
        ],
    )
    swedes = Segment(trait("country").is_in(["SE"]))
    assert counts(Funnel(["a", "b"], segment=swedes), warehouse) == [1, 0]
    assert counts(Funnel(["a", "b"], segment=Segment(did("b"))), warehouse) == [1, 1]
    with pytest.raises(QueryError, match="no segment 'swedes'"):
        Funnel(["a", "b"], segment="swedes").run(warehouse)


def test_the_people_behind_a_number_are_a_segment(warehouse: Warehouse) -> None:
    """Those who reached a step, and those who dropped out before it."""
    insert(warehouse, [event("p", "a", 1), event("q", "a", 1), event("q", "b", 2)])
    result = Funnel(["a", "b"]).run(warehouse)
    assert result.people(2).run(warehouse).people == ("q",)
    assert result.people(2, dropped=True).run(warehouse).people == ("p",)


def test_the_answer_as_table_data_and_picture(warehouse: Warehouse) -> None:
    """frame, to_json, figure, sql."""
    insert(warehouse, [event("p", "a", 1), event("q", "a", 1), event("q", "b", 2)])
    result = Funnel(["a", "b"], within="7d").run(warehouse)
    assert list(result.frame["people"]) == [2, 1]
    assert result.to_dict()["steps"][1]["from_start"]["value"] == 0.5
    assert '"funnel": {"steps": ["a", "b"], "within": "7d"}' in result.to_json()
    assert result.sql.startswith("SELECT")
    assert [trace.type for trace in result.figure().data] == ["bar", "bar"]
    assert "x" in Funnel(["a", "b"], by="x").compile(OpenCatalog()).params.values()


FORMS: list[dict[str, Any]] = [
    {"steps": ["a", "b"]},
    {"steps": ["a", ["b", "c"], {"event": "d", "where": {"x": {">": 1}}}], "within": "90m"},
    {"steps": ["a", {"any": ["b", {"event": "c", "where": {"x": 1}}], "name": "either"}]},
    {"steps": ["a", {"event": "b", "optional": True}, "c"], "by": ["x", "traits.y"]},
    {"steps": ["a", {"any_order": ["b", "c"]}, "d"], "hold": ["x"], "attribution": 2},
    {"steps": ["*", "b"], "order": "strict", "entry": "first", "count": "sessions"},
    {
        "steps": ["a", "b", "c"],
        "exclude": [{"event": "x", "after": 1, "before": 2, "drop": "person"}, "y"],
        "segment": {"did": "z"},
        "where": {"any": [{"x": 1}, {"not": {"y": {"exists": True}}}]},
    },
]


@pytest.mark.parametrize("spec", FORMS)
def test_the_plain_form_is_read_back_to_an_equal_question(spec: dict[str, Any]) -> None:
    """from_spec and to_spec are inverse."""
    funnel = Funnel.from_spec(spec)
    assert Funnel.from_spec(funnel.to_spec()) == funnel
    assert read_question({"funnel": spec, "since": "2026-01-01"})[0] == funnel


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "no steps"),
        ({"steps": "ab"}, "list of steps"),
        ({"steps": ["a"]}, "2 to 20 steps"),
        ({"steps": ["a"] * 21}, "2 to 20 steps"),
        ({"steps": ["a", ""]}, r"steps\[1\]: an empty event name"),
        ({"steps": ["a", {"evnt": "b"}]}, "unknown key 'evnt'"),
        ({"steps": ["a", "b"], "witin": "7d"}, "unknown key 'witin'"),
        ({"steps": ["a", "b"], "within": "7 fortnights"}, "no span of time"),
        ({"steps": ["a", "b"], "within": "400d"}, "outside 1s to 366d"),
        ({"steps": ["a", "b"], "order": "orderd"}, "unknown 'orderd'"),
        ({"steps": ["a", "b"], "attribution": 3}, "step 3 is not one of 1 to 2"),
        ({"steps": ["a", "b"], "where": {"x": {"=~": 1}}}, "unknown operator '=~'"),
        ({"steps": ["a", "b"], "where": {"x": {">": None}}}, "wants a number or a text"),
        ({"steps": [{"event": "a", "optional": True}, "b"]}, "first step cannot be optional"),
        ({"steps": ["a", "b"], "exclude": [{"event": "x", "after": 2, "before": 2}]}, "nothing"),
        ({"steps": ["a", "b"], "exclude": ["x"], "order": "strict"}, "already excludes"),
        ({"steps": ["a", "b"], "by": "message.password"}, "no column 'password'"),
    ],
)
def test_a_mistake_is_named_with_its_place(spec: dict[str, Any], message: str) -> None:
    """Before any SQL is run."""
    with pytest.raises(QueryError, match=message):
        Funnel.from_spec(spec)


def test_unknown_names_are_answered_with_the_nearest(warehouse: Warehouse) -> None:
    """Events, properties and traits that neither plan nor data know."""
    insert(warehouse, [event("p", "Order Completed", 0, {"total": 3}), event("p", "Signed Up", 1)])
    with pytest.raises(QueryError, match=r"steps\[1\]: no event 'Order Complete'") as caught:
        Funnel(["Signed Up", "Order Complete"]).run(warehouse)
    assert caught.value.hint == "did you mean 'Order Completed'?"
    with pytest.raises(QueryError, match="'totl'") as caught:
        Funnel(["Signed Up", "Order Completed"], by="totl").run(warehouse)
    assert caught.value.hint == "did you mean 'total'?"
    with pytest.raises(QueryError, match="an empty range"):
        Funnel(["Signed Up", "Order Completed"]).run(
            warehouse, since="2026-02-01", until="2026-01-01"
        )


def test_a_step_names_its_alternatives() -> None:
    """The forms of any-of are one value."""
    assert Step.any_of("a", "b") == Step.of(["a", "b"]) == Step.of({"event": ["a", "b"]})
    assert Step.of(["a", "b"]).name == "a or b"

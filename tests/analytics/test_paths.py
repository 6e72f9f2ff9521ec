"""Paths: by example, and every option against the reference."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.analytics.kit import HOUR, MINUTE, event, insert
from tests.analytics.people import NAMES, Crowd, crowd, histories, thorough
from tests.reference.paths import paths

from desirepath.errors import QueryError
from desirepath_analytics import Paths, read_question
from desirepath_analytics.behaviour.paths import OTHER
from desirepath_analytics.spec import Period
from desirepath_collector.warehouse import Warehouse


@pytest.fixture
def shop(warehouse: Warehouse) -> Warehouse:
    """Three visits of two people."""
    visits = {("p", 0): "home item item cart", ("p", 5): "home cart buy", ("q", 0): "item home"}
    rows = [
        event(who, name, hour * HOUR + i * MINUTE, {"path": f"/{name}/{i}"})
        for (who, hour), names in visits.items()
        for i, name in enumerate(names.split())
    ]
    insert(warehouse, rows)
    return warehouse


def found(question: Paths, warehouse: Warehouse) -> dict[str, int]:
    """Paths and visits."""
    return {" ".join(nodes): n for nodes, n in question.run(warehouse).counted}


def test_paths_from_to_and_between(shop: Warehouse) -> None:
    """Visits are cut by the gap; repeats are one."""
    assert found(Paths(), shop) == {"home cart buy": 1, "home item cart": 1, "item home": 1}
    assert found(Paths("home", steps=2), shop) == {"home cart": 1, "home item": 1, "home": 1}
    assert found(Paths(end="cart", steps=2), shop) == {"home cart": 1, "item cart": 1}
    assert found(Paths("home", "cart"), shop) == {"home cart": 1, "home item cart": 1}
    assert found(Paths("home", repeats=True), shop)["home item item cart"] == 1
    assert found(Paths("home", gap="6h", steps=10), shop)["home item cart home cart buy"] == 1
    assert found(Paths("home", "buy", gap="6h", steps=3), shop) == {
        "home (more) buy": 1,
    }


def test_names_are_cleaned(shop: Warehouse) -> None:
    """The first rule that matches; another field than the event's name."""
    rules = [{"match": "/item/*", "name": "item"}, {"regex": "/(home|cart)/[0-9]", "name": "x"}]
    assert found(Paths(node="path", rename=rules), shop) == {
        "x /buy/2": 1,
        "x item x": 1,
        "item x": 1,
    }


def test_the_answer_has_transitions_matrix_and_picture(shop: Warehouse) -> None:
    """Where visits go on, and where they end."""
    result = Paths("home", steps=3, top=1).run(shop)
    assert result.visits == 3
    assert [path.visits for path in result.paths] == [1, 2]
    assert result.paths[1].nodes == (OTHER,)
    assert (1, "home", None, 1) in result.transitions
    assert (1, "home", "cart", 1) in result.transitions
    assert result.matrix.loc["home", "cart"] == 1
    assert result.figure().data[0].type == "sankey"
    assert '"transitions"' in result.to_json()
    assert list(result.frame.columns) == ["path", "visits", "share"]
    assert "transform" in result.sql


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"steps": 11}, "whole number from 2 to 10"),
        ({"start": ""}, "is no event"),
        ({"gap": "x"}, "no span of time"),
        ({"node": "traits.x"}, "belongs to a person"),
        ({"rename": [{"name": "x"}]}, "expected match"),
        ({"rename": [{"regex": "(", "name": "x"}]}, "no regular expression"),
        ({"stpes": 3}, "unknown key 'stpes'"),
    ],
)
def test_a_mistake_is_named(spec: dict[str, Any], message: str) -> None:
    """With its place."""
    with pytest.raises(QueryError, match=message):
        Paths.from_spec(spec)


def test_an_unknown_anchor_is_answered_with_the_nearest(shop: Warehouse) -> None:
    """After renaming."""
    with pytest.raises(QueryError, match="nothing is called 'hom'") as caught:
        Paths("hom").run(shop)
    assert caught.value.hint == "did you mean 'home'?"


def test_the_plain_form_is_read_back() -> None:
    """from_spec and to_spec are inverse."""
    rules = [{"match": "a*", "name": "a"}, {"regex": "b+", "name": "b"}]
    spec = {"start": "a", "steps": 3, "gap": "1h", "node": "context.page.path", "rename": rules}
    question, _ = read_question({"paths": spec})
    assert question.to_spec() == spec


@pytest.fixture(scope="module")
def people(engine: str) -> Iterator[Crowd]:
    """The random histories."""
    with crowd(engine, "paths_exact", histories()) as crowded:
        yield crowded


anchors_ = st.one_of(st.none(), st.sampled_from(NAMES))


@thorough
@given(
    start=anchors_,
    end=anchors_,
    steps=st.integers(2, 10),
    gap=st.sampled_from(["1m", "3m", "1h"]),
    repeats=st.booleans(),
    rename=st.sampled_from([[], [{"regex": "[bc]", "name": "b"}]]),
    where=st.sampled_from([None, {"w": {"!=": "y"}}]),
)
def test_paths_agree_with_the_reference(people: Crowd, start: str | None, **more: Any) -> None:
    """Every path, every count."""
    if more["rename"]:
        start = "b" if start == "c" else start
        more["end"] = "b" if more["end"] == "c" else more["end"]
    question = Paths(start, **more)
    result = question.run(people.warehouse)
    assert dict(result.counted) == paths(question, people.events, Period())

"""What a person types only ever changes bound values, never the text of a statement."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.analytics.kit import event, insert

from desirepath.errors import QueryError
from desirepath_analytics import Funnel, Segment, read_question
from desirepath_analytics.catalog import OpenCatalog
from desirepath_collector.warehouse import Sql, Warehouse

Spec = Callable[[str], dict[str, Any]]

FIELDS: dict[str, Spec] = {
    "step": lambda x: {"funnel": {"steps": [x, "b"]}},
    "any of": lambda x: {"funnel": {"steps": ["a", [x, "b"]]}},
    "property": lambda x: {
        "funnel": {"steps": ["a", {"event": "b", "where": {"properties." + x: 1}}]}
    },
    "text": lambda x: {"funnel": {"steps": ["a", "b"], "where": {"p": {"==": x}}}},
    "contains": lambda x: {"funnel": {"steps": ["a", "b"], "where": {"p": {"contains": x}}}},
    "in": lambda x: {"funnel": {"steps": ["a", "b"], "where": {"p": {"in": [x, "other"]}}}},
    "bounds": lambda x: {"funnel": {"steps": ["a", "b"], "where": {"p": {"between": [x, "z"]}}}},
    "context": lambda x: {"funnel": {"steps": ["a", "b"], "where": {"context." + x: "v"}}},
    "trait": lambda x: {"funnel": {"steps": ["a", "b"], "where": {"traits." + x: "v"}}},
    "by": lambda x: {"funnel": {"steps": ["a", "b"], "by": ["properties." + x, "traits.t" + x]}},
    "hold": lambda x: {"funnel": {"steps": ["a", "b"], "hold": ["properties." + x]}},
    "exclude": lambda x: {"funnel": {"steps": ["a", "b"], "exclude": [{"event": x}]}},
    "did": lambda x: {"segment": {"did": x, "where": {"p": "v" + x}}},
    "people": lambda x: {"segment": {"people": [x]}},
    "has trait": lambda x: {"segment": {"trait": {"traits." + x: {"ends_with": "t" + x}}}},
    "start": lambda x: {"retention": {"start": x, "returning": "b" + x, "by": "properties." + x}},
    "measure of": lambda x: {
        "trend": {"series": {"event": x, "measure": "sum", "of": "properties." + x}}
    },
    "lifecycle": lambda x: {"lifecycle": {"event": x, "where": {"p": x + "v"}}},
    "stickiness": lambda x: {"stickiness": {"event": x}},
    "path": lambda x: {"paths": {"start": x, "rename": [{"match": x, "name": x + "n"}]}},
}

ATTACKS = (
    "'; DROP TABLE events; --",
    "\\'; SELECT 1 --",
    "a' OR '1'='1",
    "{p0:String}",
    "{p1:Identifier}",
    ") UNION ALL SELECT * FROM plans --",
    "`events`",
    "\\",
    "\n\t\r",
    "/* */ --",
    "'||sleep(3)||'",
    "😀 ' \u2028",
    "%s {0} $1 :x ?",
)

PERIOD = {"since": "2026-01-01", "until": "2026-01-08"}


def statement(spec: dict[str, Any]) -> Sql:
    """The question compiled without a warehouse."""
    question, period = read_question({**spec, **PERIOD})
    return question.compile(OpenCatalog(), period.since, period.until)


def check(make: Spec, text: str) -> None:
    """The same statement as for a harmless text, but for its values."""
    harmless = statement(make("zq7"))
    try:
        attacked = statement(make(text))
    except QueryError:
        return
    assert attacked.text == harmless.text
    assert attacked.params.keys() == harmless.params.keys()
    assert attacked.settings == harmless.settings


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("field", FIELDS)
def test_known_attacks_only_change_values(field: str, attack: str) -> None:
    """A list of what has worked elsewhere."""
    check(FIELDS[field], attack)


# Texts that the forms themselves give a meaning to, and those equal to a fixed one of the form.
plain_ = st.text(min_size=1).filter(
    lambda x: x not in ("*", "a", "b", "z", "v", "p", "other") and "*" not in x
)


@settings(max_examples=200, deadline=None)
@given(field=st.sampled_from(sorted(FIELDS)), text=plain_)
def test_any_text_only_changes_values(field: str, text: str) -> None:
    """Whatever Unicode there is."""
    check(FIELDS[field], text)


def test_attacks_are_found_as_the_names_they_are(warehouse: Warehouse) -> None:
    """As event, property and value they go through the engine and come back."""
    rows = []
    for i, attack in enumerate(ATTACKS):
        rows.append(event(f"p{i}", attack, 0, {attack: attack, "n": i}))
        rows.append(event(f"p{i}", "end", 1))
    insert(warehouse, rows)
    for i, attack in enumerate(ATTACKS):
        step = {"event": attack, "where": {"properties." + attack: attack}}
        funnel = Funnel([step, "end"], by=f"properties.{attack}")
        result = funnel.run(warehouse)
        assert result.counts == (1, 1), attack
        assert result.breakdown[0][0] == (attack,)
        assert result.people(2).run(warehouse).people == (f"p{i}",)
        assert Segment.from_spec({"did": step}).run(warehouse).size == 1
    assert warehouse.query(Sql("SELECT count() AS n FROM resolved_events")).to_pylist() == [
        {"n": 2 * len(ATTACKS)}
    ]


def test_what_no_event_can_hold_is_refused() -> None:
    """NUL, and texts beyond all measure."""
    with pytest.raises(QueryError, match="NUL"):
        Funnel(["a\x00b", "c"]).compile(OpenCatalog())
    with pytest.raises(QueryError, match="at most 10,000"):
        Funnel(["a" * 10_001, "c"]).compile(OpenCatalog())

"""`desirepath.plan.compare`: keyword by keyword, and never silent where a value is affected."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from desirepath.plan.compare import Effect, compare
from desirepath.plan.flat import flat

N, W, C, U = Effect.NARROWER, Effect.WIDER, Effect.CHANGED, Effect.UNCLEAR
NEVER = {"not": {}}


@pytest.mark.parametrize(
    ("old", "new", "effect"),
    [
        ({"type": "integer"}, {"type": "number"}, W),
        ({"type": "number"}, {"type": "integer"}, N),
        ({"type": "string"}, {"type": "number"}, C),
        ({"type": "string"}, {"type": ["string", "null"]}, W),
        ({}, {"type": "string"}, N),
        ({"enum": ["a"]}, {"enum": ["a", "b"]}, W),
        ({"enum": ["a", "b"]}, {"enum": ["a"]}, N),
        ({"enum": ["a"]}, {"const": "b"}, C),
        ({"enum": [1]}, {}, W),
        ({"type": "number"}, {"type": "number", "minimum": 0}, N),
        ({"minimum": 0}, {"exclusiveMinimum": 0}, N),
        ({"exclusiveMinimum": 0}, {"minimum": 0}, W),
        ({"maximum": 5}, {"maximum": 6}, W),
        ({"maximum": 5}, {"maximum": 5, "exclusiveMaximum": 5}, N),
        ({"minLength": 1}, {"minLength": 2}, N),
        ({"maxLength": 2}, {}, W),
        ({"maxItems": 2}, {"maxItems": 1}, N),
        ({"multipleOf": 0.1}, {"multipleOf": 0.2}, N),
        ({"multipleOf": 4}, {"multipleOf": 2}, W),
        ({"multipleOf": 2}, {"multipleOf": 3}, C),
        ({"pattern": "a"}, {"pattern": "b"}, U),
        ({}, {"pattern": "b"}, N),
        ({"format": "date"}, {}, W),
        ({}, {"uniqueItems": True}, N),
        ({}, {"required": ["a"]}, N),
        ({"required": ["a"]}, {}, W),
        ({"dependentRequired": {"a": ["b"]}}, {}, W),
        ({}, {"additionalProperties": NEVER}, N),
        ({"properties": {"a": {"type": "integer"}}}, {"properties": {"a": {"type": "number"}}}, W),
        ({}, {"properties": {"a": {"type": "integer"}}}, U),
        ({"properties": {"a": NEVER}}, {}, W),
        ({"items": {"type": "integer"}}, {"items": {"type": "number"}}, W),
        ({"prefixItems": [{"type": "integer"}]}, {"prefixItems": [{}]}, W),
        ({"items": {}}, {"items": NEVER}, N),
        ({"anyOf": [{"type": "string"}]}, {"anyOf": [{"type": "string"}, {"type": "null"}]}, W),
        ({"anyOf": [{"minimum": 1}]}, {"anyOf": [{"minimum": 2}]}, U),
        ({"allOf": [{"minimum": 1}]}, {"allOf": [{"minimum": 2}]}, N),
        ({"allOf": [{"minimum": 1}]}, {"allOf": [{"minimum": 1}, {"maximum": 2}]}, N),
        ({"allOf": [{"pattern": "a"}, {"pattern": "b"}]}, {"pattern": "a"}, W),
        (
            {"type": "number", "minimum": 0},
            {"allOf": [{"type": "number", "minimum": 0}, {"minimum": 5}]},
            N,
        ),
        ({"oneOf": [{"minimum": 1}]}, {"oneOf": [{"minimum": 1}, {"maximum": 2}]}, U),
        ({}, {"not": {"type": "null"}}, N),
        ({"if": {"minimum": 1}, "then": {"maximum": 2}}, {}, W),
    ],
)
def test_each_keyword(old: dict[str, Any], new: dict[str, Any], effect: Effect) -> None:
    (delta,) = compare(old, new)
    assert delta.effect is effect


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"enum": [1, "a"]}, {"enum": ["a", 1.0]}),
        ({"const": 1}, {"enum": [1]}),
        ({"description": "a"}, {"description": "b"}),
        ({"type": ["string", "null"]}, {"type": ["null", "string"]}),
        ({"type": "string", "minimum": 1}, {"type": "string"}),
        ({"minLength": 0}, {}),
        ({"type": ["integer", "number"]}, {"type": "number"}),
        (
            {"type": "integer", "minimum": 2},
            {"allOf": [{"type": "number", "minimum": 1}, {"type": "integer", "minimum": 2}]},
        ),
    ],
)
def test_no_difference(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert compare(old, new) == []


def test_pointers_lead_to_the_difference() -> None:
    old = {"type": "object", "properties": {"a/b": {"type": "array", "items": {"maximum": 3}}}}
    new = {"type": "object", "properties": {"a/b": {"type": "array", "items": {"maximum": 2}}}}
    (delta,) = compare(old, new, "/events/E/properties/p")
    assert delta.pointer == "/events/E/properties/p/a~1b/*"
    assert "3 -> 2" in delta.text


NUMBERS = st.integers(-3, 3) | st.sampled_from([0.5, 1.5, -0.5])
SIMPLE = (
    st.none() | st.booleans() | NUMBERS | st.sampled_from(["", "a", "b", "ab", "2026-01-01"])
)  # fmt: skip
VALUES = st.recursive(
    SIMPLE,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
    ),
    max_leaves=6,
)
TYPES = st.sampled_from(["string", "number", "integer", "boolean", "object", "array", "null"])
NAMES = st.lists(st.sampled_from("ab"), unique=True)


def _schemas(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(
        {},
        optional={
            "type": TYPES | st.lists(TYPES, min_size=1, max_size=4, unique=True),
            "enum": st.lists(SIMPLE, min_size=1, max_size=4),
            "const": SIMPLE,
            "minimum": NUMBERS,
            "maximum": NUMBERS,
            "exclusiveMinimum": NUMBERS,
            "exclusiveMaximum": NUMBERS,
            "multipleOf": st.sampled_from([1, 2, 3, 0.5]),
            "minLength": st.integers(0, 2),
            "maxLength": st.integers(0, 2),
            "pattern": st.sampled_from(["a", "b", "^a"]),
            "minItems": st.integers(0, 2),
            "maxItems": st.integers(0, 2),
            "uniqueItems": st.booleans(),
            "minProperties": st.integers(0, 2),
            "maxProperties": st.integers(0, 2),
            "required": NAMES,
            "dependentRequired": st.dictionaries(st.sampled_from("ab"), NAMES, max_size=1),
            "properties": st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
            "additionalProperties": inner,
            "items": inner,
            "prefixItems": st.lists(inner, min_size=1, max_size=2),
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "oneOf": st.lists(inner, min_size=1, max_size=2),
            "allOf": st.lists(inner, min_size=1, max_size=2),
            "not": inner,
            "if": inner,
            "then": inner,
            "else": inner,
        },
    )


SCHEMAS = st.recursive(
    st.sampled_from([{}, NEVER, {"type": "string"}, {"type": "integer"}, {"minimum": 0}]),
    lambda inner: _schemas(inner) | inner,
    max_leaves=4,
)


@settings(max_examples=150, deadline=None)
@given(SCHEMAS, st.data())
def test_no_affected_value_goes_unsaid(old: dict[str, Any], data: st.DataObject) -> None:
    """Sound in both directions, judged by the reference validator."""
    # A change of one or two keywords, as people make them, not two unrelated schemas.
    one, other = data.draw(_schemas(SCHEMAS)), data.draw(_schemas(SCHEMAS))
    chosen = data.draw(st.lists(st.sampled_from(sorted(one) or [""]), max_size=2, unique=True))
    gone = data.draw(st.lists(st.sampled_from(sorted(other) or [""]), max_size=2, unique=True))
    changed = {key: one[key] for key in chosen if key in one}
    new = {**{key: value for key, value in old.items() if key not in gone}, **changed}
    effects = {delta.effect for delta in compare(old, new)}
    before, after = Draft202012Validator(old), Draft202012Validator(new)
    for value in data.draw(st.lists(VALUES, min_size=5, max_size=20)):
        was, is_ = before.is_valid(value), after.is_valid(value)
        if was and not is_:
            assert effects & {N, C, U}, (value, effects)
        if is_ and not was:
            assert effects & {W, C, U}, (value, effects)


@settings(max_examples=150, deadline=None)
@given(st.lists(SCHEMAS, min_size=1, max_size=3), SCHEMAS, st.lists(VALUES, max_size=20))
def test_folding_keeps_the_meaning(
    branches: list[dict[str, Any]], beside: dict[str, Any], values: list[Any]
) -> None:
    schema = {**beside, "allOf": branches}
    folded = dict(flat(schema))
    if folded.get("type") == []:
        folded = NEVER  # how a plan's own types never contradict each other
    before, after = Draft202012Validator(schema), Draft202012Validator(folded)
    for value in values:
        assert before.is_valid(value) == after.is_valid(value), (value, folded)

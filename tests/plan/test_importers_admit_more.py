"""An imported JSON Schema admits whatever the original does, judged by the reference validator."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from desirepath.plan import Plan
from desirepath.plan.importers import Imported, json_schema, text_of

NUMBERS = st.integers(-2, 3) | st.sampled_from([0.5, -0.5])
SIMPLE = st.none() | st.booleans() | NUMBERS | st.sampled_from(["", "a", "b", "ab"])
KEYS = st.sampled_from(["a", "b", "x", "$a", 'q"'])
VALUES = st.recursive(
    SIMPLE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
TYPES = st.sampled_from(["string", "number", "integer", "boolean", "object", "array", "null"])


def _schemas(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(inner, min_size=1, max_size=2)
    named = st.dictionaries(KEYS, inner, max_size=2)
    return st.fixed_dictionaries(
        {},
        optional={
            "type": TYPES | st.lists(TYPES, min_size=1, max_size=3, unique=True),
            "enum": st.lists(SIMPLE, min_size=1, max_size=3),
            "const": SIMPLE,
            "minimum": NUMBERS,
            "exclusiveMaximum": NUMBERS,
            "multipleOf": st.sampled_from([1, 2, 0.5]),
            "minLength": st.integers(0, 2),
            "pattern": st.sampled_from(["a", "^b", "(?=a)"]),
            "maxItems": st.integers(0, 2),
            "uniqueItems": st.booleans(),
            "minProperties": st.integers(0, 2),
            "required": st.lists(KEYS, unique=True, max_size=2),
            "dependentRequired": st.dictionaries(KEYS, st.lists(KEYS, unique=True), max_size=1),
            "properties": named,
            "additionalProperties": inner | st.booleans(),
            "items": inner | st.booleans(),
            "prefixItems": several,
            "anyOf": several,
            "oneOf": several,
            "allOf": several,
            "not": inner,
            "if": inner,
            "then": inner,
            "else": inner,
            "$ref": st.sampled_from(["#/$defs/one", "#/$defs/two"]),
            # What a plan cannot say.
            "contains": inner,
            "patternProperties": st.dictionaries(st.sampled_from(["^a", "x"]), inner, max_size=1),
            "propertyNames": st.sampled_from([{"maxLength": 1}, {"pattern": "a"}]),
            "dependentSchemas": named,
            "unevaluatedProperties": st.booleans(),
        },
    )


SCHEMAS = st.recursive(
    st.sampled_from([{}, {"type": "string"}, {"type": "integer"}, {"contains": {}}, {"const": 1}]),
    lambda inner: _schemas(inner) | inner,
    max_leaves=5,
)


@settings(max_examples=120, deadline=None)
@given(
    st.dictionaries(KEYS, SCHEMAS, min_size=1, max_size=3),
    st.fixed_dictionaries({}, optional={
        "required": st.lists(KEYS, unique=True, max_size=2),
        "additionalProperties": st.booleans() | SCHEMAS,
        "patternProperties": st.dictionaries(st.sampled_from(["^a", "x"]), SCHEMAS, max_size=1),
        "minProperties": st.integers(0, 2),
    }),
    st.fixed_dictionaries({"one": SCHEMAS, "two": SCHEMAS}),
    st.lists(st.dictionaries(KEYS, VALUES, max_size=4), max_size=12),
)  # fmt: skip
def test_what_the_original_admits_the_plan_admits(
    properties: dict[str, Any],
    more: dict[str, Any],
    definitions: dict[str, Any],
    payloads: list[dict[str, Any]],
) -> None:
    # Types that refer to each other may do so in a circle, which JSON Schema allows.
    schema = {
        "type": "object",
        "title": "E",
        "properties": properties,
        "$defs": definitions,
        **more,
    }
    imported: Imported = json_schema.convert([("e.json", schema)])
    validator = Plan.parse(text_of(imported, "e.json")).compile()
    reference = Draft202012Validator(schema)
    for payload in payloads:
        try:
            admitted = reference.is_valid(payload)
        except RecursionError:
            continue
        if admitted:
            verdict = validator.check("track", "E", msgspec.json.encode(payload))
            assert verdict.decision == "accept", (payload, verdict.violations)

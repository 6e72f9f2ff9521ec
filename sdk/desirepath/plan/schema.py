"""The JSON Schema of a plan file itself, for editors: completion, help and red lines.

Editors read draft 7 best, so it is draft 7. It is looser than the loader, which alone decides:
references and places are beyond it. Put this line at the top of a plan to turn it on:

    # yaml-language-server: $schema=plan.schema.json
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from desirepath.plan import sections
from desirepath.plan.conditions import OPERATORS
from desirepath.plan.formats import FORMATS
from desirepath.plan.keywords import ANNOTATIONS, KEYWORDS, MAX_COUNT, TYPES
from desirepath.plan.model import PII, POLICIES, STATUSES

__all__ = ["KEYWORD_HELP", "plan_schema"]

KEYWORD_HELP: Final[Mapping[str, str]] = {
    "$ref": "The name of one of the plan's types; what stands beside it holds too.",
    "additionalProperties": "What the properties of an object must be that are not named.",
    "allOf": "The value must satisfy every one of these.",
    "anyOf": "The value must satisfy at least one of these.",
    "const": "The value must be exactly this.",
    "dependentRequired": "If a property is there, these must be there too.",
    "else": "What must hold if `if` does not.",
    "enum": "The value must be one of these.",
    "exclusiveMaximum": "The number must be less than this.",
    "exclusiveMinimum": "The number must be more than this.",
    "format": "The text must have this form.",
    "if": "If the value satisfies this, `then` must hold, otherwise `else`.",
    "items": "What each item of the list must be, after those of `prefixItems`.",
    "maxItems": "How many items the list may have.",
    "maxLength": "How many characters the text may have.",
    "maxProperties": "How many properties the object may have.",
    "maximum": "The largest number allowed.",
    "minItems": "How many items the list must have.",
    "minLength": "How many characters the text must have.",
    "minProperties": "How many properties the object must have.",
    "minimum": "The smallest number allowed.",
    "multipleOf": "The number must be a whole multiple of this.",
    "not": "The value must not satisfy this.",
    "oneOf": "The value must satisfy exactly one of these.",
    "pattern": "The text must match this regular expression (ECMA-262) somewhere.",
    "pii": "A personal value: `hash` (keyed), `drop`, or `keep` before it touches a disk.",
    "prefixItems": "What the first items of the list must be, one by one.",
    "properties": "What the named properties of the object must be.",
    "required": "true: the property must be there. A list: these properties of the object.",
    "then": "What must hold if `if` does.",
    "type": "The kind of value, or a list of kinds.",
    "uniqueItems": "true: all items of the list differ.",
    "unit": "What the number counts, such as EUR, ms or items.",
}
"""One line on every keyword of a property."""

_NUMBER: Final = {"type": "number"}
_COUNT: Final = {"type": "integer", "minimum": 0, "maximum": MAX_COUNT}
_TEXT: Final = {"type": "string"}
_NAMES: Final = {"type": "array", "items": _TEXT, "uniqueItems": True}
_PROPERTY: Final = {"$ref": "#/definitions/property"}
_PROPERTIES: Final = {"type": "object", "additionalProperties": _PROPERTY}
_OR_NONE: Final = {"type": ["object", "null"], "additionalProperties": _PROPERTY}
_SEVERAL: Final = {"type": "array", "items": _PROPERTY, "minItems": 1}
_SPAN: Final = {"type": "string", "pattern": r"^\d+(\.\d+)?\s*(ms|s|m|h|d|w)$"}
_EVENTS: Final = {"$ref": "#/definitions/events"}
_WHERE: Final = {"$ref": "#/definitions/where"}
_FIELDS: Final = {"anyOf": [_TEXT, _NAMES]}
_RULE: Final = {"$ref": "#/definitions/condition"}
_WITHIN_SEGMENT: Final = {"anyOf": [_TEXT, _RULE]}

_VALUES: Final[Mapping[str, Any]] = {
    "$ref": _TEXT,
    "additionalProperties": _PROPERTY,
    "allOf": _SEVERAL,
    "anyOf": _SEVERAL,
    "const": {},
    "dependentRequired": {"type": "object", "additionalProperties": _NAMES},
    "else": _PROPERTY,
    "enum": {"type": "array", "minItems": 1},
    "exclusiveMaximum": _NUMBER,
    "exclusiveMinimum": _NUMBER,
    "format": {"enum": [*FORMATS]},
    "if": _PROPERTY,
    "items": _PROPERTY,
    "maxItems": _COUNT,
    "maxLength": _COUNT,
    "maxProperties": _COUNT,
    "maximum": _NUMBER,
    "minItems": _COUNT,
    "minLength": _COUNT,
    "minProperties": _COUNT,
    "minimum": _NUMBER,
    "multipleOf": {"type": "number", "exclusiveMinimum": 0},
    "not": _PROPERTY,
    "oneOf": _SEVERAL,
    "pattern": {"type": "string", "format": "regex"},
    "pii": {"enum": [*PII]},
    "prefixItems": _SEVERAL,
    "properties": _PROPERTIES,
    "required": {"anyOf": [{"type": "boolean"}, _NAMES]},
    "then": _PROPERTY,
    "type": {"anyOf": [{"enum": [*TYPES]}, {"type": "array", "items": {"enum": [*TYPES]}}]},
    "uniqueItems": {"type": "boolean"},
    "unit": _TEXT,
}


def plan_schema() -> dict[str, Any]:
    """The JSON Schema (draft 7) of a plan file."""
    named = {"type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_-]{0,99}$"}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Desirepath tracking plan",
        "description": "What people do, what is known of them, and what is asked about it.",
        **_mapping(
            {
                "plan": ({"$ref": "#/definitions/name"}, "The plan's name."),
                "version": (
                    {"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
                    "major.minor.patch; `desirepath plan diff` tells what a change needs.",
                ),
                "description": (_TEXT, "What the plan is for."),
                "owner": (_TEXT, "Who answers for it."),
                "include": (_FIELDS, "Other files of this folder that belong to the plan."),
                "defaults": (_defaults(), "What becomes of events that break the plan."),
                "types": (_OR_NONE, "Types to be used by name."),
                "context": (_OR_NONE, "What is known of the app and device of each event."),
                "traits": (_OR_NONE, "What is known of a person (identify)."),
                "groups": (_OR_NONE, "What is known of a group of people (group)."),
                "events": (_all(_event()), "What people do (track, page, screen)."),
                "journeys": (_all(_journey()), "The steps people should take, in order."),
                "segments": (_all(_segment()), "Kinds of people, by what they did and are."),
                "metrics": (_all(_metric()), "KPIs and CPIs."),
                "models": (_all(_model()), "Predictions."),
                "experiments": (_all(_experiment()), "What is tried out."),
            }
        ),
        "definitions": {"name": named, **_definitions()},
    }


def _definitions() -> dict[str, Any]:
    constraints: dict[str, Any] = {
        key: (_VALUES[key], KEYWORD_HELP[key]) for key in sorted({*KEYWORDS, "$ref"})
    }
    notes = {"description", "title", "$comment"}
    constraints |= {key: (_TEXT if key in notes else {}, "A note.") for key in ANNOTATIONS}
    step = _mapping(
        {
            "event": (_EVENTS, "The event, or any of several."),
            "any": ({"type": "array", "items": {"$ref": "#/definitions/step"}}, "One of these."),
            "any_order": (
                {"type": "array", "items": {"$ref": "#/definitions/step"}},
                "Steps that may come in any order between their neighbours.",
            ),
            "where": (_WHERE, "Only events that satisfy this."),
            "name": (_TEXT, "What to call the step."),
            "optional": ({"type": "boolean"}, "People may leave it out."),
        }
    )
    condition = _mapping(_conditions())
    return {
        "property": {
            "anyOf": [
                {"type": "string", "examples": [*TYPES], "description": "A type or its name."},
                {"type": "boolean", "description": "true: anything; false: never."},
                _mapping(constraints),
            ]
        },
        "events": {"anyOf": [_TEXT, {"type": "array", "items": {"$ref": "#/definitions/step"}}]},
        "step": {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}, step]},
        "condition": condition,
        "where": {
            "type": "object",
            "minProperties": 1,
            "description": "Names, and what they must be: " + " ".join(OPERATORS),
        },
    }


def _conditions() -> dict[str, tuple[Any, str]]:
    rules = {"type": "array", "items": _RULE, "minItems": 1}
    return {
        "all": (rules, "Every one of these holds."),
        "any": (rules, "At least one of these holds."),
        "not": (_RULE, "This does not hold."),
        "did": ({"$ref": "#/definitions/step"}, "The person did this."),
        "did_not": ({"$ref": "#/definitions/step"}, "The person did not do this."),
        "at_least": (_COUNT, "No fewer times than this."),
        "at_most": (_COUNT, "No more times than this."),
        "exactly": (_COUNT, "Just so many times."),
        "within": (_SPAN, "In this span of time before now, such as 30d."),
        "since": (_TEXT, "Since this day."),
        "where": (_WHERE, "Only events that satisfy this."),
        "trait": (_WHERE, "The person's traits satisfy this."),
        "segment": (_TEXT, "The person is in this segment."),
        "people": ({"type": "array", "items": _TEXT}, "The person is one of these."),
    }


def _defaults() -> dict[str, Any]:
    policy = {"enum": [*POLICIES]}
    return _mapping(
        {
            "on_violation": (policy, "Of a property that breaks its constraints."),
            "unplanned_events": (policy, "Of an event that is not planned."),
            "unplanned_properties": (policy, "Of a property that is not planned."),
        }
    )


def _event() -> dict[str, Any]:
    policy = {"enum": [*POLICIES]}
    event = _mapping(
        {
            **_notes(),
            "status": ({"enum": [*STATUSES]}, "Where it is in its life."),
            "properties": (_OR_NONE, "What each of these events says."),
            "on_violation": (policy, "Of a property that breaks its constraints."),
            "unplanned_properties": (policy, "Of a property that is not planned."),
        }
    )
    return {"anyOf": [event, {"type": "null"}]}


def _journey() -> dict[str, Any]:
    steps = {"type": "array", "items": {"$ref": "#/definitions/step"}, "minItems": 2}
    within = {"anyOf": [{"enum": ["session", "all"]}, _SPAN]}
    return _mapping(
        {
            **_notes(),
            "steps": (steps, "What people should do, in order."),
            "within": (within, "How long the whole may take."),
            "order": ({"enum": ["ordered", "strict", "any"]}, "How strictly in order."),
            "by": (_FIELDS, "Break down by this."),
            "attribution": ({}, "Whose step's property the breakdown takes."),
            "where": (_WHERE, "Only events that satisfy this."),
            "hold": (_FIELDS, "Properties that stay the same in all steps."),
            "exclude": ({"type": "array"}, "Events that spoil an attempt."),
            "entry": ({"enum": ["every", "first"]}, "Every beginning, or the first ever."),
            "count": ({"enum": ["people", "sessions", "attempts", "groups"]}, "What is counted."),
            "segment": (_WITHIN_SEGMENT, "Only these people."),
        }
    )


def _segment() -> dict[str, Any]:
    return _mapping({**_notes(), **_conditions()})


def _metric() -> dict[str, Any]:
    measured = {"type": "string", "pattern": r"\."}
    words = {key: (measured, f"The {key} of an event's property.") for key in sections.AGGREGATES}
    return _mapping(
        {
            **_notes(),
            "kind": ({"enum": [*sections.METRIC_KINDS]}, "Performance or perception."),
            "journey": (_TEXT, "The share of people who finish this journey."),
            "count": (_EVENTS, "How many of these events."),
            "people": (_EVENTS, "How many people did this."),
            "size": (_TEXT, "How many people are in this segment."),
            **words,
            "where": (_WHERE, "Only events that satisfy this."),
            "by": (_FIELDS, "Break down by this."),
            "segment": (_WITHIN_SEGMENT, "Only these people."),
            "every": ({"enum": [*sections.EVERY]}, "How often it is computed."),
            "goal": (_goal(), "What is aimed at."),
            "unit": (_TEXT, "What the number counts."),
        },
        required=["kind"],
    )


def _model() -> dict[str, Any]:
    population = _mapping(
        {
            "active_within": (_SPAN, "With any event in this span of time."),
            "did": (_FIELDS, "Who did all of these."),
            "did_not": (_FIELDS, "Who did none of these."),
        }
    )
    return _mapping(
        {
            **_notes(),
            "kind": ({"enum": [*sections.MODEL_KINDS]}, "What is predicted."),
            "outcome": (_TEXT, "The event to predict."),
            "horizon": (_SPAN, "How far ahead."),
            "where": (_WHERE, "Only outcomes that satisfy this."),
            "population": (population, "Whom to ask about."),
            "lookback": (_SPAN, "How far back counts and sums reach."),
            "features": (_NAMES, "Which families of features to use."),
            "events": (_NAMES, "Which events are counted one by one."),
        },
        required=["kind", "outcome"],
    )


def _experiment() -> dict[str, Any]:
    return _mapping(
        {
            **_notes(),
            "hypothesis": (_TEXT, "What is expected, and why."),
            "status": (_TEXT, "Where it is in its life."),
            "variants": ({}, "What is tried."),
            "control": (_TEXT, "The variant that is compared with."),
            "traffic": ({}, "How people are divided."),
            "exposure": (_EVENTS, "The event that tells who saw it."),
            "metric": (_TEXT, "The metric that decides."),
            "metrics": (_FIELDS, "Metrics that are looked at."),
            "guardrails": (_FIELDS, "Metrics that must not get worse."),
            "journey": (_TEXT, "The journey it wants to improve."),
            "segment": (_WITHIN_SEGMENT, "Only these people."),
            "since": (_TEXT, "When it began."),
            "until": (_TEXT, "When it ends."),
        }
    )


def _notes() -> dict[str, tuple[Any, str]]:
    return {"description": (_TEXT, "What it is."), "owner": (_TEXT, "Who answers for it.")}


def _goal() -> dict[str, Any]:
    return _mapping({"at_least": (_NUMBER, "Not below."), "at_most": (_NUMBER, "Not above.")})


def _all(one: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": ["object", "null"], "additionalProperties": dict(one)}


def _mapping(
    members: Mapping[str, tuple[Any, str]], required: Sequence[str] = ()
) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            # Draft 7 ignores what stands beside a $ref, so the help goes around it.
            key: {"allOf": [value], "description": words}
            if "$ref" in value
            else {**value, "description": words}
            for key, (value, words) in members.items()
        },
    }
    return {**schema, "required": [*required]} if required else schema

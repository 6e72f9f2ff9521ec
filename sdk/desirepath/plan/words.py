"""The sections of a plan in words that read aloud, with references that can become links.

A phrase is a sequence of texts and `Ref`s; whoever renders it decides what a reference looks
like. Nothing here knows HTML or Markdown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from desirepath.plan.flat import flat, json_type
from desirepath.plan.model import Property
from desirepath.plan.sections import AGGREGATES

__all__ = ["Phrase", "Ref", "Row", "constraints", "filter_words", "metric_words", "model_words",
           "plain", "rows", "rule_words", "step_words", "type_words"]  # fmt: skip


class Ref(msgspec.Struct, frozen=True):
    """A name that stands for something in the plan, e.g. kind `events`."""

    kind: str
    name: str


class Row(msgspec.Struct, frozen=True):
    """One property, or one inside another: `products[].price`."""

    name: str
    path: str
    depth: int
    type: str
    required: bool
    rules: tuple[str, ...]
    pii: str
    description: str


Phrase = Sequence[str | Ref]

_OPERATORS: Final = {
    "==": "is", "!=": "is not", "in": "is one of", "not_in": "is none of",
    "contains": "contains", "not_contains": "does not contain", "starts_with": "starts with",
    "ends_with": "ends with", "matches": "matches",
}  # fmt: skip


def plain(phrase: Phrase) -> str:
    """The phrase without links."""
    return "".join(part if isinstance(part, str) else part.name for part in phrase)


def value_words(value: Any) -> str:
    """A value as people write it."""
    if isinstance(value, list):
        return ", ".join(map(value_words, value))
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def filter_words(where: Any) -> str:
    """A filter: `total > 0 and country is one of SE, NL`."""
    return " and ".join(_filters(where or {}))


def _filters(where: Mapping[str, Any]) -> Iterator[str]:
    for name, value in where.items():
        if name in ("all", "any") and isinstance(value, list):
            inner = [filter_words(one) for one in value]
            yield f"({(' and ' if name == 'all' else ' or ').join(inner)})"
        elif name == "not" and isinstance(value, Mapping):
            yield f"not ({filter_words(value)})"
        elif isinstance(value, Mapping):
            yield " and ".join(f"{name} {_test(test, wanted)}" for test, wanted in value.items())
        else:
            yield f"{name} {'is one of' if isinstance(value, list) else 'is'} {value_words(value)}"


def _test(test: str, wanted: Any) -> str:
    if test == "exists":
        return "is there" if wanted else "is not there"
    if test == "between":
        return f"is between {' and '.join(map(value_words, wanted))}"
    return f"{_OPERATORS.get(test, test)} {value_words(wanted)}"


def step_words(step: Any) -> list[str | Ref]:
    """A step of a journey, or whatever else names events."""
    if isinstance(step, str):
        return ["any event" if step == "*" else Ref("events", step)]
    if isinstance(step, list):
        return _join([step_words(one) for one in step], " or ")
    if "any_order" in step:
        return [*_join([step_words(one) for one in step["any_order"]], " and "), ", in any order"]
    words = step_words(step["event"] if "event" in step else list(step["any"]))
    if step.get("where"):
        words += [f" where {filter_words(step['where'])}"]
    if step.get("optional"):
        words += [" (optional)"]
    return words


def rule_words(rule: Mapping[str, Any]) -> list[str | Ref]:
    """The condition of a segment."""
    for key, link in (("all", " and "), ("any", " or ")):
        if key in rule:
            parts = [
                ["(", *rule_words(one), ")"] if {"all", "any"} & one.keys() else rule_words(one)
                for one in rule[key]
            ]
            return _join(parts, link)
    if "not" in rule:
        return ["not (", *rule_words(rule["not"]), ")"]
    if "trait" in rule:
        return [filter_words(rule["trait"])]
    if "segment" in rule:
        return ["in ", Ref("segments", rule["segment"])]
    if "people" in rule:
        return [f"is one of {len(rule['people'])} named people"]
    key = "did" if "did" in rule else "did_not"
    words = ["did " if key == "did" else "did not do ", *step_words(rule[key])]
    if rule.get("where"):
        words.append(f" where {filter_words(rule['where'])}")
    for count in ("at_least", "at_most", "exactly"):
        if count in rule:
            times = "once" if rule[count] == 1 else f"{rule[count]} times"
            words.append(f" {count.replace('_', ' ')} {times}")
    if "within" in rule:
        words.append(f" in the last {rule['within']}")
    if "since" in rule:
        words.append(f" since {rule['since']}")
    return words


def metric_words(spec: Mapping[str, Any]) -> list[str | Ref]:
    """How a metric is computed."""
    words: list[str | Ref] = []
    if "journey" in spec:
        words += ["share of people who complete ", Ref("journeys", spec["journey"])]
    elif "size" in spec:
        words += ["people in ", Ref("segments", spec["size"])]
    elif "count" in spec:
        words += ["number of ", *step_words(spec["count"])]
    elif "people" in spec:
        words += ["people who did ", *step_words(spec["people"])]
    for key in AGGREGATES:
        if key in spec:
            # Names may hold dots: the event is told from its property by whoever links it.
            words += [f"{key} of ", Ref("properties", spec[key])]
    if spec.get("where"):
        words.append(f" where {filter_words(spec['where'])}")
    if isinstance(spec.get("segment"), str):
        words += [", of ", Ref("segments", spec["segment"])]
    if "by" in spec:
        words.append(f", by {value_words(spec['by'])}")
    if "every" in spec:
        words.append(f", every {spec['every']}")
    return words


def model_words(spec: Mapping[str, Any]) -> list[str | Ref]:
    """What a model predicts."""
    words: list[str | Ref] = [f"{spec['kind']} of ", Ref("events", spec["outcome"])]
    if "horizon" in spec:
        words.append(f" within {spec['horizon']}")
    if spec.get("where"):
        words.append(f" where {filter_words(spec['where'])}")
    return words


def _join(parts: Sequence[list[str | Ref]], link: str) -> list[str | Ref]:
    words: list[str | Ref] = []
    for index, part in enumerate(parts):
        words += [*([link] if index else []), *part]
    return words


def rows(prop: Property) -> Iterator[Row]:
    """A property and everything inside it, one row each."""
    yield from _rows(
        prop.schema,
        Row(
            name=prop.name,
            path=prop.name,
            depth=0,
            type=type_words(prop.schema),
            required=prop.required,
            rules=tuple(constraints(prop.schema, prop.unit)),
            pii=prop.pii or "",
            description=prop.description,
        ),
    )


def _rows(schema: Mapping[str, Any], row: Row) -> Iterator[Row]:
    yield row
    inner, path = flat(schema), row.path
    while isinstance(inner.get("items"), Mapping):
        inner, path = flat(inner["items"]), f"{path}[]"
    needed = set(inner.get("required", ()))
    for key, child in inner.get("properties", {}).items():
        if isinstance(child, Mapping):
            part = Row(
                name=key,
                path=f"{path}.{key}",
                depth=row.depth + 1,
                type=type_words(child),
                required=key in needed,
                rules=tuple(constraints(child, child.get("unit"))),
                pii=str(child.get("pii") or ""),
                description=str(child.get("description", "")),
            )
            yield from _rows(child, part)


def type_words(schema: Mapping[str, Any]) -> str:
    """The type of a schema: `string`, `list of number`, `string or null`."""
    schema = flat(schema)
    if "type" not in schema:
        values = schema.get("enum", [schema["const"]] if "const" in schema else ())
        if values:
            kinds = dict.fromkeys(map(json_type, values))
            return " or ".join("list" if kind == "array" else kind for kind in kinds)
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                return " or ".join(dict.fromkeys(type_words(one) for one in schema[keyword]))
        return "anything"
    types = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    words = []
    for kind in types:
        items = schema.get("items")
        if kind == "array" and isinstance(items, Mapping) and items != {"not": {}}:
            words.append(f"list of {type_words(items)}" if items else "list")
        else:
            words.append({"array": "list"}.get(kind, kind))
    return " or ".join(words)


def constraints(schema: Mapping[str, Any], unit: str | None) -> Iterator[str]:
    """What else a value must be, in words."""
    schema = flat(schema)
    if unit:
        yield f"in {unit}"
    values = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if values is not None:
        yield ("one of " if len(values) > 1 else "always ") + ", ".join(map(value_words, values))
    if "format" in schema:
        yield str(schema["format"])
    yield from _range(schema, "minimum", "maximum", "")
    for keyword, word in (("exclusiveMinimum", "more than"), ("exclusiveMaximum", "less than")):
        if keyword in schema:
            yield f"{word} {schema[keyword]:,}"
    if "multipleOf" in schema:
        yield f"a multiple of {schema['multipleOf']}"
    yield from _range(schema, "minLength", "maxLength", " character")
    yield from _range(schema, "minItems", "maxItems", " item")
    yield from _range(schema, "minProperties", "maxProperties", " key")
    if "pattern" in schema:
        yield f"matches {schema['pattern']}"
    if schema.get("uniqueItems"):
        yield "no item twice"
    if schema.get("additionalProperties") == {"not": {}}:
        yield "no other keys"
    for cause, names in schema.get("dependentRequired", {}).items():
        yield f"{cause} needs {', '.join(names)}"
    for keyword, words in (("allOf", "all of"), ("not", "not"), ("if", "a condition")):
        if keyword in schema:
            yield f"{words}: see the plan"


def _range(schema: Mapping[str, Any], low: str, high: str, noun: str) -> Iterator[str]:
    least, most = schema.get(low), schema.get(high)
    plural = f"{noun}s" if noun and (most or least) != 1 else noun
    if least is not None and most is not None:
        yield f"{least:,} to {most:,}{plural}" if least != most else f"{least:,}{plural}"
    elif least is not None:
        yield f"at least {least:,}{plural}"
    elif most is not None:
        yield f"at most {most:,}{plural}"

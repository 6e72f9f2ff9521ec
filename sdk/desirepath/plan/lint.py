"""What is not wrong in a plan, but will be regretted.

A plan that loads is consistent; lint looks at what makes it hard to live with: names that break
the plan's own convention, events nobody describes or owns, types nothing uses, personal data
nobody marked, and journeys, segments, metrics and models that can never see an event. The
convention is the plan's own: the one that most of its names follow.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from desirepath.plan.flat import flat
from desirepath.plan.model import Place, Plan, Property
from desirepath.plan.personal import by_name
from desirepath.plan.reader import Node, read
from desirepath.plan.sections import AGGREGATES
from desirepath.plan.uses import Use, consumers, lookup
from desirepath.plan.violations import Violation
from desirepath.plan.walker import compile_schema
from desirepath.plan.where import impossible, uncountable
from desirepath.plan.wire import show

__all__ = ["RULES", "Finding", "lint"]

RULES: Final[Mapping[str, str]] = {
    "event-naming": "an event is named unlike the others",
    "property-naming": "a property is named unlike the others",
    "description": "an event has no description",
    "owner": "an event has no owner, and neither has the plan",
    "unused-type": "nothing refers to a type",
    "unfillable": "no value, or not this one, passes all the rules of a property",
    "personal": "a property looks personal, and its `pii` says nothing",
    "unsent-event": "a section waits for an event that is only planned",
    "deprecated-event": "a section depends on an event that is going away",
    "impossible": "a condition that no admitted event meets",
    "no-number": "a metric computes something of a property that is no number",
}
"""Every rule and what it is about."""

_STYLES: Final = (
    ("Title Case", re.compile(r"[A-Z0-9][^\s_-]*(?: [^\s_-]+)*")),
    ("snake_case", re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)*")),
    ("camelCase", re.compile(r"[a-z]+[a-z0-9]*(?:[A-Z][a-z0-9]*)+")),
    ("kebab-case", re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)+")),
    ("lower case", re.compile(r"[a-z0-9]+(?: [a-z0-9]+)+")),
)
_MIN_NAMES: Final = 3
"""Fewer names make no convention."""


class Finding(msgspec.Struct, frozen=True):
    """One finding, and where to mend it."""

    rule: str
    place: Place
    message: str


def lint(plan: Plan) -> tuple[Finding, ...]:
    """Every finding, in the order of the file."""
    found = [
        *_naming(plan),
        *_texts(plan),
        *_types(plan),
        *_unfillable(plan),
        *_personal(plan),
        *_happening(plan),
    ]
    return tuple(sorted(found, key=lambda f: (f.place.path, f.place.line, f.place.column)))


def _naming(plan: Plan) -> Iterator[Finding]:
    events = {name: event.place for name, event in plan.events.items()}
    yield from _odd("event-naming", "the event", events)
    properties: dict[str, Place] = {}
    holders = (*(e.properties for e in plan.events.values()), plan.traits, plan.groups)
    for holder in holders:
        for name, prop in holder.items():
            properties.setdefault(name, prop.place)
    yield from _odd("property-naming", "the property", properties)


def _odd(rule: str, what: str, names: Mapping[str, Place]) -> Iterator[Finding]:
    styles = {name: _style(name) for name in names}
    # One lower-case word is snake_case and camelCase alike: it follows whatever is usual.
    counts = Counter(style for name, style in styles.items() if not _one_word(name))
    if not counts:
        counts = Counter(styles.values())
    usual, count = counts.most_common(1)[0] if counts else ("", 0)
    if len(names) < _MIN_NAMES or count * 2 <= sum(counts.values()) or usual == "":
        return
    for name, style in styles.items():
        simple = _one_word(name) and usual in (
            "snake_case",
            "camelCase",
            "kebab-case",
            "lower case",
        )
        if style != usual and not simple:
            message = f"{what} {name!r} is not in {usual}, as {count} others are"
            yield Finding(rule, names[name], message)


def _style(name: str) -> str:
    return next((style for style, pattern in _STYLES if pattern.fullmatch(name)), "")


def _one_word(name: str) -> bool:
    return re.fullmatch(r"[a-z0-9]+", name) is not None


def _texts(plan: Plan) -> Iterator[Finding]:
    for name, event in plan.events.items():
        if not event.description.strip():
            yield Finding("description", event.place, f"the event {name!r} has no description")
        if not event.owner.strip() and not plan.owner.strip():
            yield Finding("owner", event.place, f"the event {name!r} has no owner")


def _types(plan: Plan) -> Iterator[Finding]:
    unused = [name for name, uses in plan.type_uses.items() if not uses]
    root = _root(plan) if unused else None
    for name in unused:
        place = _at(root, ("types", name)) or Place(plan.path, 1, 1)
        yield Finding("unused-type", place, f"nothing refers to the type {name!r}")


def _holders(plan: Plan) -> list[tuple[str, Mapping[str, Property]]]:
    """Everything that holds properties, and what to call it."""
    holders = [(event.name, event.properties) for event in plan.events.values()]
    return [
        *holders,
        ("traits", plan.traits),
        ("groups", plan.groups),
        ("context", plan.context),
    ]


def _unfillable(plan: Plan) -> Iterator[Finding]:
    for holder, properties in _holders(plan):
        for prop in properties.values():
            for path, reason in _contradictions(prop.schema, prop.name):
                message = f"{path!r} of {holder} can never be filled: {reason}"
                yield Finding("unfillable", prop.place, message)


def _contradictions(schema: Any, path: str) -> Iterator[tuple[str, str]]:
    """Rules of one value that cannot hold together, at every depth of properties and items."""
    if not isinstance(schema, Mapping):
        return
    schema = flat(schema)
    if schema.get("type") == []:
        yield path, "its types exclude each other"
    for low, high in _PAIRS:
        if low in schema and high in schema:
            strict = low.startswith("exclusive") or high.startswith("exclusive")
            least, most = schema[low], schema[high]
            if least > most or (strict and least == most):
                yield path, f"{low} {least} against {high} {most}"
    for value in schema.get("enum", [schema["const"]] if "const" in schema else ()):
        found: list[Violation] = []
        compile_schema(schema)(value, "", found)
        if found:
            yield path, f"{show(value)} breaks `{found[0].code}`, expected {found[0].expected}"
    for name, inner in schema.get("properties", {}).items():
        yield from _contradictions(inner, f"{path}.{name}")
    yield from _contradictions(schema.get("items"), f"{path}[]")


_PAIRS: Final = (
    ("minimum", "maximum"),
    ("minimum", "exclusiveMaximum"),
    ("exclusiveMinimum", "maximum"),
    ("exclusiveMinimum", "exclusiveMaximum"),
    ("minLength", "maxLength"),
    ("minItems", "maxItems"),
    ("minProperties", "maxProperties"),
)


def _personal(plan: Plan) -> Iterator[Finding]:
    for holder, properties in _holders(plan):
        for prop in properties.values():
            guess = by_name(prop.name)
            types = flat(prop.schema).get("type", "string")
            if guess and prop.pii is None and {"string", "number", "integer"} & {*_listed(types)}:
                what, treatment = guess
                message = (
                    f"{prop.name!r} of {holder} looks like {what}: "
                    f"mark it `pii: {treatment}`, or `pii: keep` if it is meant to be stored"
                )
                yield Finding("personal", prop.place, message)


def _listed(types: Any) -> list[str]:
    return [types] if isinstance(types, str) else list(types)


def _happening(plan: Plan) -> Iterator[Finding]:
    root = _root(plan)
    for consumer in consumers(plan):
        for use in consumer.uses:
            problem = _problem(plan, use)
            if problem is None:
                continue
            rule, reason = problem
            keys = (consumer.kind, consumer.section.name, *use.keys)
            place = _at(root, keys) or consumer.section.place
            yield Finding(rule, place, f"the {consumer.title} {_verdict(rule)}: {reason}")


def _verdict(rule: str) -> str:
    words = {"deprecated-event": "will stop", "no-number": "may be empty"}
    return words.get(rule, "cannot happen")


def _problem(plan: Plan, use: Use) -> tuple[str, str] | None:
    if use.kind == "event":
        status = plan.events[use.name].status
        if status == "planned" and use.vital:
            return "unsent-event", f"{use.name!r} is only planned, nothing sends it yet"
        if status == "deprecated":
            return "deprecated-event", f"{use.name!r} is deprecated"
        return None
    prop = lookup(plan, use) if use.vital else None
    if prop is not None and use.keys and use.keys[0] in AGGREGATES:
        reason = uncountable(prop)
        return None if reason is None else ("no-number", reason)
    if prop is None or use.condition is None:
        return None
    if use.kind == "property" and plan.events[use.event].on_violation == "accept":
        return None  # values outside the schema are kept, so anything may be there
    reason = impossible(prop, use.condition)
    return None if reason is None else ("impossible", reason)


def _root(plan: Plan) -> Node | None:
    """The plan as written, with places; None where it was put together from several files."""
    return None if plan.source.startswith(b"{") else read(plan.source, plan.path)


def _at(root: Node | None, keys: Iterable[Any]) -> Place | None:
    """The deepest place on the way that `keys` describe."""
    place: Place | None = None
    node = root
    for key in keys:
        if node is None:
            return place
        if isinstance(node.value, dict) and key in node.value:
            place, node = node.keys[key], node.value[key]
        elif isinstance(node.value, list) and isinstance(key, int) and key < len(node.value):
            node = node.value[key]
            place = node.place
        else:
            return place
    return place

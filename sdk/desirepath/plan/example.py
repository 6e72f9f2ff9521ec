"""A value that a schema admits, to show what an event looks like.

Every example is checked against its schema before it is shown; where none is found, none is
given. The same schema always gives the same example.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from desirepath.plan.flat import flat
from desirepath.plan.model import Property
from desirepath.plan.violations import Violation
from desirepath.plan.walker import compile_schema

__all__ = ["example_of", "example_payload"]

_FORMATS: Final = {
    "date-time": "2026-03-05T12:00:00Z",
    "date": "2026-03-05",
    "time": "12:00:00Z",
    "email": "ada@example.com",
    "uri": "https://example.com/page",
    "uuid": "0198a5c0-5b60-7c9e-8b61-0242ac120002",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
}
_WORDS: Final = (
    ("email", "ada@example.com"),
    ("url", "https://example.com/page"),
    ("currency", "EUR"),
    ("country", "SE"),
    ("locale", "sv-SE"),
    ("language", "sv"),
    ("version", "1.4.0"),
    ("path", "/products/lamp"),
    ("query", "desk lamp"),
    ("phone", "+46 70 123 45 67"),
    ("sku", "LAMP-01"),
    ("coupon", "WELCOME10"),
    ("id", "A1"),
    ("name", "Desk lamp"),
    ("title", "Desk lamp"),
)
"""Values for strings whose names hold the word; the first that the schema admits is taken."""
_TEXTS: Final = ("1.0", "AB", "ABC", "ab", "a", "A1", "A-1", "1", "12345", "2026-03-05", "x" * 8)
_NUMBERS: Final = (42.5, 3, 42, 1, 0.5, 0, 100, -1)


def example_payload(properties: Mapping[str, Property]) -> dict[str, Any]:
    """The properties of an example event: every one for which an example is found."""
    found = {}
    for name, prop in properties.items():
        for value in example_of(prop.schema, name):
            found[name] = value
            break
    return found


def example_of(schema: Mapping[str, Any], name: str) -> Iterator[Any]:
    """Values that the schema admits, the most telling first; none if none is found."""
    check = compile_schema(schema)
    for value in _candidates(schema, name):
        found: list[Violation] = []
        check(value, "", found)
        if not found:
            yield value


def _candidates(schema: Mapping[str, Any], name: str) -> Iterator[Any]:
    schema = flat(schema)
    yield from schema.get("examples", ())
    if "default" in schema:
        yield schema["default"]
    if "const" in schema:
        yield schema["const"]
    yield from schema.get("enum", ())
    for keyword in ("allOf", "anyOf", "oneOf"):
        for branch in schema.get(keyword, ()):
            if isinstance(branch, Mapping):
                yield from _candidates({**_without(schema, keyword), **branch}, name)
    types = schema.get("type", ("string", "number", "object"))
    for kind in (types,) if isinstance(types, str) else types:
        yield from _of_type(kind, schema, name)


def _without(schema: Mapping[str, Any], keyword: str) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key != keyword}


def _of_type(kind: str, schema: Mapping[str, Any], name: str) -> Iterator[Any]:
    if kind == "string":
        yield from _strings(schema, name)
    elif kind in ("number", "integer"):
        yield from _numbers(schema, whole=kind == "integer")
    elif kind == "boolean":
        yield from (True, False)
    elif kind == "null":
        yield None
    elif kind == "object":
        yield _object(schema)
        yield {}
    elif kind == "array":
        yield from _arrays(schema, name)


def _strings(schema: Mapping[str, Any], name: str) -> Iterator[str]:
    if schema.get("format") in _FORMATS:
        yield _FORMATS[schema["format"]]
    words = re.split(r"[^a-z]+", re.sub(r"([A-Z])", r" \1", name).lower())
    yield from (value for word, value in _WORDS if word in words)
    if "pattern" not in schema:
        yield name[: schema.get("maxLength", 30)] or "text"
    yield from _TEXTS
    if "pattern" in schema:
        made = _matching(schema["pattern"])
        if made is not None:
            yield made
    yield "x" * schema.get("minLength", 1)


def _numbers(schema: Mapping[str, Any], *, whole: bool) -> Iterator[Any]:
    step = schema.get("multipleOf")
    for value in _NUMBERS:
        if not whole or isinstance(value, int):
            yield value
    for keyword, towards in (("minimum", 0), ("exclusiveMinimum", 1), ("maximum", 0),
                             ("exclusiveMaximum", -1)):  # fmt: skip
        if keyword in schema:
            yield schema[keyword] + towards
            yield schema[keyword] + towards / 2
            if step:
                yield (schema[keyword] // step + 1) * step
    if step:
        yield step


def _object(schema: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, inner in schema.get("properties", {}).items():
        for value in example_of(inner if isinstance(inner, Mapping) else {}, name):
            found[name] = value
            break
    return found


def _arrays(schema: Mapping[str, Any], name: str) -> Iterator[list[Any]]:
    first = [
        next(example_of(one, name), None)
        for one in schema.get("prefixItems", ())
        if isinstance(one, Mapping)
    ]
    items = schema.get("items", {})
    singular = name.removesuffix("s")
    one = next(example_of(items, singular), None) if isinstance(items, Mapping) else None
    yield [*first, one] if one is not None else first
    yield first
    yield [one] * schema.get("minItems", 1)


def _matching(pattern: str) -> str | None:
    """The shortest text that the simpler patterns match."""
    from re import _parser  # type: ignore[attr-defined]

    try:
        return _text(_parser.parse(pattern))
    except (re.error, _TooHardError, RecursionError):
        return None


class _TooHardError(Exception):
    pass


def _text(tokens: Any) -> str:
    parts: list[str] = []
    for operation, argument in tokens:
        name = str(operation)
        if name == "LITERAL":
            parts.append(chr(argument))
        elif name == "ANY":
            parts.append("a")
        elif name == "IN":
            parts.append(_member(argument))
        elif name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            least, _, inner = argument
            parts.append(_text(inner) * min(least, 100))
        elif name == "SUBPATTERN":
            parts.append(_text(argument[-1]))
        elif name == "BRANCH":
            parts.append(_text(argument[1][0]))
        elif name != "AT":
            raise _TooHardError
    return "".join(parts)


def _member(choices: Any) -> str:
    for operation, argument in choices:
        name = str(operation)
        if name == "LITERAL":
            return chr(argument)
        if name == "RANGE":
            return chr(argument[0])
        if name == "CATEGORY":
            return {"CATEGORY_DIGIT": "1", "CATEGORY_WORD": "a", "CATEGORY_SPACE": " "}.get(
                str(argument), "a"
            )
    raise _TooHardError

"""Whether a filter on a value can ever hold, given what the plan admits there.

The answer is a reason why it cannot, or None. It errs on the side of None: only what is certain
is called impossible.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from desirepath.plan.flat import flat, json_type
from desirepath.plan.model import Property
from desirepath.plan.violations import Violation
from desirepath.plan.walker import compile_schema
from desirepath.plan.wire import show

__all__ = ["impossible", "uncountable"]

_NUMBERS: Final = frozenset({"number", "integer"})
_TEXTS: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "contains": lambda value, part: part in value,
    "starts_with": str.startswith,
    "ends_with": str.endswith,
}
_ABOVE: Final = {">": True, ">=": False}
_BELOW: Final = {"<": True, "<=": False}


def impossible(prop: Property, condition: Any) -> str | None:
    """Why `condition` (a value, a list of values or a mapping of operators) never holds."""
    tests = _tests(condition)
    wanted = {name for name in tests if name not in ("!=", "not_in", "not_contains", "exists")}
    if tests.get("exists") is True:
        wanted.add("exists")
    if tests.get("exists") is False and prop.required:
        return f"{prop.name!r} is required, so it is always there"
    if not wanted:
        return None
    if prop.pii == "drop":
        return f"{prop.name!r} is dropped (`pii: drop`) before it is stored"
    if wanted == {"exists"}:
        return None
    if prop.pii == "hash":
        return f"{prop.name!r} is stored as a hash (`pii: hash`), which is like no value"
    prop = msgspec.structs.replace(prop, schema=flat(prop.schema))
    return _unlike(prop, tests) or _outside(prop, tests)


def uncountable(prop: Property) -> str | None:
    """Why nothing can be computed of a property; None if it may be a number."""
    if prop.pii in ("hash", "drop"):
        return f"{prop.name!r} is stored as no number (`pii: {prop.pii}`)"
    schema = flat(prop.schema)
    if _types(schema) & _NUMBERS:
        return None
    return f"{prop.name!r} is no number: it is {_words(schema)}"


def _tests(condition: Any) -> Mapping[str, Any]:
    if isinstance(condition, Mapping):
        return condition
    return {"in": condition} if isinstance(condition, list) else {"==": condition}


def _unlike(prop: Property, tests: Mapping[str, Any]) -> str | None:
    """Values and texts of the filter against the schema."""
    words = f"it is {_words(prop.schema)}"
    known = prop.schema.get("enum")
    for test, value in tests.items():
        if value is None or (isinstance(value, list) and None in value):
            continue  # a question may take what is missing for null
        if test == "==" and not _admits(prop.schema, value):
            return f"{prop.name!r} is never {show(value)}: {words}"
        if test == "in" and not any(_admits(prop.schema, item) for item in value):
            return f"{prop.name!r} is never any of {', '.join(map(show, value))}: {words}"
        if test in _TEXTS and known is not None and isinstance(value, str):
            fits = _TEXTS[test]
            if not any(fits(str(item), value) for item in known):
                return f"{prop.name!r} never {test.replace('_', ' ')} {show(value)}: {words}"
    return None


def _admits(schema: Mapping[str, Any], value: Any) -> bool:
    """Whether the schema admits the value, or what a question may take for the same."""
    if "array" in _types(schema):
        return True  # a list is matched by its items
    candidates = [value]
    if isinstance(value, str) and _types(schema) & (_NUMBERS | {"boolean"}):
        candidates.append(_parsed(value))
    elif not isinstance(value, str) and "string" in _types(schema):
        candidates.append(show(value))
    for candidate in candidates:
        found: list[Violation] = []
        compile_schema(schema)(candidate, "", found)
        if not found:
            return True
    return False


def _parsed(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    try:
        return float(text)
    except ValueError:
        return text


class _Range:
    """The numbers between two bounds, each with whether it is itself excluded."""

    def __init__(self) -> None:
        self.low = (-math.inf, False)
        self.high = (math.inf, False)

    def above(self, value: float, excluded: bool) -> None:
        self.low = max(self.low, (value, excluded))

    def below(self, value: float, excluded: bool) -> None:
        if value < self.high[0] or (value == self.high[0] and excluded):
            self.high = (value, excluded)

    @property
    def empty(self) -> bool:
        return self.low[0] > self.high[0] or (
            self.low[0] == self.high[0] and (self.low[1] or self.high[1])
        )

    def holds(self, value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        above = value > self.low[0] or (value == self.low[0] and not self.low[1])
        return above and (value < self.high[0] or (value == self.high[0] and not self.high[1]))


def _outside(prop: Property, tests: Mapping[str, Any]) -> str | None:
    """Bounds of the filter against bounds of the schema."""
    wanted = _Range()
    asked = []
    for test, value in tests.items():
        if test == "between" and len(value) == 2 and all(map(_is_number, value)):
            wanted.above(value[0], False)
            wanted.below(value[1], False)
        elif test in _ABOVE and _is_number(value):
            wanted.above(value, _ABOVE[test])
        elif test in _BELOW and _is_number(value):
            wanted.below(value, _BELOW[test])
        else:
            continue
        asked.append(f"{test} {show(value)}")
    if not asked:
        return None
    interval = " and ".join(asked)
    if wanted.empty:
        return f"no number is {interval}"
    types = _types(prop.schema)
    if types <= {"boolean", "null", "object", "array"}:
        return f"{prop.name!r} is no number: it is {_words(prop.schema)}"
    if not types & _NUMBERS:
        return None  # a question may read the text as a number
    known = prop.schema.get("enum")
    if known is not None:
        possible = any(map(wanted.holds, known))
    else:
        schema = prop.schema
        if "minimum" in schema:
            wanted.above(schema["minimum"], False)
        if "exclusiveMinimum" in schema:
            wanted.above(schema["exclusiveMinimum"], True)
        if "maximum" in schema:
            wanted.below(schema["maximum"], False)
        if "exclusiveMaximum" in schema:
            wanted.below(schema["exclusiveMaximum"], True)
        possible = not wanted.empty
    if possible or "string" in types:
        return None
    return f"{prop.name!r} is never {interval}: it is {_words(prop.schema)}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _types(schema: Mapping[str, Any]) -> frozenset[str]:
    types = schema.get("type")
    if types is not None:
        return frozenset({types} if isinstance(types, str) else types)
    values = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if values is not None:
        return frozenset(map(json_type, values))
    return frozenset({"string", "number", "integer", "boolean", "object", "array", "null"})


def _words(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return "one of " + ", ".join(map(show, schema["enum"]))
    if "const" in schema:
        return show(schema["const"])
    types = schema.get("type", "anything")
    words = [types if isinstance(types, str) else " or ".join(types)]
    words.extend(
        f"{text} {schema[key]}"
        for key, text in (
            ("minimum", "at least"),
            ("exclusiveMinimum", "more than"),
            ("maximum", "at most"),
            ("exclusiveMaximum", "less than"),
            ("pattern", "matching"),
            ("format", "in the form of a"),
        )
        if key in schema
    )
    return " ".join(words)

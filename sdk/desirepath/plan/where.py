"""Whether a condition on a property can ever hold, given what the plan admits there.

The answer is a reason why it cannot, or None. It errs on the side of None: only what is certain
is called impossible.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from desirepath.plan.model import Property
from desirepath.plan.violations import Violation
from desirepath.plan.walker import compile_schema
from desirepath.plan.wire import show

__all__ = ["admits", "impossible"]

_EQUAL: Final = frozenset({"=", "==", "eq", "is"})
_IN: Final = frozenset({"in", "any_of"})
_ABOVE: Final = {">": True, "gt": True, ">=": False, "gte": False, "at_least": False}
_BELOW: Final = {"<": True, "lt": True, "<=": False, "lte": False, "at_most": False}
_NUMBERS: Final = frozenset({"number", "integer"})


def admits(schema: Mapping[str, Any], value: Any) -> bool:
    """Whether a value is valid against a plain JSON Schema."""
    found: list[Violation] = []
    compile_schema(schema)(value, "", found)
    return not found


def impossible(prop: Property, condition: Any) -> str | None:
    """Why `condition` (a value, or a mapping of operators) never holds on `prop`."""
    if prop.pii == "drop":
        return f"{prop.name!r} is dropped (`pii: drop`) before it is stored"
    tests = condition if isinstance(condition, Mapping) else {"=": condition}
    if prop.pii == "hash" and any(test in tests for test in (*_EQUAL, *_IN, *_ABOVE, *_BELOW)):
        return f"{prop.name!r} is stored as a hash (`pii: hash`), which equals no value"
    for test, value in tests.items():
        if test in _EQUAL and not _reachable(prop.schema, value):
            return f"{prop.name!r} is never {show(value)}: it is {_words(prop.schema)}"
        items = value if test in _IN and isinstance(value, list) else ()
        if items and not any(_reachable(prop.schema, item) for item in items):
            values = ", ".join(map(show, items))
            return f"{prop.name!r} is never any of {values}: it is {_words(prop.schema)}"
    return _outside(prop, tests)


def _reachable(schema: Mapping[str, Any], value: Any) -> bool:
    if admits(schema, value):
        return True
    # A list property is matched by its items, a number by its text: both may be meant.
    if "array" in _types(schema):
        return True
    if isinstance(value, str) and _types(schema) & (_NUMBERS | {"boolean"}):
        return admits(schema, _parsed(value))
    return False


def _parsed(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    try:
        return float(text)
    except ValueError:
        return text


def _outside(prop: Property, tests: Mapping[str, Any]) -> str | None:
    """Bounds of the condition against bounds of the schema."""
    low: tuple[float, bool] = (-math.inf, False)
    high: tuple[float, bool] = (math.inf, False)
    numeric = False
    for test, value in tests.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if test in _ABOVE:
            numeric, low = True, max(low, (value, _ABOVE[test]))
        elif test in _BELOW:
            numeric = True
            if value < high[0] or (value == high[0] and _BELOW[test]):
                high = (value, _BELOW[test])
    if not numeric:
        return None
    if not _types(prop.schema) & _NUMBERS:
        # Stored text can still be read as a number by a question; it is not certain.
        only = _types(prop.schema)
        if only <= {"boolean", "null", "object", "array"}:
            return f"{prop.name!r} is no number: it is {_words(prop.schema)}"
        return None
    if low[0] > high[0] or (low[0] == high[0] and (low[1] or high[1])):
        return f"no number is {_interval(tests)}"
    values = prop.schema.get("enum")
    if values is not None and not any(_within(value, low, high) for value in values):
        return f"{prop.name!r} is never {_interval(tests)}: it is {_words(prop.schema)}"
    least = _least(prop.schema)
    most = _most(prop.schema)
    if least[0] > high[0] or (least[0] == high[0] and (least[1] or high[1])):
        return f"{prop.name!r} is never {_interval(tests)}: it is {_words(prop.schema)}"
    if most[0] < low[0] or (most[0] == low[0] and (most[1] or low[1])):
        return f"{prop.name!r} is never {_interval(tests)}: it is {_words(prop.schema)}"
    return None


def _within(value: Any, low: tuple[float, bool], high: tuple[float, bool]) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    above = value > low[0] or (value == low[0] and not low[1])
    return above and (value < high[0] or (value == high[0] and not high[1]))


def _least(schema: Mapping[str, Any]) -> tuple[float, bool]:
    bounds = [(-math.inf, False)]
    if "minimum" in schema:
        bounds.append((schema["minimum"], False))
    if "exclusiveMinimum" in schema:
        bounds.append((schema["exclusiveMinimum"], True))
    return max(bounds)


def _most(schema: Mapping[str, Any]) -> tuple[float, bool]:
    bounds = [(math.inf, False)]
    if "maximum" in schema:
        bounds.append((schema["maximum"], False))
    if "exclusiveMaximum" in schema:
        bounds.append((schema["exclusiveMaximum"], True))
    return min(bounds, key=lambda bound: (bound[0], not bound[1]))


def _interval(tests: Mapping[str, Any]) -> str:
    return " and ".join(
        f"{test} {show(value)}" for test, value in tests.items() if test in _ABOVE or test in _BELOW
    )


def _types(schema: Mapping[str, Any]) -> frozenset[str]:
    types = schema.get("type")
    if types is None:
        values = schema.get("enum", [schema["const"]] if "const" in schema else None)
        if values is not None and all(isinstance(value, str) for value in values):
            return frozenset({"string"})
        return frozenset({"string", "number", "integer", "boolean", "object", "array", "null"})
    return frozenset({types} if isinstance(types, str) else types)


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

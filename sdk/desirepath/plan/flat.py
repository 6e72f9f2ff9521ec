"""A schema with its `allOf` folded into one: the same values, fewer levels.

`{$ref: money, minimum: 1}` reaches everyone as `allOf` of the type and what stands beside it.
Whoever reads a schema to describe or compare it wants one set of keywords. What cannot be folded
without changing the meaning (two patterns, closed objects) stays in `allOf`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from desirepath.plan.keywords import ANNOTATIONS

__all__ = ["flat", "json_type"]

_NOTES: Final = frozenset({*ANNOTATIONS, "pii", "unit"})
_GROUPS: Final = (
    frozenset({"properties", "additionalProperties"}),
    frozenset({"items", "prefixItems"}),
    frozenset({"if", "then", "else"}),
)
"""Keywords whose meaning depends on the others of their group."""


def flat(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema with every branch of its own `allOf` folded in that can be."""
    if "allOf" not in schema:
        return schema
    found = {key: value for key, value in schema.items() if key != "allOf"}
    rest = []
    for branch in schema["allOf"]:
        left = _fold(found, flat(branch)) if isinstance(branch, Mapping) else branch
        if left != {} and left is not True:
            rest.append(left)
    return {**found, "allOf": rest} if rest else found


def json_type(value: Any) -> str:
    """The name of a plain value's type: `integer` for whole numbers that are written so."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    return "array" if isinstance(value, list) else "object"


def _fold(found: dict[str, Any], branch: Mapping[str, Any]) -> dict[str, Any]:
    """Fold a branch into `found`; what cannot be."""
    rest: dict[str, Any] = {}
    for group in _GROUPS:
        mine, its = found.keys() & group, branch.keys() & group
        if mine and its and {key: found[key] for key in mine} != {key: branch[key] for key in its}:
            if mine | its == {"properties"}:
                named = dict(found["properties"])
                for name, inner in branch["properties"].items():
                    both = {"allOf": [named[name], inner]} if name in named else inner
                    named[name] = flat(both) if isinstance(both, Mapping) else both
                found["properties"] = named
            else:
                rest.update({key: branch[key] for key in its})
        else:
            found.update({key: branch[key] for key in its})
    grouped = frozenset().union(*_GROUPS)
    for key, value in branch.items():
        if key in grouped:
            continue
        if key not in found:
            found[key] = value
        elif key in _NOTES or _same(found[key], value):
            continue
        elif key in _BOTH:
            found[key] = _BOTH[key](found[key], value)
        else:
            rest[key] = value
    return rest


def _same(left: Any, right: Any) -> bool:
    return bool(left == right) and msgspec.json.encode(left) == msgspec.json.encode(right)


def _types(left: Any, right: Any) -> Any:
    one, other = ({x} if isinstance(x, str) else set(x) for x in (left, right))
    both = one & other
    for narrow, wide in ((one, other), (other, one)):
        if "integer" in narrow and "number" in wide:
            both = (both - {"number"} if "number" not in narrow else both) | {"integer"}
    ordered = [name for name in ([left] if isinstance(left, str) else left) if name in both]
    ordered += sorted(both - set(ordered))
    return ordered[0] if len(ordered) == 1 else ordered


def _either(left: list[Any], right: list[Any]) -> list[Any]:
    return [*left, *(name for name in right if name not in left)]


def _table(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _either(left.get(key, []), right.get(key, [])) for key in _either([*left], [*right])
    }


_BOTH: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "type": _types,
    "minimum": max,
    "exclusiveMinimum": max,
    "maximum": min,
    "exclusiveMaximum": min,
    "minLength": max,
    "maxLength": min,
    "minItems": max,
    "maxItems": min,
    "minProperties": max,
    "maxProperties": min,
    "uniqueItems": lambda left, right: left or right,
    "required": _either,
    "dependentRequired": _table,
}
"""How two values of one keyword are both satisfied by one."""

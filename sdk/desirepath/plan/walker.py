"""The slow path: every violation of one value, by JSON Schema 2020-12's meaning of each keyword.

A schema is turned into one function a keyword; each gets the value, its JSON pointer and the list
to append to. It is the authority: what the compiler's fast path cannot decide, this decides.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sized
from decimal import Decimal
from typing import Any, Final, cast

from desirepath.plan.formats import FORMATS
from desirepath.plan.pii import is_protected
from desirepath.plan.regex import compile_pattern
from desirepath.plan.violations import MAX_VIOLATIONS, Violation
from desirepath.plan.wire import cut, escape, reduced, show

__all__ = ["Check", "compile_schema", "equal"]

Check = Callable[[Any, str, list[Violation]], None]

_NUMBERS: Final = (int, float, Decimal)


def compile_schema(schema: Mapping[str, Any]) -> Check:
    """The function that appends every violation of a value to a list."""
    checks = [_KEYWORDS[key](value, schema) for key, value in schema.items() if key in _KEYWORDS]
    if len(checks) == 1:
        return checks[0]

    def check(value: Any, pointer: str, out: list[Violation]) -> None:
        for one in checks:
            one(value, pointer, out)

    return check


def equal(left: Any, right: Any) -> bool:
    """JSON Schema's equality: by value, where 1 is 1.0 but not true."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict):
        return (
            isinstance(right, dict)
            and left.keys() == right.keys()
            and all(equal(item, right[key]) for key, item in left.items())
        )
    if isinstance(left, list):
        return isinstance(right, list) and len(left) == len(right) and all(map(equal, left, right))
    if isinstance(left, Decimal) or isinstance(right, Decimal):
        numbers = isinstance(left, _NUMBERS) and isinstance(right, _NUMBERS)
        return numbers and _exact(left) == _exact(right)
    return bool(left == right)


def _is_integer(value: Any) -> bool:
    """Whether a number that is no int is whole."""
    kind = type(value)
    if kind is float:
        return bool(value.is_integer())
    return kind is Decimal and value == value.to_integral_value()


_EXACT_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "array": (list,),
    "boolean": (bool,),
    "integer": (int,),
    "null": (type(None),),
    "number": _NUMBERS,
    "object": (dict,),
    "string": (str,),
}


def _type(names: Any, _: Mapping[str, Any]) -> Check:
    names = [names] if isinstance(names, str) else names
    expected = " or ".join(names)
    exact = frozenset(kind for name in names for kind in _EXACT_TYPES.get(name, ()))
    whole = "integer" in names

    def check(value: Any, pointer: str, out: list[Violation]) -> None:
        if type(value) not in exact and not (whole and _is_integer(value)):
            out.append(Violation("type", pointer, expected, show(value)))

    return check


def _enum(allowed: list[Any], _: Mapping[str, Any]) -> Check:
    expected = cut("one of " + ", ".join(map(show, allowed)))
    strings = frozenset(value for value in allowed if isinstance(value, str))

    def check(value: Any, pointer: str, out: list[Violation]) -> None:
        if type(value) is str:
            holds = value in strings
        else:
            holds = any(equal(value, one) for one in allowed)
        if not holds:
            out.append(Violation("enum", pointer, expected, show(value)))

    return check


def _const(wanted: Any, _: Mapping[str, Any]) -> Check:
    expected = show(wanted)

    def check(value: Any, pointer: str, out: list[Violation]) -> None:
        if not equal(value, wanted):
            out.append(Violation("enum", pointer, expected, show(value)))

    return check


def _limit(words: str, holds: Callable[[Any, Any], bool]) -> Callable[..., Check]:
    def build(limit: Any, _: Mapping[str, Any]) -> Check:
        expected = f"{words} {limit}"
        exact = _exact(limit)

        def check(value: Any, pointer: str, out: list[Violation]) -> None:
            kind = type(value)
            if kind is Decimal:
                if holds(value, exact):
                    return
            elif kind not in _NUMBERS or holds(value, limit):
                return
            out.append(Violation("range", pointer, expected, show(value)))

        return check

    return build


def _exact(number: Any) -> Decimal:
    # A plan's 0.1 means one tenth, not the double next to it.
    return Decimal(repr(number)) if type(number) is float else Decimal(number)


def _multiple_of(step: Any, _: Mapping[str, Any]) -> Check:
    expected = f"a multiple of {step}"
    exact_step = _exact(step)
    numerator, denominator = exact_step.as_integer_ratio()

    def check(value: Any, pointer: str, out: list[Violation]) -> None:
        if type(value) in _NUMBERS:
            # By fractions of whole numbers: Decimal's remainder is limited by its precision.
            above, below = _exact(value).as_integer_ratio()
            if (above * denominator) % (below * numerator):
                out.append(Violation("multiple", pointer, expected, show(value)))

    return check


def _size(kind: type, words: str, holds: Callable[[int, int], bool]) -> Callable[..., Check]:
    def build(limit: int, _: Mapping[str, Any]) -> Check:
        expected = words.format(limit)

        def check(value: Any, pointer: str, out: list[Violation]) -> None:
            if type(value) is kind and not holds(len(cast("Sized", value)), limit):
                out.append(Violation("size", pointer, expected, show(value)))

        return check

    return build


def _pattern(pattern: str, _: Mapping[str, Any]) -> Check:
    search = compile_pattern(pattern).search
    expected = f"text matching {pattern}"

    def check(value: Any, pointer: str, out: list[Violation]) -> None:
        if type(value) is str and not search(value):
            out.append(Violation("pattern", pointer, expected, show(value)))

    return check


def _format(name: str, _: Mapping[str, Any]) -> Check:
    test = FORMATS[name]

    def check(value: Any, pointer: str, out: list[Violation]) -> None:
        if type(value) is str and not test(value):
            out.append(Violation("format", pointer, name, show(value)))

    return check


def _prefix_items(schemas: list[Any], _: Mapping[str, Any]) -> Check:
    checks = [compile_schema(one) for one in schemas]

    def check(value: Any, pointer: str, out: list[Violation]) -> None:
        if type(value) is list:
            for index, (item, one) in enumerate(zip(value, checks, strict=False)):
                if len(out) > MAX_VIOLATIONS:
                    return
                one(item, f"{pointer}/{index}", out)

    return check


def _items(item_schema: Any, schema: Mapping[str, Any]) -> Check:
    one = compile_schema(item_schema)
    start = len(schema.get("prefixItems", ()))

    def check(value: Any, pointer: str, out: list[Violation]) -> None:
        if type(value) is list:
            for index in range(start, len(value)):
                if len(out) > MAX_VIOLATIONS:
                    return
                one(value[index], f"{pointer}/{index}", out)

    return check


def _unique_items(wanted: bool, _: Mapping[str, Any]) -> Check:
    def check(value: Any, pointer: str, out: list[Violation]) -> None:
        if wanted and type(value) is list and not _all_unique(value):
            out.append(Violation("unique", pointer, "items that all differ", show(value)))

    return check


def _all_unique(items: list[Any]) -> bool:
    seen = set()
    for item in items:
        key = _hashable(item)
        if key in seen:
            return False
        seen.add(key)
    return True


def _hashable(value: Any) -> Any:
    # Equal numbers hash alike in Python; only bool has to be kept apart from them.
    if isinstance(value, bool):
        return (bool, value)
    if isinstance(value, list):
        return (list, *map(_hashable, value))
    if isinstance(value, dict):
        return (dict, frozenset((key, _hashable(item)) for key, item in value.items()))
    if isinstance(value, float | Decimal):
        number = reduced(value)
        # A text's hash cannot be foreseen: numbers can be chosen so that their hashes are equal.
        return number if type(number) is int else (Decimal, str(number))
    return value


def _properties(named: Mapping[str, Any], _: Mapping[str, Any]) -> Check:
    checks = {name: compile_schema(one) for name, one in named.items()}
    hashed = frozenset(name for name, one in named.items() if one.get("pii") == "hash")

    def check(value: Any, pointer: str, out: list[Violation]) -> None:
        if type(value) is dict:
            for name, one in checks.items():
                # What the SDK has hashed already no longer has the property's own form.
                if name in value and not (name in hashed and is_protected(value[name])):
                    one(value[name], f"{pointer}/{escape(name)}", out)

    return check


def _additional_properties(rest: Any, schema: Mapping[str, Any]) -> Check:
    known = frozenset(schema.get("properties", ()))
    one = compile_schema(rest)
    closed = rest == {"not": {}}

    def check(value: Any, pointer: str, out: list[Violation]) -> None:
        if type(value) is not dict:
            return
        for name, item in value.items():
            if name not in known and len(out) <= MAX_VIOLATIONS:
                where = f"{pointer}/{escape(name)}"
                if closed:
                    out.append(Violation("unplanned_property", where, "", show(item)))
                else:
                    one(item, where, out)

    return check


def _required(names: list[str], _: Mapping[str, Any]) -> Check:
    def check(value: Any, pointer: str, out: list[Violation]) -> None:
        if type(value) is dict:
            out.extend(
                Violation("missing", f"{pointer}/{escape(name)}", "a value")
                for name in names
                if name not in value
            )

    return check


def _dependent_required(table: Mapping[str, list[str]], _: Mapping[str, Any]) -> Check:
    def check(value: Any, pointer: str, out: list[Violation]) -> None:
        if type(value) is dict:
            for name, names in table.items():
                if name in value:
                    for needed in names:
                        if needed not in value:
                            where = f"{pointer}/{escape(needed)}"
                            out.append(Violation("missing", where, f"a value beside {name}"))

    return check


def _all_of(schemas: list[Any], _: Mapping[str, Any]) -> Check:
    checks = [compile_schema(one) for one in schemas]

    def check(value: Any, pointer: str, out: list[Violation]) -> None:
        for one in checks:
            one(value, pointer, out)

    return check


def _holds(check: Check, value: Any) -> bool:
    out: list[Violation] = []
    check(value, "", out)
    return not out


def _any_of(schemas: list[Any], _: Mapping[str, Any]) -> Check:
    checks = [compile_schema(one) for one in schemas]

    def check(value: Any, pointer: str, out: list[Violation]) -> None:
        if not any(_holds(one, value) for one in checks):
            expected = f"any of {len(checks)} alternatives"
            out.append(Violation("alternatives", pointer, expected, show(value)))

    return check


def _one_of(schemas: list[Any], _: Mapping[str, Any]) -> Check:
    checks = [compile_schema(one) for one in schemas]

    def check(value: Any, pointer: str, out: list[Violation]) -> None:
        count = sum(_holds(one, value) for one in checks)
        if count != 1:
            expected = f"exactly one of {len(checks)} alternatives, {count} hold"
            out.append(Violation("alternatives", pointer, expected, show(value)))

    return check


def _not(schema: Any, _: Mapping[str, Any]) -> Check:
    one = compile_schema(schema)

    def check(value: Any, pointer: str, out: list[Violation]) -> None:
        if _holds(one, value):
            out.append(Violation("forbidden", pointer, "anything but this", show(value)))

    return check


def _if(condition: Any, schema: Mapping[str, Any]) -> Check:
    test = compile_schema(condition)
    then = compile_schema(schema.get("then", {}))
    otherwise = compile_schema(schema.get("else", {}))

    def check(value: Any, pointer: str, out: list[Violation]) -> None:
        (then if _holds(test, value) else otherwise)(value, pointer, out)

    return check


_KEYWORDS: Final[Mapping[str, Callable[[Any, Mapping[str, Any]], Check]]] = {
    "additionalProperties": _additional_properties,
    "allOf": _all_of,
    "anyOf": _any_of,
    "const": _const,
    "dependentRequired": _dependent_required,
    "enum": _enum,
    "exclusiveMaximum": _limit("less than", operator.lt),
    "exclusiveMinimum": _limit("more than", operator.gt),
    "format": _format,
    "if": _if,
    "items": _items,
    "maxItems": _size(list, "at most {} items", operator.le),
    "maxLength": _size(str, "at most {} characters", operator.le),
    "maxProperties": _size(dict, "at most {} properties", operator.le),
    "maximum": _limit("at most", operator.le),
    "minItems": _size(list, "at least {} items", operator.ge),
    "minLength": _size(str, "at least {} characters", operator.ge),
    "minProperties": _size(dict, "at least {} properties", operator.ge),
    "minimum": _limit("at least", operator.ge),
    "multipleOf": _multiple_of,
    "not": _not,
    "oneOf": _one_of,
    "pattern": _pattern,
    "prefixItems": _prefix_items,
    "properties": _properties,
    "required": _required,
    "type": _type,
    "uniqueItems": _unique_items,
}

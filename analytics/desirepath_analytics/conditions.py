"""Filters on events and people: the `where` of every question, as immutable data.

The form is a mapping of names to what they must be; all of it must hold. A name is an event's
property; `traits.country` is the person's trait, `context.page.url` a part of the context,
`message.source` a column of the message itself, and `properties.` may be written out. What it
must be is a value (equal), a list (one of them) or a mapping of operators (all hold):

    {"total": {">": 10, "<=": 99}, "country": "SE", "plan": ["pro", "team"]}
    {"any": [{"total": {">": 100}}, {"coupon": {"exists": True}}]}       also all:, not:

A negative operator is the exact complement of its positive one: an event without the property
has `!=` and `not_in` true. A number compares with the number a property holds, a text with its
text; `<` and `>` on text compare letter by letter, which is right for ISO dates.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from desirepath.errors import QueryError
from desirepath_analytics.names import did_you_mean

__all__ = [
    "MESSAGE_COLUMNS",
    "Combined",
    "Condition",
    "Field",
    "Test",
    "parse_text",
    "parse_where",
    "where_spec",
]

Kind = Literal["property", "trait", "context", "message"]

MESSAGE_COLUMNS: Final = (
    "anonymous_id",
    "event",
    "group_id",
    "kind",
    "message_id",
    "plan_version",
    "session_id",
    "source",
    "user_id",
)
"""The columns of an event that a question may name, as `message.NAME`."""

_PREFIXES: Final[dict[str, Kind]] = {
    "properties": "property",
    "property": "property",
    "traits": "trait",
    "trait": "trait",
    "context": "context",
    "message": "message",
}
_WRITTEN: Final[dict[Kind, str]] = {
    "property": "properties",
    "trait": "traits",
    "context": "context",
    "message": "message",
}

Scalar = str | int | float | bool | None

_POSITIVE: Final = {"!=": "==", "not_in": "in", "not_contains": "contains"}
_ORDERED: Final = ("<", "<=", ">", ">=")
_TEXTUAL: Final = ("contains", "not_contains", "starts_with", "ends_with", "matches")
OPERATORS: Final = (
    *("==", "!="),
    *_ORDERED,
    *("between", "in", "not_in"),
    *_TEXTUAL,
    "exists",
)


class Field(msgspec.Struct, frozen=True):
    """What a condition or a breakdown looks at. `kind` None: decided by the catalog."""

    name: str
    kind: Kind | None = None

    @classmethod
    def parse(cls, text: object, at: str) -> Field:
        """Read `total`, `traits.country`, `context.page.url` or `message.source`."""
        if not isinstance(text, str) or not text:
            raise QueryError(f"{at}: {text!r} is no name of a property, trait or context field")
        prefix, dot, rest = text.partition(".")
        kind = _PREFIXES.get(prefix) if dot else None
        if kind is None:
            return cls(text)
        if not rest:
            raise QueryError(f"{at}: {text!r} lacks the name after the dot")
        if kind == "message" and rest not in MESSAGE_COLUMNS:
            raise QueryError(
                f"{at}: an event has no column {rest!r}",
                hint=did_you_mean(rest, MESSAGE_COLUMNS),
            )
        return cls(rest, kind)

    def __str__(self) -> str:
        if self.kind is None:
            return self.name
        return f"{_WRITTEN[self.kind]}.{self.name}"


class Test(msgspec.Struct, frozen=True):
    """One field, one operator, one operand (a scalar, or a tuple for `in` and `between`)."""

    __test__ = False  # not a test class of pytest's

    field: Field
    op: str
    operand: Scalar | tuple[Scalar, ...]


class Combined(msgspec.Struct, frozen=True):
    """All, any or none (`not`) of several conditions."""

    how: Literal["all", "any", "not"]
    parts: tuple[Test | Combined, ...]


Condition = Test | Combined


def parse_where(spec: object, at: str = "where") -> Condition | None:
    """Read a `where`; None if it asks for nothing.

    Raises
    ------
    QueryError
        With the place in the question, what is wrong, and the nearest operator.
    """
    if spec is None:
        return None
    if isinstance(spec, (Test, Combined)):
        return spec
    if not isinstance(spec, Mapping):
        raise QueryError(f"{at}: expected a mapping of names to conditions, found {spec!r}")
    parts: list[Condition] = []
    for name, wanted in spec.items():
        here = f"{at}.{name}"
        if name in ("all", "any") and _is_list(wanted) and _all_mappings(wanted):
            parsed = [parse_where(item, f"{here}[{i}]") for i, item in enumerate(wanted)]
            if not parsed or None in parsed:
                raise QueryError(f"{here}: an empty condition")
            parts.append(Combined(name, tuple(part for part in parsed if part is not None)))
        elif name == "not" and isinstance(wanted, Mapping) and not _operators(wanted):
            inner = parse_where(wanted, here)
            if inner is None:
                raise QueryError(f"{here}: an empty condition")
            parts.append(Combined("not", (inner,)))
        else:
            parts.extend(_tests(Field.parse(name, at), wanted, here))
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else Combined("all", tuple(parts))


def where_spec(condition: Condition | None) -> dict[str, Any]:
    """The plain form that `parse_where` reads back to an equal condition."""
    if condition is None:
        return {}
    if isinstance(condition, Test):
        operand: Any = condition.operand
        return {str(condition.field): {condition.op: _plain(operand)}}
    if condition.how == "not":
        return {"not": where_spec(condition.parts[0])}
    return {condition.how: [where_spec(part) for part in condition.parts]}


_WORDS: Final = {
    "not in": "not_in",
    "in": "in",
    "not contains": "not_contains",
    "contains": "contains",
    "starts with": "starts_with",
    "ends with": "ends_with",
    "matches": "matches",
}
_SYMBOLS: Final = ("==", "!=", "<=", ">=", "=", "<", ">")
_WORD_FORM: Final = re.compile(
    r"^(?P<name>\S+)\s+(?P<op>not in|in|not contains|contains|starts with|ends with|matches)"
    r"\s+(?P<value>.+)$",
    re.DOTALL,
)
_SYMBOL_FORM: Final = re.compile(
    r"^(?P<name>[^=!<>]+?)\s*(?P<op>==|!=|<=|>=|=|<|>)\s*(?P<value>.*)$", re.DOTALL
)
_EXISTS_FORM: Final = re.compile(r"^(?P<name>\S+)\s+(?P<negated>not\s+)?exists$")


def parse_text(text: str, at: str = "--where") -> Condition:
    """Read the command line's form: `total > 10 and country in SE,NL and coupon exists`."""
    text = text.strip()
    if text.startswith("{"):
        try:
            parsed = parse_where(json.loads(text), at)
        except json.JSONDecodeError as error:
            raise QueryError(f"{at}: not JSON: {error}") from None
        if parsed is None:
            raise QueryError(f"{at}: an empty condition")
        return parsed
    tests = [_text_test(part, at) for part in re.split(r"\s+and\s+", text)]
    return tests[0] if len(tests) == 1 else Combined("all", tuple(tests))


def _text_test(text: str, at: str) -> Condition:
    text = text.strip()
    if found := _EXISTS_FORM.match(text):
        return Test(Field.parse(found["name"], at), "exists", found["negated"] is None)
    if found := _WORD_FORM.match(text):
        op = _WORDS[found["op"]]
        value: Any = found["value"].strip()
        if op in ("in", "not_in"):
            value = [_word(word) for word in value.split(",")]
        return _test(Field.parse(found["name"], at), op, value, at)
    if found := _SYMBOL_FORM.match(text):
        op = "==" if found["op"] == "=" else found["op"]
        return _test(Field.parse(found["name"].strip(), at), op, _word(found["value"]), at)
    raise QueryError(
        f"{at}: {text!r} is no condition",
        hint="write NAME OP VALUE, e.g. total>10, country in SE,NL, coupon exists",
    )


def _word(text: str) -> Scalar:
    """`10` is a number, `true` a boolean, `"10"` and everything else text."""
    text = text.strip()
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return text
    return value if isinstance(value, (str, int, float, bool)) or value is None else text


def _tests(field: Field, wanted: object, at: str) -> list[Condition]:
    if isinstance(wanted, Mapping):
        if not wanted:
            raise QueryError(f"{at}: no operator", hint=f"one of {', '.join(OPERATORS)}")
        return [_test(field, str(op), value, at) for op, value in wanted.items()]
    if _is_list(wanted):
        return [_test(field, "in", wanted, at)]
    return [_test(field, "==", wanted, at)]


def _test(field: Field, op: str, value: Any, at: str) -> Test:
    op = "==" if op == "=" else op
    if op not in OPERATORS:
        raise QueryError(f"{at}: unknown operator {op!r}", hint=did_you_mean(op, OPERATORS))
    if op in ("in", "not_in"):
        if not _is_list(value) or not value or not all(_is_scalar(item) for item in value):
            raise QueryError(f"{at}: {op} wants a list of values, found {value!r}")
        return Test(field, op, tuple(value))
    if op == "between":
        if not _is_list(value) or len(value) != 2 or not all(_is_ordered(item) for item in value):
            raise QueryError(f"{at}: between wants [lowest, highest], found {value!r}")
        if isinstance(value[0], str) != isinstance(value[1], str):
            raise QueryError(f"{at}: between wants two numbers or two texts, found {value!r}")
        return Test(field, op, tuple(value))
    if op == "exists":
        if not isinstance(value, bool):
            raise QueryError(f"{at}: exists wants true or false, found {value!r}")
    elif op in _TEXTUAL:
        if not isinstance(value, str):
            raise QueryError(f"{at}: {op} wants a text, found {value!r}")
        if op == "matches":
            _check_pattern(value, at)
    elif op in _ORDERED:
        if not _is_ordered(value):
            raise QueryError(f"{at}: {op} wants a number or a text, found {value!r}")
    elif not _is_scalar(value):
        raise QueryError(f"{at}: {op} wants one value, found {value!r}", hint="use in for a list")
    return Test(field, op, value)


def _check_pattern(pattern: str, at: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise QueryError(f"{at}: {pattern!r} is no regular expression: {error}") from None


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _all_mappings(values: Any) -> bool:
    return all(isinstance(item, (Mapping, Test, Combined)) for item in values)


def _operators(mapping: Mapping[Any, Any]) -> bool:
    return bool(mapping) and all(key in OPERATORS for key in mapping)


def _is_scalar(value: object) -> bool:
    if isinstance(value, float):
        return value == value and abs(value) != float("inf")
    return value is None or isinstance(value, (str, int, bool))


def _is_ordered(value: object) -> bool:
    return (
        _is_scalar(value)
        and isinstance(value, (str, int, float))
        and value is not True
        and value is not False
    )


def _plain(operand: Scalar | tuple[Scalar, ...]) -> Any:
    return list(operand) if isinstance(operand, tuple) else operand


def positive(op: str) -> tuple[str, bool]:
    """The operator of which `op` is the complement, and whether it is one."""
    return (_POSITIVE[op], True) if op in _POSITIVE else (op, False)

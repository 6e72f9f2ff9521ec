"""JSON as it comes from outside: read without crashing, written without changing a value.

`scan` measures the depth before anything recursive touches the bytes. `decode` is exact: numbers
that a double cannot hold come back as `Decimal`, and what JSON allows but no two readers agree on
(duplicate keys, NaN, integers beyond 64 bits, lone surrogates) is reported, never mended silently.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any, Final

import msgspec
from msgspec import UNSET

from desirepath.plan.violations import FOUND_LIMIT, Violation

__all__ = [
    "MAX_DEPTH",
    "MAX_INTEGER",
    "MIN_INTEGER",
    "Reading",
    "decode",
    "encode",
    "escape",
    "fits",
    "scan",
    "show",
]

MAX_DEPTH: Final = 64
"""How deep objects and arrays may nest."""

MIN_INTEGER: Final = -(2**63)
MAX_INTEGER: Final = 2**64 - 1

_NOT_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"?|[^][{}"]+', re.DOTALL)
_DEPTH_OF: Final = {91: 1, 123: 1, 93: -1, 125: -1}

_decode_any = msgspec.json.Decoder().decode

encode = msgspec.json.Encoder(decimal_format="number").encode
"""Compact JSON of plain values; a `Decimal` is written as the number it is."""


def scan(raw: bytes, *, max_depth: int = MAX_DEPTH) -> Violation | None:
    """The violation of bytes that nest deeper than `max_depth`, None if they do not.

    Iterative and linear; says nothing about whether the bytes are JSON.
    """
    if raw.count(b"[") + raw.count(b"{") <= max_depth:
        return None
    depth = 0
    for byte in _NOT_BRACKETS.sub(b"", raw):
        depth += _DEPTH_OF[byte]
        if depth > max_depth:
            return Violation("depth", "", f"at most {max_depth} levels", "more")
    return None


def fits(value: Any) -> bool:
    """Whether every integer in a decoded value has 64 bits."""
    kind = type(value)
    if kind is int:
        return bool(MIN_INTEGER <= value <= MAX_INTEGER)
    if kind is list:
        return all(map(fits, value))
    return all(map(fits, value.values())) if kind is dict else True


class Reading(msgspec.Struct):
    """What `decode` read: the value, and what no plan can allow, as violations.

    A value with violations is fit to look at, not to store: of a duplicate key it has the last
    value, null for NaN, U+FFFD for a lone surrogate.
    """

    value: Any
    violations: list[Violation] = []


def decode(raw: bytes) -> Reading:
    """Read JSON exactly; pointers in the violations are relative to `raw`."""
    deep = scan(raw)
    if deep is not None:
        return Reading(None, [deep])
    value = _quickly(raw)
    if value is not UNSET:
        return Reading(value)
    found: list[tuple[str, str, str]] = []

    def pairs(members: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(members)
        if len(value) < len(members):
            seen: set[str] = set()
            for key, _ in members:
                if key in seen:
                    found.append(("duplicate_key", "every key once", show(_text(key))))
                seen.add(key)
        return value

    def constant(text: str) -> None:
        found.append(("number", "a JSON number", text))

    def integer(text: str) -> Any:
        value = int(text) if len(text) <= 20 else MAX_INTEGER + 1
        if not MIN_INTEGER <= value <= MAX_INTEGER:
            found.append(("number", "an integer of 64 bits", text[:FOUND_LIMIT]))
            return Decimal(text) if len(text) < 1000 else None
        return value

    def real(text: str) -> Any:
        value = float(text)
        exact = Decimal(text) if len(text) < 1000 else Decimal("Infinity")
        if value in (float("inf"), float("-inf")) or not exact.is_finite():
            found.append(("number", "a number a double can hold", text[:FOUND_LIMIT]))
            return None
        if exact == Decimal(repr(value)):
            return value
        if value == 0:
            found.append(("number", "a number a double can hold", text[:FOUND_LIMIT]))
        return exact

    try:
        value = json.loads(
            raw.decode(),
            object_pairs_hook=pairs,
            parse_constant=constant,
            parse_int=integer,
            parse_float=real,
        )
    except (ValueError, RecursionError) as error:
        return Reading(None, [Violation("json", "", "JSON", str(error)[:FOUND_LIMIT])])
    violations = [Violation(code, "", expected, shown) for code, expected, shown in found]
    if b"\\u" in raw:
        value = _mend_surrogates(value, violations, "")
    return Reading(value, violations)


def _quickly(raw: bytes) -> Any:
    """The value if msgspec reads it and writes the same bytes again, so nothing was lost."""
    try:
        value = _decode_any(raw)
        if encode(value) == msgspec.json.format(raw, indent=-1) and fits(value):
            return value
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass
    return UNSET


def _mend_surrogates(value: Any, violations: list[Violation], pointer: str) -> Any:
    if isinstance(value, str):
        mended = _text(value)
        if mended is not value:
            violations.append(Violation("encoding", pointer, "Unicode text", "a lone surrogate"))
        return mended
    if isinstance(value, list):
        return [
            _mend_surrogates(item, violations, f"{pointer}/{index}")
            for index, item in enumerate(value)
        ]
    if isinstance(value, dict):
        mended_object = {}
        for key, item in value.items():
            name = _mend_surrogates(key, violations, pointer)
            mended_object[name] = _mend_surrogates(item, violations, f"{pointer}/{escape(name)}")
        return mended_object
    return value


def _text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def escape(token: str) -> str:
    """One token of a JSON pointer (RFC 6901)."""
    return token.replace("~", "~0").replace("/", "~1")


def show(value: Any) -> str:
    """A value as JSON, cut for `Violation.found`."""
    text = encode(value).decode()
    return text if len(text) <= FOUND_LIMIT else text[: FOUND_LIMIT - 1] + "…"

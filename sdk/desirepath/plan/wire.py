"""JSON as it comes from outside: read without crashing, written without changing a value.

`scan` measures the depth before anything recursive touches the bytes. `decode` is exact: numbers
that a double cannot hold come back as `Decimal`, and what JSON allows but no two readers agree on
(duplicate keys, NaN, integers beyond 64 bits, lone surrogates) is reported, never mended silently.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
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
    "compact",
    "cut",
    "decode",
    "decode_any",
    "encode",
    "escape",
    "fits",
    "reduced",
    "scan",
    "show",
]

MAX_DEPTH: Final = 64
"""How deep objects and arrays may nest."""

MIN_INTEGER: Final = -(2**63)
MAX_INTEGER: Final = 2**64 - 1

MAX_INTEGER_DIGITS: Final = 20

MAX_NUMBER_LENGTH: Final = 800
"""How many characters a number that is not whole may have: every double fits in fewer."""

_NOT_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"?|[^][{}"]+', re.DOTALL)
_DEPTH_OF: Final = {91: 1, 123: 1, 93: -1, 125: -1}

_ESCAPES = re.compile(rb"(?:\\u[0-9a-fA-F]{4})+|\\.")

decode_any = msgspec.json.Decoder().decode

encode = msgspec.json.Encoder(decimal_format="number").encode
"""Compact JSON of plain values; a `Decimal` is written as the number it is."""


def scan(raw: bytes, *, max_depth: int = MAX_DEPTH) -> Violation | None:
    """The violation of bytes that nest deeper than `max_depth`, None if they do not.

    Iterative and linear; says nothing about whether the bytes are JSON.
    """
    # Each level takes two bytes and each of its beginnings is one of these two.
    if len(raw) <= 2 * max_depth or raw.count(b"[") + raw.count(b"{") <= max_depth:
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
    if kind is not dict and kind is not list:
        return True
    for item in value.values() if kind is dict else value:
        inner = type(item)
        # Written out for the common scalars: a call for each would cost more than the check.
        if inner is int:
            if not MIN_INTEGER <= item <= MAX_INTEGER:
                return False
        elif (inner is dict or inner is list) and not fits(item):
            return False
    return True


class Reading(msgspec.Struct):
    """What `decode` read: the value, and what no plan can allow, as violations.

    A value with violations is fit to look at, not to store: of a duplicate key it has the last
    value, null for a number that does not fit, U+FFFD for a lone surrogate.
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
    try:
        text = raw.decode()
        try:
            value = _strict.decode(text)
            if b"\\u" not in raw or _is_text(value):
                return Reading(value)
        except _Unfit:
            pass
        return _decode_unfit(text)
    except (ValueError, RecursionError) as error:
        return Reading(None, [Violation("json", "", "JSON", str(error)[:FOUND_LIMIT])])


def compact(raw: bytes) -> bytes:
    """The same JSON without white space, its escapes as `encode` writes them.

    Only for bytes that msgspec has decoded. The tokens stay as they are, so if encoding the
    decoded value gives these bytes, it has lost no key and changed no number.
    """
    # Most white space is that of Python's json.dumps; other is left for the comparison to find.
    text = msgspec.json.format(raw, indent=-1) if b'": ' in raw or b"\n" in raw else raw
    return _ESCAPES.sub(_rewrite, text) if b"\\" in text else text


def _rewrite(escapes: re.Match[bytes]) -> bytes:
    return encode(decode_any(b'"%s"' % escapes[0]))[1:-1]


def _quickly(raw: bytes) -> Any:
    """The value if msgspec reads it and writes the same bytes again, so nothing was lost."""
    try:
        value = decode_any(raw)
        again = encode(value)
        if (again == raw or again == compact(raw)) and fits(value):
            return value
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass
    return UNSET


class _Unfit(Exception):
    """Something that no plan can allow; `_decode_unfit` tells what."""


def _unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(members)
    if len(value) < len(members):
        raise _Unfit
    return value


def _integer(text: str) -> int:
    if len(text) <= MAX_INTEGER_DIGITS and MIN_INTEGER <= (value := int(text)) <= MAX_INTEGER:
        return value
    raise _Unfit


def _real(text: str) -> float | Decimal:
    if len(text) > MAX_NUMBER_LENGTH:
        raise _Unfit
    value = float(text)
    try:
        exact = Decimal(text)
    except ArithmeticError:  # an exponent beyond what even a decimal can hold
        raise _Unfit from None
    if not math.isfinite(value) or (value == 0 and exact):
        raise _Unfit
    return value if exact == Decimal(repr(value)) else exact


def reduced(number: float | Decimal) -> int | Decimal:
    """A number in the one form of all its equals: 1 for 1.0, 0.5 for 0.50."""
    exact = Decimal(repr(number)) if type(number) is float else Decimal(number)
    if MIN_INTEGER <= exact <= MAX_INTEGER and exact == exact.to_integral_value():
        return int(exact)
    sign, digits, exponent = exact.as_tuple()
    kept = len(digits)
    while digits[kept - 1] == 0:
        kept -= 1
    return Decimal((sign, digits[:kept], int(exponent) + len(digits) - kept))


def _constant(_: str) -> None:
    raise _Unfit


_strict = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_integer, parse_float=_real, parse_constant=_constant
)


def _is_text(value: Any) -> bool:
    try:
        encode(value)
    except UnicodeEncodeError:
        return False
    return True


def _decode_unfit(text: str) -> Reading:
    """Read as much as can be shown, and list all that is unfit."""
    found: list[Violation] = []

    def pairs(members: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: set[str] = set()
        for key, _ in members:
            if key in seen:
                found.append(Violation("duplicate_key", "", "every key once", show(_mend(key))))
            seen.add(key)
        return dict(members)

    def number(words: str, parse: Callable[[str], Any]) -> Callable[[str], Any]:
        def read(text: str) -> Any:
            try:
                return parse(text)
            except _Unfit:
                found.append(Violation("number", "", words, text[:FOUND_LIMIT]))
                return None

        return read

    decoder = json.JSONDecoder(
        object_pairs_hook=pairs,
        parse_int=number("an integer of 64 bits", _integer),
        parse_float=number("a number that a double can hold", _real),
        parse_constant=number("a JSON number", _constant),
    )
    return Reading(_mend_all(decoder.decode(text), found, ""), found)


def _mend_all(value: Any, found: list[Violation], pointer: str) -> Any:
    """The value with U+FFFD for each lone surrogate."""
    if isinstance(value, str):
        mended = _mend(value)
        if mended != value:
            found.append(Violation("encoding", pointer, "Unicode text", "a lone surrogate"))
        return mended
    if isinstance(value, list):
        return [_mend_all(item, found, f"{pointer}/{index}") for index, item in enumerate(value)]
    if isinstance(value, dict):
        return {
            _mend_all(key, found, pointer): _mend_all(
                item, found, f"{pointer}/{escape(_mend(key))}"
            )
            for key, item in value.items()
        }
    return value


def _mend(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def escape(token: str) -> str:
    """One token of a JSON pointer (RFC 6901)."""
    return token.replace("~", "~0").replace("/", "~1")


def show(value: Any) -> str:
    """A value as JSON, cut for `Violation.found`."""
    try:
        text = encode(value).decode()
    except UnicodeEncodeError:  # a lone surrogate in a name that an app made up
        text = json.dumps(value)
    return cut(text)


def cut(text: str) -> str:
    """A text of at most `FOUND_LIMIT` characters."""
    return text if len(text) <= FOUND_LIMIT else text[: FOUND_LIMIT - 1] + "…"

"""Any value an app passes becomes JSON, in bounded time and stack, and never an exception.

What has an obvious JSON form gets it: dates and times (RFC 3339), Decimal (the exact number),
UUID, enum, dataclass, set, tuple, bytes (base64), path, numpy and pandas scalars and arrays, which
are recognised without being imported. What has none is replaced and named by a violation: NaN and
infinity (null), a cycle and too deep a nesting (null), an object of an unknown type (its repr).
"""

from __future__ import annotations

import base64
import enum
import math
import os
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from desirepath.plan.violations import Violation

__all__ = ["MAX_DEPTH", "encode"]

MAX_DEPTH: Final = 32
"""Levels of nesting below the properties; deeper values become null."""

_SHOWN_CHARS: Final = 200

MAX_VALUES: Final = 20_000
"""Values in one event; the rest is left out."""

_PLAIN: Final = frozenset({str, int, bool, type(None), float})
_CONTAINERS: Final = frozenset({dict, list, tuple})

_encoder: Final = msgspec.json.Encoder(decimal_format="number")
_encode: Final = _encoder.encode


def encode(values: Mapping[str, Any], pointer: str) -> tuple[bytes, tuple[Violation, ...]]:
    """The JSON object of `values`, and what could not be told as it was.

    Parameters
    ----------
    values
        Properties or traits.
    pointer
        Where they stand in the event, for the violations: `/properties`.
    """
    if type(values) is dict and (
        _PLAIN.issuperset(map(type, values.values())) or _is_plain(values)
    ):
        try:
            text = _encode(values)
        except (UnicodeEncodeError, msgspec.MsgspecError, TypeError, ValueError):
            pass
        else:
            # msgspec writes NaN as null, so only a null calls for a closer look.
            if text.find(b"null") < 0:
                return text, ()
    converter = _Converter()
    plain = converter.convert(values, pointer, 0)
    if not isinstance(plain, dict):
        converter.note("type", pointer, "an object", type(values).__name__)
        plain = {}
    return _encode(plain), tuple(converter.violations)


def _is_plain(values: dict[str, Any]) -> bool:
    """Whether msgspec takes the values as they are, without deep recursion."""
    nested: list[Any] = [values]
    seen = 0
    for _ in range(MAX_DEPTH + 1):
        below: list[Any] = []
        for container in nested:
            items = container.values() if type(container) is dict else container
            seen += len(items)
            if seen > MAX_VALUES:
                return False
            for value in items:
                kind = type(value)
                if kind not in _PLAIN:
                    if kind not in _CONTAINERS:
                        return False
                    below.append(value)
        if not below:
            return True
        nested = below
    return False


class _Converter:
    """The slow way, taken only for values that are not plain JSON already."""

    def __init__(self) -> None:
        self.violations: list[Violation] = []
        self._above: set[int] = set()
        self._left = MAX_VALUES

    def note(self, code: str, pointer: str, expected: str, found: str) -> None:
        """Note what was wrong; `found` never tells the value, for it goes into the app's log."""
        # Here, because the package of plans takes longer to import than all the rest.
        from desirepath.plan.violations import Violation

        self.violations.append(Violation(code, pointer, expected, found))

    def convert(self, value: Any, pointer: str, depth: int) -> Any:
        self._left -= 1
        try:
            simple = _SIMPLE.get(type(value))
            if simple is not None:
                return simple(self, value, pointer)
            return self._convert(value, pointer, depth)
        except Exception as error:  # a property's own __str__, __iter__ or item() failed
            self.note("type", pointer, "a value that can be read", type(error).__name__)
            return None

    def _convert(self, value: Any, pointer: str, depth: int) -> Any:
        for kind, convert in _BY_INSTANCE:
            if isinstance(value, kind):
                return convert(self, value, pointer)
        if isinstance(value, enum.Enum):
            return self.convert(value.value, pointer, depth)
        container = _container(value)
        if container is None:
            return self._other(value, pointer, depth)
        if depth > MAX_DEPTH:
            self.note("size", pointer, f"at most {MAX_DEPTH} levels", type(value).__name__)
            return None
        if id(value) in self._above:
            self.note("type", pointer, "a value that does not contain itself", "a cycle")
            return None
        self._above.add(id(value))
        try:
            if isinstance(container, Mapping):
                return self._object(container, pointer, depth + 1)
            return self._array(container, pointer, depth + 1)
        finally:
            self._above.discard(id(value))

    def _object(self, value: Mapping[Any, Any], pointer: str, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, item in value.items():
            name = key if type(key) is str else self._key(key, pointer)
            name = _text(self, name, pointer)
            place = f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}"
            if self._full(place):
                break
            result[name] = self.convert(item, place, depth)
        return result

    def _array(self, value: Iterable[Any], pointer: str, depth: int) -> list[Any]:
        result: list[Any] = []
        for index, item in enumerate(value):
            place = f"{pointer}/{index}"
            if self._full(place):
                break
            result.append(self.convert(item, place, depth))
        return result

    def _full(self, pointer: str) -> bool:
        if self._left > 0:
            return False
        if self._left == 0:
            self._left = -1
            self.note("size", pointer, f"at most {MAX_VALUES:,} values", "more")
        return True

    def _key(self, key: object, pointer: str) -> str:
        if isinstance(key, enum.Enum):
            key = key.value
        if isinstance(key, str | uuid.UUID | date) or type(key) is int:
            return str(key)
        self.note("type", pointer, "names that are strings", type(key).__name__)
        return str(key)

    def _other(self, value: Any, pointer: str, depth: int) -> Any:
        # numpy and pandas: scalars have item(), arrays and series tolist(), missing values a type.
        package = type(value).__module__.partition(".")[0]
        if package == "ipaddress":
            return str(value)
        if package == "numpy" and hasattr(value, "tolist"):
            plain = value.tolist()
            if isinstance(plain, int | str) and type(value).__name__.startswith(
                ("datetime64", "timedelta64")
            ):
                return str(value)
            return self.convert(plain, pointer, depth)
        if package == "pandas":
            if type(value).__name__ in ("NAType", "NaTType"):
                self.note("type", pointer, "a value", type(value).__name__)
                return None
            if hasattr(value, "tolist"):
                return self.convert(value.tolist(), pointer, depth)
        self.note("type", pointer, "a value with a JSON form", type(value).__name__)
        return _text(self, _show(value), pointer)


def _text(converter: _Converter, value: str, pointer: str) -> str:
    text = str.__str__(value)
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        converter.note("type", pointer, "text without lone surrogates", "some")
        return text.encode("utf-8", "replace").decode()
    return text


def _float(converter: _Converter, value: float, pointer: str) -> float | None:
    if math.isfinite(value):
        return float(value)
    converter.note("type", pointer, "a finite number", str(value))
    return None


def _decimal(converter: _Converter, value: Decimal, pointer: str) -> Decimal | None:
    if value.is_finite():
        return value
    converter.note("type", pointer, "a finite number", str(value))
    return None


def _datetime(converter: _Converter, value: datetime, pointer: str) -> str | None:
    if value != value:  # pandas' NaT is a datetime
        converter.note("type", pointer, "a time", "NaT")
        return None
    if value.tzinfo is None:
        converter.note("format", pointer, "a time with its zone", "none")
    return value.isoformat().replace("+00:00", "Z")


def _same(_: _Converter, value: Any, __: str) -> Any:
    return value


def _as_str(_: _Converter, value: Any, __: str) -> str:
    return str(value)


def _isoformat(_: _Converter, value: Any, __: str) -> str:
    return str(value.isoformat())


def _seconds(_: _Converter, value: timedelta, __: str) -> float:
    return value.total_seconds()


def _base64(_: _Converter, value: Any, __: str) -> str:
    return base64.b64encode(bytes(value)).decode()


def _int(_: _Converter, value: int, __: str) -> int:
    return int(value)


def _path(converter: _Converter, value: os.PathLike[str], pointer: str) -> str:
    return _text(converter, os.fsdecode(os.fspath(value)), pointer)


_Convert = Callable[[_Converter, Any, str], Any]

_SIMPLE: Final[dict[type, _Convert]] = {
    str: _text,
    int: _same,
    bool: _same,
    type(None): _same,
    float: _float,
    Decimal: _decimal,
    datetime: _datetime,
    uuid.UUID: _as_str,
    date: _isoformat,
}

_BY_INSTANCE: Final[tuple[tuple[type | tuple[type, ...], _Convert], ...]] = (
    (enum.StrEnum, lambda converter, value, pointer: _text(converter, value.value, pointer)),
    (enum.IntEnum, lambda _converter, value, _pointer: int(value)),
    (str, _text),
    (int, _int),
    (float, _float),
    (Decimal, _decimal),
    (datetime, _datetime),
    ((date, time), _isoformat),
    (timedelta, _seconds),
    ((bytes, bytearray, memoryview), _base64),
    (uuid.UUID, _as_str),
    (os.PathLike, _path),
)


def _container(value: Any) -> Mapping[Any, Any] | Iterable[Any] | None:
    if isinstance(value, Mapping):
        return value
    if isinstance(value, list | tuple):
        return value
    if isinstance(value, set | frozenset):
        # Sorted, so that the same set is the same bytes.
        return sorted(value, key=repr)
    if isinstance(value, msgspec.Struct):
        return {name: getattr(value, name) for name in value.__struct_fields__}
    fields = getattr(type(value), "__dataclass_fields__", None)
    if fields is not None:
        return {name: getattr(value, name) for name in fields if hasattr(value, name)}
    return None


def _show(value: object) -> str:
    """A short text of anything, whatever its repr does."""
    if isinstance(value, str):
        return value[:_SHOWN_CHARS]
    if isinstance(value, list | tuple | dict | set | frozenset):
        return type(value).__name__
    try:
        return repr(value)[:_SHOWN_CHARS]
    except Exception:
        return f"<{type(value).__name__}>"

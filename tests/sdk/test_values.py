"""Any value becomes JSON or a violation, never an exception."""

from __future__ import annotations

import dataclasses
import enum
import ipaddress
import json
import threading
import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desirepath._values import MAX_DEPTH, MAX_VALUES, encode


class Colour(enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    BIG = 3


class Mood(enum.StrEnum):
    GOOD = "good"


@dataclasses.dataclass
class Money:
    amount: Decimal
    currency: str


class Pair(NamedTuple):
    a: int
    b: int


class Record(msgspec.Struct):
    name: str


class Text(str):
    __slots__ = ()


def one(value: Any) -> tuple[Any, list[str]]:
    """What `value` becomes, and the codes of its violations."""
    body, violations = encode({"v": value}, "/properties")
    return json.loads(body)["v"], [violation.code for violation in violations]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (7, 7),
        (2**70, 2**70),
        (1.5, 1.5),
        ("å", "å"),
        (Text("x"), "x"),
        ([1, [2, (3,)]], [1, [2, [3]]]),
        (Pair(1, 2), [1, 2]),
        ({"b", "a"}, ["a", "b"]),
        (frozenset([1]), [1]),
        ({"a": {"b": 1}}, {"a": {"b": 1}}),
        (MappingProxyType({"a": 1}), {"a": 1}),
        ({1: "x", Colour.RED: "y"}, {"1": "x", "red": "y"}),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05Z"),
        (date(2026, 1, 2), "2026-01-02"),
        (time(3, 4), "03:04:00"),
        (timedelta(minutes=1), 60.0),
        (Decimal("1.10"), 1.10),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Colour.RED, "red"),
        (Size.BIG, 3),
        (Mood.GOOD, "good"),
        (Money(Decimal("1.5"), "EUR"), {"amount": 1.5, "currency": "EUR"}),
        (Record("x"), {"name": "x"}),
        (b"ab", "YWI="),
        (bytearray(b"ab"), "YWI="),
        (PurePosixPath("/a/b"), "/a/b"),
        (ipaddress.ip_address("::1"), "::1"),
    ],
    ids=repr,
)
def test_what_has_a_json_form_gets_it(value: Any, expected: Any) -> None:
    assert one(value) == (expected, [])


def test_numbers_stay_exact() -> None:
    body, _ = encode({"v": Decimal("0.10000000000000000000001")}, "")
    assert body == b'{"v":0.10000000000000000000001}'


@pytest.mark.parametrize(
    ("value", "expected", "code"),
    [
        (float("nan"), None, "type"),
        (float("-inf"), None, "type"),
        (Decimal("NaN"), None, "type"),
        (Decimal("Infinity"), None, "type"),
        (datetime(2026, 1, 2), "2026-01-02T00:00:00", "format"),
        ("a\ud800b", "a?b", "type"),
        ({"\ud800": 1}, {"?": 1}, "type"),
        ({(1, 2): 1}, {"(1, 2)": 1}, "type"),
        (1j, "1j", "type"),
        (len, "<built-in function len>", "type"),
    ],
    ids=repr,
)
def test_what_has_none_is_replaced_and_named(value: Any, expected: Any, code: str) -> None:
    assert one(value) == (expected, [code])
    assert one([{"deep": value}]) == ([{"deep": expected}], [code])


def test_numpy_and_pandas_without_importing_them() -> None:
    np = pytest.importorskip("numpy")
    pd = pytest.importorskip("pandas")
    assert one(np.float64(1.5)) == (1.5, [])
    assert one(np.int32(7)) == (7, [])
    assert one(np.bool_(True)) == (True, [])
    assert one(np.str_("x")) == ("x", [])
    assert one(np.array([[1, 2], [3, 4]])) == ([[1, 2], [3, 4]], [])
    assert one(np.datetime64("2026-01-02")) == ("2026-01-02", [])
    assert one(np.datetime64("2026-01-02T03:04:05", "ns"))[0].startswith("2026-01-02T03:04:05")
    assert one(np.float32("nan")) == (None, ["type"])
    assert one(pd.Timestamp("2026-01-02", tz="UTC")) == ("2026-01-02T00:00:00Z", [])
    assert one(pd.NaT) == (None, ["type"])
    assert one(pd.NA) == (None, ["type"])
    assert one(pd.Series([1, 2])) == ([1, 2], [])


def test_cycles_depth_and_size_are_violations() -> None:
    cycle: dict[str, Any] = {"a": 1}
    cycle["itself"] = [cycle]
    assert one(cycle) == ({"a": 1, "itself": [None]}, ["type"])
    deep: Any = "bottom"
    for _ in range(100_000):
        deep = [deep]
    value, codes = one(deep)
    assert codes == ["size"]
    assert json.dumps(value).count("[") == MAX_DEPTH
    value, codes = one(list(range(MAX_VALUES * 2)))
    assert codes == ["size"]
    assert len(value) < MAX_VALUES


def test_depth_does_no_harm_on_a_small_stack() -> None:
    """msgspec recurses in C: what is deep must not reach it, or the process dies."""
    deep: Any = {}
    for _ in range(50_000):
        deep = {"d": deep}
    found: list[Any] = []
    old = threading.stack_size(64 * 1024)
    try:
        thread = threading.Thread(target=lambda: found.append(encode({"v": deep}, "")))
        thread.start()
        thread.join()
    finally:
        threading.stack_size(old)
    assert [violation.code for violation in found[0][1]] == ["size"]


def test_hostile_objects_do_no_harm() -> None:
    class Hostile:
        def __repr__(self) -> str:
            raise RuntimeError

    class Rude(dict[str, Any]):
        def items(self) -> Any:
            raise RuntimeError

    assert one(Hostile()) == ("<Hostile>", ["type"])
    assert one(Rude(a=1)) == (None, ["type"])


def test_pointers_name_the_place() -> None:
    _, violations = encode({"a/b": [{"c~d": float("nan")}]}, "/properties")
    assert violations[0].pointer == "/properties/a~1b/0/c~0d"


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.binary()
    | st.decimals()
    | st.datetimes()
    | st.dates()
    | st.uuids()
    | st.complex_numbers(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text(st.characters()) | st.integers() | st.none(), inner)
        | st.frozensets(st.integers())
        | st.tuples(inner)
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.text(st.characters()), values))
@settings(max_examples=150, deadline=None)
def test_whatever_it_is_it_becomes_strict_json(properties: dict[str, Any]) -> None:
    body, _ = encode(properties, "/properties")

    def no_constants(text: str) -> None:
        raise AssertionError(text)

    decoded = json.loads(body.decode(), parse_constant=no_constants)
    assert len(decoded) <= len(properties)

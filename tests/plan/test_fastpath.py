"""The fast path, the walker and `jsonschema` agree, and nothing that comes in can crash them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from desirepath.plan import Plan, Validator, Verdict
from desirepath.plan.fastpath import FastPath
from desirepath.plan.regex import compile_pattern
from desirepath.plan.rule import UNFIT
from desirepath.plan.wire import decode, encode

NAMES = st.sampled_from(["a", "b", "c", "order id", "ö"])
NUMBERS = st.one_of(
    st.integers(-20, 20),
    st.sampled_from([0.1, 0.5, 1.0, 2.5, -1.5, 1e300, 2**53, 2**63, -(2**63), 2**64 - 1]),
)
# No text ends in a newline: the reference's `$` matches before it, JSON Schema's does not.
STRINGS = st.sampled_from(["", "a", "ab", "AB-1", "abc", "ö", "😀", "1", "a\nb", '"', "\\", "a/b"])
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, STRINGS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
KINDS = ["string", "number", "integer", "boolean", "object", "array", "null"]
SIZES = st.integers(0, 3)
PATTERNS = st.sampled_from(["^a", "b$", "^[A-Z]{2}-[0-9]$", r"\d", "^(a|b)*$", "(a+)+$", "ö|😀"])


def schemas(depth: int = 2) -> st.SearchStrategy[Any]:
    keywords: dict[str, st.SearchStrategy[Any]] = {
        "type": st.sampled_from(KINDS) | st.lists(st.sampled_from(KINDS), min_size=1, unique=True),
        "enum": st.lists(VALUES, min_size=1, max_size=3),
        "const": VALUES,
        "minimum": NUMBERS,
        "maximum": NUMBERS,
        "exclusiveMinimum": NUMBERS,
        "exclusiveMaximum": NUMBERS,
        "multipleOf": st.sampled_from([1, 2, 3, 0.5]),
        "minLength": SIZES,
        "maxLength": SIZES,
        "pattern": PATTERNS,
        "minItems": SIZES,
        "maxItems": SIZES,
        "uniqueItems": st.booleans(),
        "minProperties": SIZES,
        "maxProperties": SIZES,
        "required": st.lists(NAMES, unique=True, max_size=2),
        "dependentRequired": st.dictionaries(NAMES, st.lists(NAMES, unique=True), max_size=2),
    }
    if depth:
        inner = schemas(depth - 1)
        several = st.lists(inner, min_size=1, max_size=2)
        keywords |= {
            "items": inner,
            "prefixItems": several,
            "properties": st.dictionaries(NAMES, inner, max_size=3),
            "additionalProperties": inner,
            "anyOf": several,
            "oneOf": several,
            "allOf": several,
            "not": inner,
            "if": inner,
            "then": inner,
            "else": inner,
        }
    common = st.fixed_dictionaries({"type": st.sampled_from(KINDS)})
    some = st.lists(st.sampled_from([*keywords]), max_size=3, unique=True).flatmap(
        lambda chosen: st.fixed_dictionaries({key: keywords[key] for key in chosen})
    )
    both = st.tuples(common, some).map(lambda pair: {**pair[0], **pair[1]})
    if not depth:
        return st.one_of(some, both, st.booleans())
    # null must not slip past a keyword that says something about every value.
    nullable = st.sampled_from(KINDS[:-1]).flatmap(
        lambda kind: st.sampled_from([[kind, "null"], ["null", kind]])
    )
    said_of_all = [{key: keywords[key]} for key in ("not", "anyOf", "oneOf", "allOf")]
    said_of_all.append({key: keywords[key] for key in ("if", "then")})
    of_null = st.tuples(
        st.fixed_dictionaries({"type": nullable}),
        some,
        st.one_of([st.fixed_dictionaries(one) for one in said_of_all]),
    ).map(lambda parts: {**parts[0], **parts[2], **parts[1], "type": parts[0]["type"]})
    return st.one_of(some, both, of_null, st.booleans())


def plan_of(properties: dict[str, Any], **event: Any) -> Plan:
    events = {"Sent": {"properties": properties, **event}}
    document = {"plan": "t", "version": "1.0.0", "events": events}
    return Plan.parse(json.dumps(document, ensure_ascii=False))


def send(validator: Validator, raw: bytes) -> Verdict:
    return validator.check("track", "Sent", raw)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(NAMES, schemas(), min_size=1, max_size=3),
    st.lists(st.dictionaries(NAMES, VALUES, max_size=3), min_size=1, max_size=5),
    st.booleans(),
)
def test_both_paths_agree_with_a_reference(
    properties: dict[str, Any], payloads: list[dict[str, Any]], spaced: bool
) -> None:
    plan = plan_of(properties)
    validator = plan.compile()
    fast = FastPath(plan.events["Sent"].properties, None)
    whole = {"type": "object", "properties": properties, "additionalProperties": False}
    reference = Draft202012Validator(whole)
    for payload in payloads:
        raw = json.dumps(payload, separators=None if spaced else (",", ":")).encode()
        valid = reference.is_valid(payload)
        verdict = send(validator, raw)
        assert (verdict.decision == "accept") is valid, (verdict, payload)
        assert bool(verdict.violations) is not valid
        kept = fast.accept(raw)
        assert kept is None or valid
        assert json.loads(verdict.payload) == payload
        assert kept is None or json.loads(kept) == payload


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace"))
)
def test_no_bytes_can_crash_the_validator(raw: bytes) -> None:
    validator = plan_of({"a": "number", "b": {"type": "array"}, "c": True}).compile()
    verdict = send(validator, raw)
    kept = json.loads(verdict.payload)
    assert verdict.decision == "quarantine" or (UNFIT not in kept and encode(kept))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "c"]),
            st.sampled_from(
                [
                    b"1",
                    b"1.0",
                    b"1.50",
                    b"1e2",
                    b"1E400",
                    b"1e-400",
                    b"1e99999999999999999999",
                    b"0e99999999999999999999",
                    b"1e-99999999999999999999",
                    b"-0",
                    b"-0.0",
                    b"NaN",
                    b"0.12345678901234567",
                    b"0.1000000000000000055",
                    b"18446744073709551616",
                    b"9007199254740993",
                    b"9007199254740993.0",
                    b'"\\ud800"',
                    b'"\\u0061"',
                    b'"\\/"',
                    b'"\\ud83d\\ude00"',
                    b"[1, 2.50]",
                    b'{"x": 1, "x": 1}',
                    b'"' + b"x" * 10 + b'"',
                ]
            ),
        ),
        max_size=4,
    ),
    st.booleans(),
)
def test_a_value_is_kept_exactly_or_the_event_is_refused(
    members: list[tuple[str, bytes]], typed: bool
) -> None:
    raw = b"{" + b",".join(b'"%s":%s' % (name.encode(), text) for name, text in members) + b"}"
    kind: Any = {"type": ["number", "string", "array", "object"]} if typed else True
    validator = plan_of({"a": kind, "b": kind, "c": kind}).compile()
    verdict = send(validator, raw)
    repeated = len({name for name, _ in members}) < len(members)
    impossible = (b"1E400", b"1e-400", b"NaN", b"18446744073709551616", b'"\\ud800"')
    beyond = b"99999999999999999999"
    odd = any(
        text in impossible or text.endswith(beyond) or b'"x": 1, "x"' in text for _, text in members
    )
    assert (verdict.decision == "quarantine") == (repeated or odd)
    if verdict.decision == "accept":
        exactly = {"parse_float": lambda text: __import__("decimal").Decimal(text)}
        assert json.loads(verdict.payload, **exactly) == json.loads(raw, **exactly)
    else:
        assert UNFIT in json.loads(verdict.payload)


@pytest.mark.parametrize(
    "format_name", ["date", "date-time", "time", "email", "uuid", "ipv4", "ipv6"]
)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_formats_agree_with_a_reference_on_what_is_common(format_name: str, data: Any) -> None:
    common = {
        "date": st.dates().map(str),
        "date-time": st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
        "time": st.times().map(lambda moment: moment.isoformat() + "+01:00"),
        "email": st.emails(),
        "uuid": st.uuids().map(str),
        "ipv4": st.ip_addresses(v=4).map(str),
        "ipv6": st.ip_addresses(v=6).map(str),
    }[format_name]
    text = data.draw(common | st.text(max_size=20))
    if format_name == "email":
        assume("@" not in text or text.isascii())
    schema = {"type": "string", "format": format_name}
    validator = plan_of({"a": schema}).compile()
    verdict = send(validator, json.dumps({"a": text}).encode())
    expected = Draft202012Validator(
        schema, format_checker=Draft202012Validator.FORMAT_CHECKER
    ).is_valid(text)
    if format_name == "email" and expected:
        return  # the reference only looks for an @
    assert (verdict.decision == "accept") == expected


@settings(max_examples=300, deadline=None)
@given(
    st.recursive(
        st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\d", r"\w", "^", "$", r"\b", r"\B", ""]),
        lambda inner: st.one_of(
            st.tuples(inner, inner).map("".join),
            st.tuples(inner, inner).map(lambda pair: f"(?:{pair[0]}|{pair[1]})"),
            st.tuples(inner, st.sampled_from(["*", "+", "?", "{0,2}", "{2}"])).map(
                lambda pair: f"(?:{pair[0]}){pair[1]}"
            ),
        ),
        max_leaves=6,
    ),
    st.lists(st.text(alphabet="ab1 \n", max_size=8), min_size=1, max_size=6),
)
def test_the_automaton_matches_what_re_matches(pattern: str, texts: list[str]) -> None:
    compiled = compile_pattern(pattern)
    for text in texts:
        by_automaton = compiled._automaton.search(text)
        assert by_automaton == (compiled._search(text) is not None), (pattern, text)


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", "^(a|a)*$", "^(a*)*b$", "(.*a){12}", "(a?){30}a{30}$"]
)
@pytest.mark.timeout(20)
def test_no_pattern_can_hang(pattern: str) -> None:
    validator = plan_of({"a": {"type": "string", "pattern": pattern}}).compile()
    verdict = send(validator, json.dumps({"a": "a" * 20_000 + "!"}).encode())
    assert verdict.decision in ("accept", "quarantine")


def test_the_inside_of_a_word_is_in_an_empty_text() -> None:
    validator = plan_of({"a": {"type": "string", "pattern": r"^\B$"}}).compile()
    assert send(validator, b'{"a":""}').decision == "accept"
    assert send(validator, b'{"a":"a"}').decision == "quarantine"


@pytest.mark.timeout(20)
def test_numbers_of_one_hash_are_told_apart_quickly() -> None:
    validator = plan_of({"a": {"type": "array", "uniqueItems": True}}).compile()
    numbers = [f"{index * (2**61 - 1)}.5" for index in range(1, 20_001)]
    assert send(validator, b'{"a":[%s]}' % ",".join(numbers).encode()).decision == "accept"
    wholes = [f"{index * (2**61 - 1)}.0" for index in range(1, 20_001)]
    assert send(validator, b'{"a":[%s]}' % ",".join(wholes).encode()).decision == "accept"
    for pair in ("0.50,0.5", "1,1.0", "1e300,10.0e299", f"{numbers[-1]},{numbers[-1]}0"):
        assert send(validator, b'{"a":[%s]}' % pair.encode()).decision == "quarantine", pair


@pytest.mark.parametrize("depth", [63, 64, 65, 1_000, 200_000])
def test_depth_is_measured_before_anything_recurses(depth: int) -> None:
    validator = plan_of({"a": True}).compile()
    verdict = send(validator, b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}")
    if depth <= 64:
        assert verdict.decision == "accept"
    else:
        assert [one.code for one in verdict.violations] == ["depth"]


def test_brackets_in_strings_are_no_depth() -> None:
    raw = json.dumps({"a": "[" * 500 + '\\"{'}).encode()
    assert send(plan_of({"a": True}).compile(), raw).decision == "accept"


def test_the_order_an_app_writes_is_learned_and_kept() -> None:
    plan = plan_of({"a": "integer", "b": "integer", "c": {"properties": {"x": "number"}}})
    fast = FastPath(plan.events["Sent"].properties, None)
    for raw in (b'{"c":{"x":1},"b":1,"a":2}', b'{"b":1,"a":2}', b'{"a":2,"b":1}'):
        assert fast.accept(raw) == raw
        assert fast.accept(raw) == raw


def test_reading_tells_everything_that_is_unfit() -> None:
    reading = decode(b'{"a":1,"a":NaN,"b":"\\ud800","c":1e999,"d":99999999999999999999999}')
    assert [one.code for one in reading.violations] == [
        "number",
        "number",
        "number",
        "duplicate_key",
        "encoding",
    ]
    assert reading.value == {"a": None, "b": "\ufffd", "c": None, "d": None}


@pytest.mark.parametrize(
    ("schema", "fast", "slow", "invalid"),
    [
        ("string", ["", "x"], [], [1, None, True]),
        ({"type": "string", "pattern": "^a", "maxLength": 2}, ["a", "ab"], [], ["b", "abc"]),
        (
            {"type": "string", "format": "date", "pattern": "^2"},
            ["2026-01-01"],
            [],
            ["1999-01-01", "2"],
        ),
        ({"type": ["string", "null"], "pattern": "^a"}, [None, "a"], [], ["b", 1]),
        (
            {"type": ["null", "object"], "maxProperties": 1},
            [None, {"a": 1}],
            [],
            [{"a": 1, "b": 1}],
        ),
        ({"type": ["string", "null"], "not": "null"}, ["a"], [], [None, 1]),
        ({"type": ["null", "string"], "anyOf": ["string"]}, ["a"], [], [None]),
        ({"type": ["integer", "null"], "oneOf": [{"const": 1}, {"const": 2}]}, [1], [], [None, 3]),
        ({"type": ["object", "null"], "if": "null", "then": False}, [{}], [], [None]),
        ({"type": ["string", "integer"]}, ["a", 1, 1.0], [], [1.5, None]),
        ({"enum": ["a", "b"]}, ["a"], [], ["c", 1]),
        ({"enum": [1, 2], "type": "integer"}, [1], [1.0], [3, True]),
        ({"enum": [1, "a", None]}, [1, "a", None, 1.0], [], [True, "b"]),
        ({"const": "a"}, ["a"], [], ["b"]),
        ({"const": True}, [True], [], [1]),
        ({"const": 1, "enum": [1, 2]}, [1], [], [2]),
        ({"enum": ["a"], "type": "number"}, [], [], ["a", 1]),
        ("integer", [0, -(2**63), 2**63 - 1], [1.0, 2**64 - 1], [1.5, "1", True]),
        (
            {"type": "integer", "exclusiveMinimum": 0.5, "exclusiveMaximum": 3},
            [1, 2],
            [2.0],
            [0, 3],
        ),
        ({"type": "integer", "minimum": 5, "maximum": 1}, [], [], [3]),
        ({"type": "integer", "multipleOf": 3}, [9], [], [10]),
        ("number", [1, 1.5, -0.0, 1e300], [2**64 - 1], ["1", True, None]),
        (
            {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
            [0.5],
            [],
            [0, 1, 0.0, 1.0],
        ),
        ({"type": "number", "minimum": 0, "exclusiveMinimum": 1}, [2, 1.5], [], [1, 1.0]),
        ({"type": "number", "maximum": 2**60}, [2**60, 1.5], [], [2**60 + 1]),
        ({"type": "number", "multipleOf": 0.1}, [0.3, 1], [], [0.35]),
        ("boolean", [True, False], [], [0, "true"]),
        ("null", [None], [], [False, 0]),
        (
            {"type": "array", "items": "integer", "maxItems": 2},
            [[], [1, 2]],
            [[1.0]],
            [[1, 2, 3], ["a"]],
        ),
        ({"type": "array", "items": {"type": "string", "pattern": "^a"}}, [["a"]], [], [["b"]]),
        ({"type": "array"}, [[1, "a", [{}]]], [], [{}]),
        ({"type": "array", "items": False}, [[]], [], [[1]]),
        ({"type": "array", "uniqueItems": True}, [[1, True]], [], [[1, 1.0]]),
        (
            {
                "type": "object",
                "properties": {"a": {"type": "string", "pattern": "^a", "required": True}},
            },
            [{"a": "a"}],
            [{"a": "a", "b": 1}],
            [{}, {"a": "b"}, []],
        ),
        ({"type": "object", "required": ["a"]}, [{"a": 1}], [], [{}]),
        ({"type": "object"}, [{}, {"a": {"b": 1}}], [], [1]),
        ({"anyOf": ["string", "null"]}, ["a", None], [], [1]),
        (True, [1, "a", {"a": [None]}], [], []),
    ],
)
def test_which_values_the_fast_path_takes(
    schema: Any, fast: list[Any], slow: list[Any], invalid: list[Any]
) -> None:
    plan = plan_of({"v": schema})
    path = FastPath(plan.events["Sent"].properties, None)
    validator = plan.compile()
    for value in [*fast, *slow, *invalid]:
        raw = encode({"v": value})
        by_fast = path.accept(raw)
        assert by_fast == (raw if any(value is one for one in fast) else None), value
        verdict = send(validator, raw)
        assert (verdict.decision == "quarantine") == any(value is one for one in invalid), value


def test_what_is_unbounded_is_not_decoded_when_it_is_deep() -> None:
    path = FastPath(plan_of({"v": True}).events["Sent"].properties, None)
    assert path.accept(b'{"v":' + b"[" * 100_000 + b"]" * 100_000 + b"}") is None
    assert path.accept(b'{"v":[18446744073709551616]}') is None

"""JSON from outside, and the forms of values, each by its own."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desirepath.plan.formats import FORMATS
from desirepath.plan.regex import PatternError, compile_pattern
from desirepath.plan.wire import compact, decode, encode, escape, fits, scan, show


@pytest.mark.parametrize(
    ("raw", "deep"),
    [
        (b"[[]]", False),
        (b"[[[]]]", True),
        (b'{"a":{"b":1}}', False),
        (b'{"a":{"b":[]}}', True),
        (b'"[[[[["', False),
        (b'["[[[[[\\"[[["]', False),
        (b'["\\\\",[[1]]]', True),
        (b"[],[],[],[],[]", False),
        (b"]]][[[", False),
        (b"", False),
    ],
)
def test_scan_measures_depth_outside_of_texts(raw: bytes, deep: bool) -> None:
    assert (scan(raw, max_depth=2) is not None) == deep


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80) | st.text('[]{}"\\:,a', max_size=80).map(str.encode))
def test_scan_and_decode_take_any_bytes(raw: bytes) -> None:
    scan(raw, max_depth=3)
    reading = decode(raw)
    assert reading.violations or encode(reading.value)


@settings(max_examples=300, deadline=None)
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**64 - 1)
        | st.text(max_size=5)
        | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=12,
    ),
    st.booleans(),
)
def test_what_json_can_say_is_read_and_written_without_a_change(value: object, plain: bool) -> None:
    try:
        raw = json.dumps(value, ensure_ascii=plain).encode()
    except UnicodeEncodeError:
        return
    reading = decode(raw)
    if reading.violations:
        assert {one.code for one in reading.violations} == {"encoding"}
        return
    assert reading.value == value
    assert json.loads(encode(reading.value)) == value


def test_numbers_beyond_a_double_come_as_decimals() -> None:
    assert decode(b"0.1000000000000000055").value == Decimal("0.1000000000000000055")
    assert decode(b"0.1").value == 0.1
    assert encode(Decimal("1E+2")) == b"1E+2"


@pytest.mark.parametrize(
    "text",
    [
        r"\ud800\u0041",
        r"\udc00",
        r"\udc00\ud800",
        r"\ud800x",
        r"\ud83d\ude00\ud83d",
        r"\ud800\n",
        r"\ud800\\u",
        r"a\udfff\u0041",
        r"\ud800\udbff",
        r"\ud800\ue000",
    ],
)
def test_lone_surrogates_are_never_text(text: str) -> None:
    assert [one.code for one in decode(b'{"a":"%s"}' % text.encode()).violations] == ["encoding"]


def test_escapes_are_written_in_one_way() -> None:
    raw = rb'{"a": "\u00e9\ud83d\ude00\/\u0022\\u00e9\n\u000a", "\u0062": 1.5}'
    assert compact(raw) == '{"a":"é😀/\\"\\\\u00e9\\n\\n","b":1.5}'.encode()
    assert encode(decode(raw).value) == compact(raw)


def test_integers_of_64_bits_fit() -> None:
    assert fits({"a": [2**64 - 1, -(2**63), True, "x"]})
    for value in (2**64, [-(2**63) - 1], {"a": {"b": [2**64]}}):
        assert not fits(value)


def test_pointers_and_what_is_shown() -> None:
    assert escape("a/b~c") == "a~1b~0c"
    assert show("é" * 300) == '"' + "é" * 198 + "…"


VALID = {
    "date": ["2024-02-29", "2000-02-29", "0000-01-01", "9999-12-31"],
    "date-time": ["1985-04-12T23:20:50.52Z", "1990-12-31T15:59:60-08:00", "2026-01-01t00:00:00z"],
    "time": ["23:59:60Z", "00:00:00.123456+23:59", "15:59:60-08:00"],
    "email": ["a@b", "joe.bloggs@example.com", '"joe b"@x.se', "a+b@[127.0.0.1]", "a@[IPv6:::1]"],
    "uri": ["urn:isbn:1", "http://[::1]:80/a?b#c", "mailto:a@b.se", "http://a.se/%C3%A9", "a:"],
    "uuid": ["2eb8aa08-aa98-11ea-b4aa-73b441d16380", "00000000-0000-0000-0000-000000000000"],
    "ipv4": ["0.0.0.0", "255.255.255.255"],
    "ipv6": [
        "::",
        "::1",
        "1::",
        "1:2:3:4:5:6:7:8",
        "::ffff:1.2.3.4",
        "1:2:3:4:5:6:1.2.3.4",
        "1:2:3:4:5:6:7::",
    ],
}
INVALID = {
    "date": ["2023-02-29", "1900-02-29", "2026-13-01", "2026-1-1", "2026-01-01\n", "２026-01-01"],
    "date-time": [
        "2026-01-01",
        "2026-01-01 00:00:00Z",
        "2026-01-01T00:00:00",
        "1998-12-31T23:58:60Z",
    ],
    "time": ["24:00:00Z", "12:00:00", "12:00Z", "12:00:00+24:00", "22:59:60Z", "12:00:60Z"],
    "email": ["a", "@b", "a@", ".a@b", "a..b@c", "a@-b", "a@b c", "a@[300.1.1.1]", "é@b"],
    "uri": ["//a", "a", ":a", "http://[1]/", "http://a:b/", "a:b c", "http://a/%zz", "http://é/"],
    "uuid": ["2eb8aa08aa9811eab4aa73b441d16380", "2eb8aa08-aa98-11ea-b4aa-73b441d1638g"],
    "ipv4": ["256.1.1.1", "1.1.1", "01.1.1.1", "1.1.1.1.1", "１.1.1.1", "1.1.1.1\n"],
    "ipv6": [
        "",
        ":",
        ":::",
        "1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7:8:9",
        "1::2::3",
        "::1%eth0",
        "12345::",
        "::1.2.3",
        "1.2.3.4::",
        "1:2:3:4:5:6:7::8",
        ":1:2:3:4:5:6:7",
        "1.2.3.4",
    ],
}


@pytest.mark.parametrize("name", [*FORMATS])
def test_forms(name: str) -> None:
    assert [text for text in VALID[name] if not FORMATS[name](text)] == []
    assert [text for text in INVALID[name] if FORMATS[name](text)] == []


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        (r"(?=a)", "look-ahead"),
        (r"(?!a)", "look-ahead"),
        (r"(?<=a)", "look-behind"),
        (r"(a)\1", "back reference"),
        (r"\k<a>", "`\\k` means nothing"),
        (r"a++", "quantifier"),
        (r"a{2", "no quantifier"),
        (r"*a", "nothing before"),
        (r"(", "without its `)`"),
        (r")", "without its `(`"),
        (r"[z-a]", "wrong way"),
        (r"[\d-z]", "a range from"),
        (r"a{3,2}", "wrong way"),
        (r"a{1001}", "above 1000"),
        (r"\p{L}", "not supported"),
        (r"\A", "means nothing"),
        (r"(?i)a", "ECMA-262"),
        (r"(?P<x>a)", "ECMA-262"),
        ("[a", "early"),
        ("\\", "early"),
        (r"\u{110000}", "no Unicode"),
        (r"\ud800", "no Unicode"),
        (r"\xg", "hexa"),
        (r"\c1", "without a letter"),
        ("^*", "after an anchor"),
        ("(" * 51 + ")" * 51, "deeper"),
        ("(a{50}){50}", "states"),
        (r"(?<1>a)", "name"),
        (r"\u{}", "without a code point"),
    ],
)
def test_patterns_that_are_refused(pattern: str, words: str) -> None:
    with pytest.raises(PatternError) as caught:
        compile_pattern(pattern)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("^a$", ["a"], ["a\n", "ab"]),
        (r"^\d+$", ["12"], ["١٢", ""]),
        (r"^\w$", ["_"], ["é"]),
        (r"^\s$", ["\u00a0", "\ufeff", "\n"], ["x"]),
        (r"^[\s\S]$", ["\u00a0", "x"], [""]),
        (r"^.$", ["😀", "é"], ["\n", "\u2028"]),
        (r"^[^a]$", ["\n"], ["a"]),
        (r"^[]$", [], ["", "a"]),
        (r"^[^]$", ["a", "\n"], [""]),
        (r"^[\b]$", ["\b"], ["b"]),
        (r"^[+--]$", ["+", ",", "-"], ["."]),
        (r"^\ud83d\ude00$", ["😀"], []),
        (r"^\u{1F600}\x41\cJ\0$", ["😀A\n\0"], []),
        (r"\bfoo\b", ["a foo", "foo"], ["foob", "éfoob"]),
        (r"a\Bb", ["ab"], ["a b"]),
        (r"^(?<year>[0-9]{4})-(?:a|b)$", ["2026-a"], ["2026-c"]),
        (r"^a{2,}?$", ["aa", "aaa"], ["a"]),
        (r"^\/\-\.$", ["/-."], []),
        (r"^[a&&b||c~~]$", ["&", "|", "~"], ["d"]),
        ("x|^$", ["", "x"], ["a"]),
    ],
)
def test_patterns_mean_what_ecma_262_says(pattern: str, yes: list[str], no: list[str]) -> None:
    compiled = compile_pattern(pattern)
    for matches in (compiled.search, compiled.matcher, compiled._automaton.search):
        assert [text for text in yes if not matches(text)] == []
        assert [text for text in no if matches(text)] == []


def test_which_patterns_python_may_match_at_any_length() -> None:
    for safe in ("^[A-Z]{3}$", r"^[a-z]+(-[a-z]+)*$", r"^\d+\.\d+", "^(?:card|cash)$"):
        assert compile_pattern(safe).backtrack_limit is None
    for risky in ("(a+)+$", "^(a|a)*$", "^(a*)*$", r"^(\w+-?)*$"):
        assert compile_pattern(risky).backtrack_limit == 0
    for bounded in (".*a.*b", "^[^@]+@[^@]+[.][^@]+$"):
        limit = compile_pattern(bounded).backtrack_limit
        assert limit is not None
        assert 10 < limit < 200

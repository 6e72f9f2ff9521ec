"""`desirepath.plan.infer`: what a draft says, and that it admits all it was drafted from."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from desirepath._shape import Shape
from desirepath.errors import InputError
from desirepath.plan import Plan
from desirepath.plan.emit import to_yaml
from desirepath.plan.infer import Draft, draft, infer
from desirepath.plan.personal import by_name, by_value
from desirepath.plan.records import Call, Skipped, read_calls


def drafted(*payloads: dict[str, Any], event: str = "Order Completed") -> dict[str, Any]:
    calls = [Call("track", event, payload, {}, "here") for payload in payloads]
    properties = draft(calls, name="test").plan["events"][event].get("properties", {})
    return dict(properties)


def admit_all(text: str, calls: list[Call]) -> None:
    """Every call passes the plan without its decision being `quarantine`."""
    validator = Plan.parse(text, "draft.yaml").compile()
    for call in calls:
        verdict = validator.check(
            call.kind,
            call.event if call.kind == "track" else "",
            msgspec.json.encode(call.payload),
            msgspec.json.encode(call.context),
        )
        assert verdict.decision == "accept", (call, verdict.violations)


def lines(tmp_path: Path, *records: Any) -> Path:
    path = tmp_path / "events.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_types_and_presence() -> None:
    found = drafted(
        {"id": "a", "n": 1, "x": 1.5, "b": True, "maybe": None, "tags": ["u"], "o": {"k": 1}},
        {"id": "b", "n": 2, "x": 2, "b": False, "tags": [], "o": {"k": 2, "l": "z"}},
    )
    assert found["id"] == {"type": "string", "required": True}
    assert found["n"] == {"type": "integer", "required": True}
    assert found["x"] == {"type": "number", "required": True}
    assert found["b"] == {"type": "boolean", "required": True}
    assert found["maybe"] == {}
    assert found["tags"] == {"type": "array", "required": True, "items": {"type": "string"}}
    assert found["o"]["properties"] == {"k": {"type": "integer", "required": True}, "l": "string"}


def test_mixed_types_are_listed_and_null_is_kept() -> None:
    found = drafted({"v": "a"}, {"v": 3}, {"v": None})
    assert found["v"] == {"type": ["string", "integer", "null"], "required": True}


def test_an_enum_needs_values_that_repeat() -> None:
    few = drafted(*[{"level": "free"}, {"level": "paid"}])
    many = drafted(*[{"level": "free"}, {"level": "paid"}] * 10)
    assert few["level"] == {"type": "string", "required": True}
    assert many["level"] == {"type": "string", "required": True, "enum": ["free", "paid"]}


def test_ranges_are_natural_bounds_only() -> None:
    found = drafted(*[{"price": 5 * n, "share": n / 10, "delta": n - 5} for n in range(11)])
    assert found["price"]["minimum"] == 0
    assert "maximum" not in found["price"]
    assert (found["share"]["minimum"], found["share"]["maximum"]) == (0, 1)
    assert found["delta"] == {"type": "integer", "required": True}


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("0198a5c0-5b60-7c9e-8b61-0242ac120002", "uuid"),
        ("2026-11-21T23:59:59.123Z", "date-time"),
        ("2026-11-21", "date"),
        ("https://example.com/a/b", "uri"),
    ],
)
def test_formats(value: str, name: str) -> None:
    assert drafted({"v": value})["v"] == {"type": "string", "format": name}


def test_personal_by_name_and_by_value() -> None:
    calls = [
        Call("identify", "", {"firstName": "Ada", "contact": "ada@example.com"}, {}, "1"),
        Call("identify", "", {"creditCard": "4111 1111 1111 1111", "plan": "pro"}, {}, "2"),
        Call("identify", "", {"emails": ["ada@example.com"]}, {}, "3"),
    ]
    found = draft(calls, name="test")
    assert found.plan["traits"] == {
        "firstName": {"type": "string", "pii": "hash"},
        "contact": {"type": "string", "pii": "hash"},
        "creditCard": {"type": "string", "pii": "drop"},
        "plan": "string",
        "emails": {"type": "array", "pii": "hash"},
    }
    assert "ada" not in found.text.lower()
    assert "looks like an e-mail address, by its values" in found.text
    assert {flag.pointer for flag in found.personal} >= {"/traits/contact", "/traits/firstName"}
    Plan.parse(found.text)


@pytest.mark.parametrize(
    ("name", "treatment"),
    [
        ("email", "hash"), ("userEmail", "hash"), ("first_name", "hash"), ("phoneNumber", "hash"),
        ("password", "drop"), ("IBAN", "drop"), ("dateOfBirth", "hash"), ("ip_address", "hash"),
    ],
)  # fmt: skip
def test_names_that_look_personal(name: str, treatment: str) -> None:
    guess = by_name(name)
    assert guess is not None
    assert guess[1] == treatment


@pytest.mark.parametrize(
    "name", ["email_verified", "card_type", "product_id", "shipping", "zip_count", "name", "total"]
)
def test_names_that_do_not(name: str) -> None:
    assert by_name(name) is None


@pytest.mark.parametrize(
    "value", ["ada@example.com", "+46 70 123 45 67", "DE89 3704 0044 0532 0130 00", "192.0.2.7"]
)
def test_values_that_look_personal(value: str) -> None:
    assert by_value(value) is not None


@pytest.mark.parametrize(
    "value", ["507f1f77bcf86cd799439011", "2026-11-21T10:00:00Z", "1.2.3", "12:30:45", "hello"]
)
def test_values_that_do_not(value: str) -> None:
    assert by_value(value) is None


def test_names_no_plan_can_hold_open_the_event() -> None:
    calls = [Call("track", "$pageview", {"$os": "Linux", "ok": 1, "": 2}, {}, "1")]
    found = draft(calls, name="test")
    assert found.plan["events"]["$pageview"] == {
        "properties": {"ok": "integer"},
        "unplanned_properties": "accept",
    }
    admit_all(found.text, calls)


def test_every_form_of_record(tmp_path: Path) -> None:
    path = lines(
        tmp_path,
        {"type": "track", "event": "A", "properties": {"x": 1}, "userId": "u"},
        {"type": "page", "properties": {"path": "/"}},
        {"type": "identify", "traits": {"t": 1}, "userId": "u"},
        {"type": "group", "traits": {"g": 1}, "groupId": "u"},
        {"type": "alias", "userId": "u", "previousId": "v"},
        {"batch": [{"type": "screen", "properties": {}}, {"event": "B", "properties": {"y": 1}}]},
        {"event": "C", "user_id": "u", "timestamp": "2026-01-01T00:00:00Z", "amount": 3},
        {"events": [{"event_type": "D", "event_properties": {"z": 1}}]},
        {"method": "POST", "path": "/v1/t", "headers": {}, "body": {"type": "track", "event": "E"}},
        {"method": "GET", "path": "/v1/t", "headers": {}, "body": None},
        ["no", "event"],
        {"other": 1},
    )
    with path.open("a") as file:
        file.write("{torn\n")
    found = list(read_calls([path]))
    calls = [(call.kind, call.event, call.payload) for call in found if isinstance(call, Call)]
    assert calls == [
        ("track", "A", {"x": 1}),
        ("page", "Page Viewed", {"path": "/"}),
        ("identify", "", {"t": 1}),
        ("group", "", {"g": 1}),
        ("alias", "", {}),
        ("screen", "Screen Viewed", {}),
        ("track", "B", {"y": 1}),
        ("track", "C", {"amount": 3}),
        ("track", "D", {"z": 1}),
        ("track", "E", {}),
    ]
    skipped = [skip for skip in found if isinstance(skip, Skipped)]
    assert [skip.place.rpartition(":")[2] for skip in skipped] == ["10", "11", "12", "13"]
    assert "its fields are other" in skipped[2].reason


@pytest.mark.parametrize("indent", [None, 2])
def test_a_json_document_of_events(tmp_path: Path, indent: int | None) -> None:
    path = tmp_path / "events.json"
    path.write_text(json.dumps([{"event": "A"}, {"event": "B"}], indent=indent))
    assert [call.event for call in read_calls([path]) if isinstance(call, Call)] == ["A", "B"]
    path.write_text(json.dumps({"batch": [{"event": "A"}]}, indent=indent))
    assert [call.event for call in read_calls([path]) if isinstance(call, Call)] == ["A"]


def test_a_byte_order_mark_is_no_part_of_the_first_record(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"event": "A"}\n{"event": "B"}\n')
    assert [call.event for call in read_calls([path]) if isinstance(call, Call)] == ["A", "B"]


def test_what_is_nested_too_deeply_is_skipped(tmp_path: Path) -> None:
    value: Any = 1
    for _ in range(100):
        value = [value]
    (skipped,) = read_calls([lines(tmp_path, {"event": "A", "v": value})])
    assert isinstance(skipped, Skipped)
    assert "nested too deep" in skipped.reason


def test_keys_that_are_data_are_left_open() -> None:
    calls = [Call("track", "A", {f"k{n}": n, "map": {f"x{n}": n}}, {}, "1") for n in range(300)]
    found = draft(calls, name="test")
    assert found.plan["events"]["A"] == {"unplanned_properties": "accept"}
    admit_all(found.text, calls)


def test_csv_columns_get_one_type_each(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user_id", "event", "timestamp", "n", "x", "code", "flag", "gap"])
        writer.writerow(["1", "A", "2026-01-01", "1", "1", "007", "true", ""])
        writer.writerow(["2", "A", "2026-01-02", "2", "1.5", "12", "false", "z"])
    calls = [call for call in read_calls([path]) if isinstance(call, Call)]
    assert [call.payload for call in calls] == [
        {"n": 1, "x": 1.0, "code": "007", "flag": True},
        {"n": 2, "x": 1.5, "code": "12", "flag": False, "gap": "z"},
    ]


def test_a_named_event_field(tmp_path: Path) -> None:
    record = {"page": "Home", "ts": 1, "who": {"level": "free"}, "noise": 1, "none": None, "e": ""}
    path = lines(tmp_path, record)
    mapping = {"event": "page", "timestamp": "ts", "properties.level": "who.level",
               "context.flag": "noise"}  # fmt: skip
    found = infer([path], mapping=mapping)
    assert found.plan["events"] == {"Home": {"properties": {"level": "string"}}}
    assert found.plan["context"] == {"flag": "integer"}
    found = infer([path], event="Seen", ignore=["noise", "who", "ts"])
    assert found.plan["events"] == {"Seen": {"properties": {"page": "string"}}}


def test_answers_are_not_personal_but_few_people_are() -> None:
    found = drafted(*[{"phone": "Yes"}, {"phone": "No"}] * 20)
    assert found["phone"]["enum"] == ["No", "Yes"]
    found = drafted(*[{"first_name": "Ada"}, {"first_name": "Bo"}] * 20)
    assert found["first_name"] == {"type": "string", "required": True, "pii": "hash"}


def test_records_are_read_as_send_reads_them(tmp_path: Path) -> None:
    rows = [
        {"event": "A", "user_id": "u", "amount": 3, "note": "", "gone": None, "ts": 1},
        {"event": "B", "user_id": "u", "properties": {"x": 1}, "beside": 2},
        {"type": "track", "event": "C", "userId": "u", "amount": 3, "channel": "web"},
        {"type": "identify", "userId": "u", "plan": "pro"},
        {"type": "track", "event": "D", "userId": "u", "messageId": "m", "properties": {"x": 1},
         "sentAt": "2026-01-01", "name": "n"},
    ]  # fmt: skip
    path = lines(tmp_path, *rows)
    shape = Shape("events.jsonl", {})
    calls = [call for call in read_calls([path]) if isinstance(call, Call)]
    for number, (row, call) in enumerate(zip(rows, calls, strict=True), 1):
        _, message = shape.message(number, row)
        assert call.kind == message["type"]
        assert call.payload == (message.get("properties") or message.get("traits"))


@pytest.mark.parametrize("text", ["user_id,event,n\nu,A,2\n", '{"event": "A", "n": 2}\n'])
def test_standard_input(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    found = infer(["-"])
    assert found.plan["events"] == {"A": {"properties": {"n": "integer"}}}
    assert "from 1 call. Read" in found.text


def test_gzip(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"event": "A"}\n'))
    assert infer([path]).plan["plan"] == "events"


def test_mistakes_are_one_message(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file"):
        infer([tmp_path / "none.jsonl"])
    with pytest.raises(InputError, match="no event found"):
        infer([lines(tmp_path, {"a": 1})])
    table = tmp_path / "t.csv"
    table.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="no column 'page'") as caught:
        infer([table], mapping={"event": "page"})
    assert "a, b" in str(caught.value.hint)
    table.write_bytes(b"a,b\n\xff,2\n")
    with pytest.raises(InputError, match="not UTF-8"):
        infer([table], event="A")
    (tmp_path / "image.jsonl").write_bytes(b"\x89PNG")
    with pytest.raises(InputError, match="not JSON") as caught:
        infer([tmp_path / "image.jsonl"])
    assert "a line" in str(caught.value.hint)
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="not JSON"):
        infer([tmp_path / "deep.json"])
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(InputError, match="the input is empty"):
        infer([tmp_path / "empty.jsonl"])
    table.write_text("")
    with pytest.raises(InputError, match="empty"):
        infer([table])


def test_event_names_that_are_data_are_refused(tmp_path: Path) -> None:
    calls = [Call("track", f"Viewed {n:0150}", {"x": 1}, {}, "1") for n in range(8_000)]
    with pytest.raises(InputError, match="larger than 1 MiB"):
        draft(calls, name="test")


def test_integers_beyond_64_bits_are_skipped_with_their_reason(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    path.write_text('{"event": "A", "n": 1}\n{"event": "A", "n": 123456789012345678901234567890}\n')
    found = infer([path])
    assert found.calls == 1
    assert "64 bits" in found.skipped[0].reason


SAFE = st.characters(exclude_categories=["Cs"])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(SAFE, max_size=20)
    | st.sampled_from(["a@b.se", "2026-01-01", "2026-02-30", "https://x.se/", "no", "12:30", "1e5"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(SAFE, max_size=6), inner, max_size=4)
    ),
    max_leaves=12,
)
NAMES = st.sampled_from(["a", "b", "email", "password", "no", "$os", "x y", "é", "", 'q"', "1"])
CALLS = st.builds(
    Call,
    kind=st.sampled_from(["track", "identify", "group"]),
    event=st.just(""),
    payload=st.dictionaries(NAMES, VALUES, max_size=5),
    context=st.dictionaries(NAMES, VALUES, max_size=2),
    place=st.just("here"),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(CALLS, min_size=1, max_size=30), st.data())
def test_a_draft_loads_and_admits_all_it_was_drafted_from(
    calls: list[Call], data: st.DataObject
) -> None:
    names = st.sampled_from(["Order Completed", "yes", "$identify", "a: b", "12:30"])
    named = [
        msgspec.structs.replace(call, event=data.draw(names)) if call.kind == "track" else call
        for call in calls
    ]
    found = draft(named, name="test")
    admit_all(found.text, named)
    assert found.text == draft(named, name="test").text


CELLS = st.sampled_from(
    ["", "0", "-1", "007", "1.5", "1e3", "-0", "true", "False", "x", "a@b.se", "12:30", "9" * 30]
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(st.sampled_from(["A", "B", "1"]), CELLS, CELLS, CELLS), min_size=1))
def test_a_draft_admits_the_table_it_was_drafted_from(
    tmp_path: Path, rows: list[tuple[str, ...]]
) -> None:
    path = tmp_path / "table.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("event", "p", "email", "q"), *rows])
    found = infer([path])
    calls = [call for call in read_calls([path]) if isinstance(call, Call)]
    assert found.calls == len(calls) == len(rows)
    admit_all(found.text, calls)


@given(VALUES)
def test_what_is_written_reads_back(value: Any) -> None:
    data = {"plan": "test", "events": {"A": {"properties": {"p": {"const": value}}}}}
    assert yaml.safe_load(to_yaml(data)) == data


@pytest.mark.parametrize(
    ("folder", "options"),
    [
        ("sparkify/log_data/2018/11", {"mapping": {"event": "page"}}),
        ("simple_shop", {}),
        ("client_payloads", {}),
    ],
)
def test_recorded_data_is_admitted(shared_data: Path, folder: str, options: dict[str, Any]) -> None:
    paths = sorted(p for p in (shared_data / folder).iterdir() if p.suffix != ".md")
    found: Draft = infer(paths, **options)
    admit_all(found.text, [c for c in read_calls(paths, **options) if isinstance(c, Call)])
    assert found.calls == {"sparkify": 8056, "simple_shop": 32283}.get(
        folder.partition("/")[0], found.calls
    )

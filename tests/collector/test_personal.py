"""What the plan calls personal is on no disk in the clear, wherever in an event it stands."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import msgspec
import pytest
from tests.collector.kit import PLAN, batch, track

from desirepath.plan import Plan
from desirepath_collector.admit import Admitted, Admitter
from desirepath_collector.envelope import decode_batch
from desirepath_collector.plans import Plans
from desirepath_collector.settings import Settings, Source
from desirepath_collector.warehouse import EventRow, QuarantineRow

SECRET = "jane@example.com"
MARKED = PLAN.replace(
    "events:\n",
    "  phone: {type: string, pii: drop}\n"
    "  home: {type: object, properties: {street: {type: string, pii: hash}, city: string}}\n"
    "events:\n",
)
PLAIN = PLAN.replace(", pii: hash", "")


def admit(body: Any, plan: str = MARKED) -> Admitted:
    plans = Plans(b"0123456789abcdef")
    plans.go_live(Plan.parse(plan))
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    admitted = Admitter(plans, Settings()).admit(
        decode_batch(raw), Source(write_key="k", name="web"), 1_700_000_000_000
    )
    assert plan == PLAIN or SECRET.encode() not in b"".join(admitted.records)
    return admitted


def identify(**fields: Any) -> dict[str, Any]:
    return {"type": "identify", "userId": "u", "messageId": "m", **fields}


def refused(body: Any, plan: str = MARKED) -> QuarantineRow:
    (row,) = admit(body, plan).rows
    assert isinstance(row, QuarantineRow)
    return row


@pytest.mark.parametrize(
    "call",
    [
        identify(traits={}),
        track(properties={"what": "x"}, messageId="m", timestamp="2023-11-14T22:13:00Z"),
        {"type": "group", "userId": "u", "groupId": "g", "messageId": "m"},
        {"type": "page", "userId": "u", "name": "Home", "messageId": "m"},
    ],
    ids=lambda call: call["type"],
)
def test_traits_in_the_context_are_treated_as_traits(call: dict[str, Any]) -> None:
    hashed = json.loads(bytes(accepted(identify(traits={"email": SECRET})).properties))["email"]
    traits = {
        "email": SECRET, "phone": SECRET, "home": {"street": SECRET, "city": "Lund"},
        "deeper": {"email": [SECRET], "n": 1.50}, "plain": "x",
    }  # fmt: skip
    row = accepted({**call, "context": {"traits": traits, "sessionId": "s"}})
    kept = json.loads(bytes(row.context))["traits"]
    assert kept["email"] == hashed != SECRET
    assert "phone" not in kept
    assert (kept["home"]["city"], kept["plain"], kept["deeper"]["n"]) == ("Lund", "x", 1.5)
    assert row.session_id == "s"
    # Context fields of another type are no way around it.
    row = accepted({**call, "context": {"traits": {"email": SECRET}, "sessionId": {"a": 1}}})
    assert json.loads(bytes(row.context))["traits"] == {"email": hashed}
    assert json.loads(bytes(accepted({**call, "context": {"traits": [SECRET]}}).context)) == {
        "traits": "[pii]"
    }


def accepted(call: dict[str, Any]) -> EventRow:
    # Twice, as one of many: the second context is a known one.
    rows = admit(batch(call, call)).rows
    for row in rows:
        assert isinstance(row, EventRow), row
        assert row.context == rows[0].context  # type: ignore[union-attr]
    return rows[1]  # type: ignore[return-value]


def test_traits_that_stand_in_the_context_only_are_still_checked() -> None:
    row = accepted(identify(context={"traits": {"email": SECRET}}))
    assert json.loads(bytes(row.properties)) == json.loads(bytes(row.context))["traits"]
    row_ = refused(batch(identify(context={"traits": {"email": "no mail"}})))
    assert [(one.code, one.pointer) for one in row_.violations] == [("format", "/traits/email")]
    assert "no mail" not in row_.payload


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "call",
    [
        identify(traits={"email": SECRET, "x": deep(70)}),
        identify(traits={"x": deep(70)}, context={"traits": {"email": SECRET}}),
        identify(traits={"email": SECRET}, context={"x": deep(70)}),
        identify(traits={"email": deep(70), "phone": SECRET}),
        identify(traits={"x": [deep(70), {"email": SECRET}]}),
        identify(traits=[deep(70), {"email": SECRET}]),
        track("Bought", {}, traits={"email": SECRET}),
        track("Bought", {}, traits=SECRET),
        track("Bought", {}, email=SECRET, integrations={"all": {"email": SECRET}}),
        track("Bought", {}, userId={"email": SECRET}),
        track("Bought", {}, userId=[SECRET]),
        track("Bought", {}, timestamp={"email": SECRET}, name={"email": SECRET}),
        track("Bought", {}, context={"traits": {"email": SECRET}}),
        track("Bought", SECRET),
        track("Bought", SECRET, messageId="m", timestamp="2023-11-14T22:13:00Z"),
        {"type": "alias", "userId": "u", "properties": {"email": SECRET}},
        {"type": "nothing", "traits": {"email": SECRET}, "properties": {"email": SECRET}},
        [SECRET],
        SECRET,
    ],
    ids=str,
)
def test_no_quarantined_copy_holds_personal_data(call: Any) -> None:
    row = refused(batch(call))
    assert SECRET not in repr(row)


def test_what_the_plan_does_not_mark_stays() -> None:
    row = refused(batch(identify(traits={"email": SECRET, "a": 1.5, "x": deep(70)})))
    kept = json.loads(row.payload)["traits"]
    assert kept["a"] == 1.5
    assert kept["$unfit"] == "depth"
    raw = msgspec.json.encode(deep(70))
    assert str(len(raw)) in kept["x"]
    assert hashlib.sha256(raw).hexdigest() in kept["x"]
    row = refused(batch(track("Bought", {}, traits={"email": SECRET, "a": [1]})))
    assert json.loads(row.payload)["traits"]["a"] == [1]


def test_what_is_no_json_is_kept_as_a_note_only() -> None:
    piece = b'{"type":"identify","userId":"u","traits":{"email":"%s","x":NaN}}' % SECRET.encode()
    body = b'{"batch":[' + piece + b"]}"
    row = refused(body)
    assert [one.code for one in row.violations] == ["malformed"]
    assert json.loads(row.payload).startswith("not kept: the plan marks personal data")
    assert hashlib.sha256(piece).hexdigest() in row.payload
    # A retry is the same row.
    assert refused(body).message_id == row.message_id
    # A plan that marks nothing leaves everything to look at.
    assert json.loads(refused(body, PLAIN).payload) == piece.decode()
    kept = json.loads(refused(batch(identify(extra=SECRET, traits={"x": 1})), PLAIN).payload)
    assert kept["extra"] == SECRET

"""What broke its plan is mended, judged again, and becomes an event with its own id and time."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.collector.kit import PLAN, batch, track

from desirepath.errors import InputError
from desirepath.plan import Plan
from desirepath_collector.admit import Admitter
from desirepath_collector.envelope import decode_batch
from desirepath_collector.plans import Plans
from desirepath_collector.quarantine import Repairs, Replay, Selection, replay, show, summary
from desirepath_collector.settings import Settings, Source
from desirepath_collector.warehouse import QuarantineRow, Sql, Warehouse

RECEIVED_MS = 1_700_000_000_000


@pytest.fixture
def plans() -> Plans:
    made = Plans(b"0123456789abcdef")
    made.go_live(Plan.parse(PLAN))
    return made


@pytest.fixture
def fill(warehouse: Warehouse, plans: Plans) -> Callable[..., list[QuarantineRow]]:
    """Put calls where admission would put them."""

    def put(*calls: dict[str, Any]) -> list[QuarantineRow]:
        body = json.dumps(batch(*calls, sentAt="2023-11-14T22:13:10.000Z")).encode()
        admitter = Admitter(plans, Settings())
        source = Source(write_key="k", name="web")
        rows = admitter.admit(decode_batch(body), source, RECEIVED_MS).rows
        refused = [row for row in rows if isinstance(row, QuarantineRow)]
        assert len(refused) == len(rows)
        warehouse.insert_quarantine(refused, "token")
        return refused

    return put


def again(
    warehouse: Warehouse, plans: Plans, repairs: Repairs | None = None, **options: Any
) -> Replay:
    dry_run = options.pop("dry_run", False)
    return replay(
        warehouse,
        Admitter(plans, Settings()),
        Selection(**options),
        repairs or Repairs(),
        by="tester",
        dry_run=dry_run,
    )


def events(warehouse: Warehouse) -> list[dict[str, Any]]:
    return warehouse.query(Sql("SELECT * FROM resolved_events ORDER BY message_id")).to_pylist(
        maps_as_pydicts="strict"
    )


def test_repairs_bring_an_event_back_as_it_was(
    warehouse: Warehouse, plans: Plans, fill: Callable[..., Any]
) -> None:
    fill(
        track("Bought", {"id": "A1", "total": "42.5", "junk": 1}, messageId="m1",
              timestamp="2023-11-14T22:13:00.000Z"),
    )  # fmt: skip
    assert events(warehouse) == []
    # As long as nothing is mended it stays broken, and says why.
    done = again(warehouse, plans)
    assert (done.seen, done.passed, done.refused) == (1, 0, 1)
    assert done.reasons["missing /properties/order_id"] == 1
    repairs = Repairs(rename={"id": "order_id"}, cast={"total": "number"}, set={"/event": "Bought"})
    assert again(warehouse, plans, repairs).refused == 1  # `junk` is still unplanned
    repairs = Repairs(rename={"id": "order_id", "junk": "/context/junk"}, cast={"total": "number"})
    trial = again(warehouse, plans, repairs, dry_run=True)
    assert (trial.passed, events(warehouse)) == (1, [])
    done = again(warehouse, plans, repairs)
    assert (done.seen, done.passed, done.refused) == (1, 1, 0)
    (event,) = events(warehouse)
    assert event["message_id"] == "m1"
    assert event["source"] == "web"
    assert event["properties"] == {"order_id": "A1", "total": "42.5"}
    # The client's clock was ten seconds fast, and the event ten seconds old when it was sent.
    assert round(event["received_at"].timestamp() * 1000) == RECEIVED_MS
    assert event["original_timestamp"].isoformat() == "2023-11-14T22:13:00+00:00"
    assert event["timestamp"].isoformat() == "2023-11-14T22:13:10+00:00"


def test_a_replay_is_idempotent_and_audited(
    warehouse: Warehouse, plans: Plans, fill: Callable[..., Any]
) -> None:
    fill(*(track("Bought", {"total": n}, messageId=f"m{n}") for n in range(20)))
    repairs = Repairs(default={"order_id": "unknown"})
    assert again(warehouse, plans, repairs).passed == 20
    for _ in range(3):
        assert again(warehouse, plans, repairs).seen == 0
    assert len(events(warehouse)) == 20
    assert summary(warehouse) == []
    audit = show(warehouse, "m7")["replayed"]
    assert (audit["plan"], audit["plan_version"], audit["by"]) == ("little", "1.0.0", "tester")
    assert json.loads(audit["repairs"])["default"] == {"order_id": "unknown"}


def test_a_replay_that_died_half_way_is_completed(
    warehouse: Warehouse,
    plans: Plans,
    fill: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from desirepath_collector import quarantine

    fill(*(track("Bought", {"total": n}, messageId=f"m{n}") for n in range(5)))
    repairs = Repairs(set={"order_id": "x"})

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(quarantine, "_audit", die)
        with pytest.raises(KeyboardInterrupt):
            again(warehouse, plans, repairs)
    assert again(warehouse, plans, repairs).passed == 5
    assert len(events(warehouse)) == 5


def test_a_mended_plan_is_enough(
    warehouse: Warehouse, plans: Plans, fill: Callable[..., Any]
) -> None:
    fill(track("Unheard", {"a": 1}, messageId="m1", context={"plan": "little@1.0.0"}))
    assert again(warehouse, plans).refused == 1
    plans.go_live(
        Plan.parse(PLAN.replace("1.0.0", "1.1.0") + "  Unheard: {properties: {a: integer}}\n")
    )
    assert again(warehouse, plans).passed == 1
    assert events(warehouse)[0]["plan_version"] == "1.1.0"


def test_selections(warehouse: Warehouse, plans: Plans, fill: Callable[..., Any]) -> None:
    fill(
        track("Bought", {"total": 1}, messageId="m1"),
        track("Bought", {"order_id": 7}, messageId="m2"),
        track("Other", {}, messageId="m3"),
    )
    seen = lambda **options: again(warehouse, plans, **options).seen  # noqa: E731
    assert seen() == 3
    assert seen(event="Bought") == 2
    assert seen(code="missing") == 1
    assert seen(ids=("m2", "m3", "none")) == 2
    assert seen(since="2023-11-14T22:13:20Z") == 3
    assert seen(since="2023-11-14T22:13:21Z") == 0
    with pytest.raises(InputError):
        seen(since="yesterday")
    found = {(row["event"], row["code"], row["events"]) for row in summary(warehouse)}
    assert found == {
        ("Bought", "missing", 1),
        ("Bought", "type", 1),
        ("Other", "unplanned_event", 1),
    }
    with pytest.raises(InputError):
        show(warehouse, "none")


def test_personal_data_stays_hashed(
    warehouse: Warehouse, plans: Plans, fill: Callable[..., Any]
) -> None:
    (row,) = fill(
        {"type": "identify", "userId": "u", "messageId": "m", "traits":
            {"email": "a@example.com", "x": 1}}
    )  # fmt: skip
    assert "a@example.com" not in row.payload
    hashed = json.loads(row.payload)["traits"]["email"]
    repairs = Repairs(rename={"x": "/context/x"})
    assert again(warehouse, plans, repairs).passed == 1
    assert events(warehouse)[0]["properties"] == {"email": hashed}


def test_the_list_fits_a_terminal_and_crops_nothing(
    warehouse: Warehouse,
    fill: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from desirepath_collector.commands import quarantine as command

    monkeypatch.setenv("COLUMNS", "80")
    ids = ["01a200ea-16b2-7794-9572-e20c8bc0b5a8", "01a200ea-16b2-7794-9572-e20c8bc0b5a9"]
    name = "a_property_with_quite_a_long_name_that_nobody_ever_planned_for_anything"
    fill(
        track("Bought", {"order_id": "A", name: 1}, messageId=ids[0]),
        {"type": "identify", "userId": "u", "traits": {"email": "x"}, "messageId": ids[1]},
    )
    command._print_table(summary(warehouse))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert all(any(one in line for line in lines) for one in ids)
    assert name in "".join("".join(lines).split())
    text = "\n".join(lines)
    assert "format /traits/email" in text
    assert "identify" in text
    assert "2023-11-14 22:13:20" in text
    assert "…" not in text
    assert "." not in text


def test_many_pages(
    warehouse: Warehouse,
    plans: Plans,
    fill: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from desirepath_collector import quarantine

    monkeypatch.setattr(quarantine, "_PAGE_ROWS", 7)
    fill(*(track("Bought", {"total": n}, messageId=f"m{n:03}") for n in range(50)))
    done = again(warehouse, plans, Repairs(set={"order_id": "x"}))
    assert (done.seen, done.passed) == (50, 50)


@pytest.mark.parametrize(
    ("value", "kind", "result"),
    [
        ("12", "integer", 12), ("12.0", "number", 12), ("1.5", "number", 1.5), (3, "string", "3"),
        ("yes", "boolean", True), ("0", "boolean", False), (None, "number", None),
        ({"a": 1}, "string", '{"a":1}'),
    ],
)  # fmt: skip
def test_casts(value: Any, kind: str, result: Any) -> None:
    call = track(properties={"p": value})
    Repairs(cast={"p": kind}).apply(call)
    assert call["properties"]["p"] == result


@pytest.mark.parametrize(
    ("value", "kind"), [("x", "number"), ("1.5", "integer"), ("maybe", "boolean")]
)
def test_a_cast_that_cannot_be_is_a_reason(
    value: str, kind: str, warehouse: Warehouse, plans: Plans, fill: Callable[..., Any]
) -> None:
    fill(track("Bought", {"total": value}))
    done = again(warehouse, plans, Repairs(cast={"total": kind}))
    assert (done.refused, done.reasons) == (1, {"repair /properties/total": 1})
    (example,) = done.examples.values()
    assert example.startswith(f"{value!r} is no {kind} (")


def test_each_reason_has_an_example(
    warehouse: Warehouse, plans: Plans, fill: Callable[..., Any]
) -> None:
    fill(*(track("Bought", {"total": "x", "order_id": n}, messageId=f"m{n}") for n in range(3)))
    done = again(warehouse, plans)
    assert done.reasons == {"type /properties/order_id": 3, "type /properties/total": 3}
    assert done.examples == {
        "type /properties/order_id": "expected string, found 0 (m0)",
        "type /properties/total": 'expected number, found "x" (m0)',
    }


def test_a_hash_of_what_the_plan_forbids_stays_forbidden(
    warehouse: Warehouse, plans: Plans, fill: Callable[..., Any]
) -> None:
    fill({"type": "identify", "userId": "u", "messageId": "m", "traits": {"email": "no mail"}})
    for repairs in (
        Repairs(), Repairs(cast={"email": "string"}), Repairs(default={"email": "a@example.com"}),
        Repairs(set={"other": 1}), Repairs(set={"email": "still none"}),
    ):  # fmt: skip
        done = again(warehouse, plans, repairs)
        assert (done.refused, done.reasons["format /traits/email"]) == (1, 1)
    assert "--set" in again(warehouse, plans).examples["format /traits/email"]
    # Set anew, moved to where nothing is asked of it, or asked nothing any more, it passes.
    repairs = Repairs(set={"email": "a@example.com"})
    assert again(warehouse, plans, repairs, dry_run=True).passed == 1
    repairs = Repairs(rename={"email": "/context/kept"})
    assert again(warehouse, plans, repairs, dry_run=True).passed == 1
    plans.go_live(Plan.parse(PLAN.replace("1.0.0", "1.1.0").replace("format: email, ", "")))
    assert again(warehouse, plans).passed == 1


def test_a_hash_that_was_only_unplanned_passes_once_it_is_planned(
    warehouse: Warehouse, plans: Plans, fill: Callable[..., Any]
) -> None:
    fill(track("Bought", {"order_id": "A", "email": "a@example.com"}, messageId="m"))
    assert again(warehouse, plans).reasons == {"unplanned_property /properties/email": 1}
    planned = "      email: {type: string, format: email, pii: hash}\n      order_id:"
    wider = PLAN.replace("1.0.0", "1.1.0").replace("      order_id:", planned)
    plans.go_live(Plan.parse(wider))
    assert again(warehouse, plans).passed == 1


def test_an_id_that_was_none_stays_none(
    warehouse: Warehouse, plans: Plans, fill: Callable[..., Any]
) -> None:
    fill(track("Bought", {"order_id": "A"}, userId={"email": "a@example.com"}, messageId="m"))
    assert again(warehouse, plans).reasons == {"type /userId": 1}
    assert again(warehouse, plans, Repairs(set={"/userId": "u"})).passed == 1


def test_an_unknown_cast_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="cannot cast"):
        Repairs(cast={"p": "date"})

"""Erased means erased: no query, no file, no replay brings a person back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.warehouse.rows import T0, alias, event, identify

from desirepath.errors import InputError
from desirepath.plan.violations import Violation
from desirepath_collector.warehouse import EventRow, QuarantineRow, Sql, Warehouse

Ask = Callable[..., list[tuple[object, ...]]]
SECRETS = ("zelda-user-id", "zelda-device", "zelda-old-id", "zelda@example.org")


def zelda() -> list[EventRow]:
    user, device, old, mail = SECRETS
    return [
        event("z1", anonymous_id=device, properties={"mail": mail}),
        identify("z2", user, device, properties={"email": mail}),
        alias("z3", user, old),
        event("z4", user_id=old, group_id="g"),
    ]


def broken() -> QuarantineRow:
    return QuarantineRow(
        "z5", "track", "X", SECRETS[0], "", T0, T0, "web", "shop", "1.0.0",
        (Violation("unplanned_event", ""),), f'{{"userId":"{SECRETS[0]}"}}',
    )  # fmt: skip


def test_nothing_is_left_of_a_person(warehouse: Warehouse, ask: Ask, database: str) -> None:
    others = [event(f"m{i}", user_id=f"u{i}") for i in range(100)]
    warehouse.insert_events([*zelda(), *others, identify("o", "u1", "a1")], "1")
    warehouse.insert_quarantine([broken()], "1")
    receipt = warehouse.erase("zelda-device")
    assert receipt.ids == 3
    assert receipt.rows == {
        "events": 4, "identities": 2, "identity_links": 4, "quarantine": 1, "traits": 1
    }  # fmt: skip
    assert receipt.bytes_gone_at is not None
    assert receipt.bytes_gone_at >= receipt.hidden_at
    assert ask("SELECT count(), uniqExact(person_id) FROM resolved_events") == [(101, 100)]
    tables = ask(
        "SELECT name FROM system.tables WHERE database = {db:String} AND engine LIKE '%MergeTree'",
        db=database,
    )
    for (table,) in tables:
        text = str(warehouse.query(Sql(f"SELECT * FROM {table}")).to_pylist())
        assert not [secret for secret in SECRETS if secret in text], table
    assert ask(
        "SELECT count() FROM system.parts WHERE database = {db:String} AND NOT active "
        "AND table IN {names:Array(String)}",
        db=database, names=list(receipt.rows),
    ) == [(0,)]  # fmt: skip
    if warehouse.path is not None:
        found = [
            file
            for file in Path(warehouse.path).rglob("*")
            if file.is_file() and any(secret.encode() in file.read_bytes() for secret in SECRETS)
        ]
        assert found == []


def test_late_events_and_replays_stay_out_and_new_ones_come_in(
    warehouse: Warehouse, ask: Ask
) -> None:
    warehouse.insert_events(zelda(), "1")
    warehouse.erase("zelda-user-id", wait=False)
    warehouse.insert_events([*zelda(), event("m1", user_id="u1")], "2")
    warehouse.insert_quarantine([broken()], "2")
    assert ask("SELECT message_id FROM resolved_events") == [("m1",)]
    assert ask("SELECT count() FROM quarantine") == [(0,)]
    later = T0 + 100 * 365 * 86_400_000
    warehouse.insert_events(
        [event("z9", at=later, user_id="zelda-user-id", received_at=later)], "3"
    )
    assert ask("SELECT message_id FROM resolved_events ORDER BY 1") == [("m1",), ("z9",)]


def test_nobody_to_erase(warehouse: Warehouse, ask: Ask) -> None:
    with pytest.raises(InputError, match="nobody is known"):
        warehouse.erase("nobody")
    with pytest.raises(InputError, match="nobody is known"):
        warehouse.export("nobody")
    assert ask("SELECT count() FROM erasures") == [(0,)]


def test_export_is_everything(warehouse: Warehouse) -> None:
    warehouse.insert_events([*zelda(), event("m1", user_id="u1")], "1")
    warehouse.insert_quarantine([broken()], "1")
    for one in SECRETS[:3]:
        answer = warehouse.export(one)
        assert answer["ids"] == sorted(SECRETS[:3])
        assert {row["message_id"] for row in answer["events"]} == {"z1", "z2", "z3", "z4"}
        assert [(row["trait"], row["value"]) for row in answer["traits"]] == [("email", SECRETS[3])]
        assert [row["message_id"] for row in answer["quarantine"]] == ["z5"]

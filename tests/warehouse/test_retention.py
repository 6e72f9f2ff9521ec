"""Events are kept as long as their class says, and no longer."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from tests.warehouse.rows import event

from desirepath.errors import SettingsError
from desirepath_collector.warehouse import Sql, Warehouse

DAY = 86_400_000


def test_each_class_has_its_time(
    warehouse: Warehouse, ask: Callable[..., list[tuple[object, ...]]]
) -> None:
    now = int(time.time() * 1000)
    warehouse.insert_events(
        [
            event("old-a", "It's A", now - 8 * DAY, user_id="u"),
            event("new-a", "It's A", now - 6 * DAY, user_id="u"),
            event("old-b", "B", now - 40 * DAY, user_id="u"),
            event("new-b", "B", now - 8 * DAY, user_id="u"),
            event("far", "B", 10**13, user_id="u"),
        ],
        "1",
    )
    warehouse.retain(30, {"It's A": 7}, quarantine_days=90)
    warehouse.command(Sql("OPTIMIZE TABLE events FINAL"))
    kept = ask("SELECT message_id FROM resolved_events ORDER BY 1")
    assert kept == [("far",), ("new-a",), ("new-b",)]
    for _ in range(2):
        warehouse.retain(None)
    assert "TTL" not in str(warehouse.command(Sql("SHOW CREATE TABLE events")))


def test_no_time_at_all_is_a_mistake(warehouse: Warehouse) -> None:
    with pytest.raises(SettingsError, match="0 days"):
        warehouse.retain(0)

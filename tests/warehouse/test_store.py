"""Insert, dedupe, resolve, ask."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
import pytest
from tests.warehouse.rows import T0, alias, event, identify

from desirepath.errors import WarehouseError
from desirepath.plan.violations import Violation
from desirepath_collector.warehouse import (
    EventRow,
    QuarantineRow,
    Sql,
    Warehouse,
    connect,
    repeats,
)
from desirepath_collector.warehouse.engine import Handles, over_http
from desirepath_collector.warehouse.repeats import Repeats


def test_an_event_comes_back_as_it_went_in(warehouse: Warehouse, ask: Callable[..., list]) -> None:
    violation = Violation("type", "/properties/total", "number", '"x"')
    properties = {
        "name": 'a "quoted" \\ name\n', "price": 1.5, "big": 123456789012345678901234567890,
        "ok": True, "none": None, "list": [{"id": 1}], "object": {"deep": {"er": 1}}, "é": "ü",
    }  # fmt: skip
    context = {"page": {"url": "https://x.y/", "size": {"w": 1}}, "ip": "1.2.3.4", "tags": ["a"]}
    warehouse.insert_events(
        [event("m1", properties=properties, context=context, user_id="u",
               session_id="s", group_id="g", violations=(violation,))],
        "t1",
    )  # fmt: skip
    table = warehouse.query(Sql("SELECT * FROM resolved_events"))
    assert table.column_names == [*EventRow.__struct_fields__, "person", "person_id"]
    row = table.to_pylist()[0]
    assert dict(row["properties"]) == {
        "name": 'a "quoted" \\ name\n', "price": "1.5", "big": "123456789012345678901234567890",
        "ok": "true", "list": '[{"id":1}]', "object": '{"deep":{"er":1}}', "é": "ü",
    }  # fmt: skip
    assert dict(row["context"]) == {
        "page.url": "https://x.y/", "page.size.w": "1", "ip": "1.2.3.4", "tags": '["a"]'
    }  # fmt: skip
    assert row["violations"] == [msgspec.structs.asdict(violation)]
    assert row["timestamp"].isoformat() == "2026-01-01T00:00:00+00:00"
    assert (row["person_id"], row["session_id"], row["group_id"]) == ("u", "s", "g")


def test_a_token_inserts_once(warehouse: Warehouse, ask: Callable[..., list]) -> None:
    rows = [event(f"m{i}", user_id="u") for i in range(10)]
    for _ in range(3):
        warehouse.insert_events(rows, "same")
    assert ask("SELECT count() FROM events") == [(10,)]
    warehouse.insert_events(rows, "another")
    assert ask("SELECT count() FROM events") == [(20,)]
    assert ask("SELECT count() FROM resolved_events") == [(10,)]


def test_a_retry_with_another_clock_correction_is_one_event(
    warehouse: Warehouse, ask: Callable[..., list]
) -> None:
    first = event("m1", user_id="u")
    again = event(
        "m1", user_id="u", timestamp=T0 + 86_400_000, sent_at=T0 + 50, received_at=T0 + 86_400_060
    )
    warehouse.insert_events([first], "a")
    warehouse.insert_events([event("m2", user_id="u"), again], "b")
    assert ask("SELECT count() FROM resolved_events WHERE message_id = 'm1'") == [(1,)]


def test_a_retry_without_a_time_of_its_own_after_a_restart(
    engine: str, warehouse: Warehouse, ask: Callable[..., list]
) -> None:
    now = time.time_ns() // 1_000_000

    def timeless(message_id: str, at: int) -> EventRow:
        return event(message_id, at=at, user_id="u", received_at=at)

    batch = [timeless("m1", now - 2000), timeless("m2", now - 2000)]
    warehouse.insert_events(batch, "a")
    with Warehouse.open(engine, database=warehouse.database) as restarted:
        # The batch of a killed collector is repeated whole, whatever became of its token.
        restarted.insert_events(batch, "b")
        retry = [timeless("m1", now), event("m2", at=now, user_id="u"), timeless("m3", now)]
        restarted.insert_events(retry, "c")
    assert ask("SELECT count() FROM events") == [(6,)]
    # Another timestamp that the client gave is another event.
    assert ask("SELECT message_id, count() AS n FROM resolved_events GROUP BY 1 ORDER BY 1") == [
        ("m1", 1), ("m2", 2), ("m3", 1)
    ]  # fmt: skip


def test_the_repeats_before_the_start_are_forgotten_in_time(
    engine: str, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time_ns() // 1_000_000
    rows = [event(f"m{i}", at=now - 9000 + i, received_at=now - 9000 + i) for i in range(5)]
    old = now - (repeats.DAYS + 2) * 86_400_000
    warehouse.insert_events([*rows, event("old", at=old, received_at=old)], "1")
    assert Repeats(warehouse._handles)._recent().keys() == {f"m{i}" for i in range(5)}
    monkeypatch.setattr(repeats, "REMEMBERED", 2)
    found = Repeats(warehouse._handles)
    assert found.fresh([event("m3", at=now, received_at=now)]) == []
    assert found._arrived is not None
    assert found._arrived.keys() == {"m4", "m3"}
    assert len(found.fresh([event(f"n{i}") for i in range(3)])) == 3
    assert found._arrived == {}


def test_repeats_that_cannot_be_looked_up(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    away = Handles(over_http("http://127.0.0.1:1", "x", read_only=False))
    waiting = Repeats(away)
    for _ in range(repeats._TRIES + 1):
        with pytest.raises(WarehouseError) as caught:
            waiting.fresh([event("m")])
        assert caught.value.retryable
    monkeypatch.setattr(repeats, "_RECENT", "SELECT {since:UInt32} + {most:UInt32} + throwIf(1)")
    assert len(Repeats(warehouse._handles).fresh([event("m")])) == 1
    assert "cannot be told" in caplog.text


def test_events_before_identify_belong_to_the_person(
    warehouse: Warehouse, ask: Callable[..., list]
) -> None:
    warehouse.insert_events([event("m1", anonymous_id="a1"), event("m2", anonymous_id="a2")], "1")
    assert ask("SELECT DISTINCT person_id FROM resolved_events ORDER BY 1") == [("a1",), ("a2",)]
    warehouse.insert_events([identify("m3", "u1", "a1", properties={"country": "SE"})], "2")
    people = ask("SELECT message_id, person_id FROM resolved_events ORDER BY 1")
    assert people == [("m1", "u1"), ("m2", "a2"), ("m3", "u1")]
    warehouse.insert_events([alias("m4", "u1", "a2", at=T0 + 5)], "3")
    assert ask("SELECT DISTINCT person_id FROM resolved_events") == [("u1",)]
    traits = ask("SELECT person_id, trait, value FROM resolved_traits")
    assert traits == [("u1", "country", "SE")]


def test_the_latest_trait_of_a_person_counts(
    warehouse: Warehouse, ask: Callable[..., list]
) -> None:
    rows = [
        identify("m1", "", "a", at=T0 + 2, properties={"country": "SE", "age": 3}),
        identify("m2", "u", "a", at=T0 + 1, properties={"country": "NL", "name": "x"}),
    ]
    warehouse.insert_events(rows, "1")
    assert ask("SELECT person_id, trait, value FROM resolved_traits ORDER BY trait") == [
        ("u", "age", "3"), ("u", "country", "SE"), ("u", "name", "x")
    ]  # fmt: skip


def test_quarantine(warehouse: Warehouse, ask: Callable[..., list]) -> None:
    row = QuarantineRow("m1", "track", "X", "u", "", T0, T0, "web", "shop", "1.0.0",
                        (Violation("unplanned_event", ""),), '{"event":"X"}')  # fmt: skip
    for token in ("a", "a", "b"):
        warehouse.insert_quarantine([row], token)
    found = ask("SELECT message_id, violations, payload FROM quarantine FINAL")
    assert len(found) == 1
    assert found[0][1][0]["code"] == "unplanned_event"


def test_times_beyond_the_calendar_stay_in_it(
    warehouse: Warehouse, ask: Callable[..., list]
) -> None:
    rows = [
        event("m1", original_timestamp=10**17, user_id="u"),
        event("m2", original_timestamp=-(10**17), user_id="u"),
        event("m3", original_timestamp=10**30, user_id="u"),
    ]
    warehouse.insert_events(rows, "1")
    years = ask("SELECT toYear(original_timestamp) FROM resolved_events ORDER BY message_id")
    assert years == [(2299,), (1900,), (2299,)]


def test_connect_reads_what_this_process_holds(
    engine: str, warehouse: Warehouse, database: str
) -> None:
    warehouse.insert_events([event("m1", user_id="u")], "1")
    with connect(engine, database=database) as reader:
        frame = reader.query_df(Sql("SELECT person_id FROM resolved_events"))
        assert frame.person_id.tolist() == ["u"]
        with pytest.raises(WarehouseError, match="readonly"):
            reader.command(Sql("TRUNCATE TABLE events"))
        with pytest.raises(WarehouseError, match="readonly"):
            reader.insert_events([event("m2", user_id="u")], "2")


def test_an_empty_answer_has_its_columns(warehouse: Warehouse) -> None:
    table = warehouse.query(Sql("SELECT person_id, timestamp FROM resolved_events"))
    assert table.num_rows == 0
    assert table.column_names == ["person_id", "timestamp"]
    settings = {"max_threads": 1}
    frame = warehouse.query_df(Sql("SELECT event FROM resolved_events", settings=settings))
    assert list(frame.columns) == ["event"]


def test_no_warehouse_yet(tmp_path: object) -> None:
    with pytest.raises(WarehouseError, match="no warehouse at") as caught:
        connect(f"{tmp_path}/nothing")
    assert "desirepath serve" in (caught.value.hint or "")


def test_what_the_engine_cannot_read_is_kept_whole(
    warehouse: Warehouse, ask: Callable[..., list]
) -> None:
    huge = b'{"a":1e400,"b":"x"}'
    rows = [
        event("m1", user_id="u", properties=msgspec.Raw(huge)),
        event("m2", user_id="u", properties=msgspec.Raw(b'{"a":null}')),
        event("m3", user_id="u", properties=msgspec.Raw(b"")),
    ]
    warehouse.insert_events(rows, "1")
    found = ask("SELECT properties FROM resolved_events ORDER BY message_id")
    assert [dict(row[0]) for row in found] == [{"$unfit": huge.decode()}, {}, {}]


@pytest.mark.parametrize(
    "field",
    [
        {"event": "\ud800"},
        {"user_id": 7},
        {"context": msgspec.Raw(b"[1]")},
        {"context": msgspec.Raw(b"{broken")},
    ],
)
def test_a_row_that_cannot_be_written_is_permanent(
    warehouse: Warehouse, field: dict[str, object]
) -> None:
    with pytest.raises(WarehouseError) as caught:
        warehouse.insert_events([event("m1", **field)], "1")  # type: ignore[arg-type]
    assert not caught.value.retryable


def test_a_server_that_is_away_is_retryable() -> None:
    with pytest.raises(WarehouseError) as caught:
        Warehouse.open("http://127.0.0.1:1/x")
    assert caught.value.retryable
    with pytest.raises(WarehouseError):
        connect("http://127.0.0.1:1/x")

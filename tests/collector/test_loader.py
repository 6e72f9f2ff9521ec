"""From the spool to the store: once, in spite of whatever the store and the process do."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.collector.kit import MemoryStore, codes

from desirepath.errors import WarehouseError
from desirepath.journal import Journal
from desirepath_collector import loader as loading
from desirepath_collector.loader import Loader
from desirepath_collector.settings import Settings
from desirepath_collector.telemetry import Telemetry
from desirepath_collector.warehouse import EventRow, QuarantineRow, Sql, Warehouse

EMPTY = msgspec.Raw(b"{}")


def event(message_id: str) -> EventRow:
    return EventRow(
        message_id, "track", "Seen", "u1", "a1", "", "", "", 1, 2, 3, 4, "dev", "", "", EMPTY, EMPTY
    )


def quarantined(message_id: str) -> QuarantineRow:
    return QuarantineRow(message_id, "track", "Seen", "u1", "", 4, 3, "dev", "", "", (), "{}")


class Rig:
    """A journal, a store, and loaders that come and go."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = Journal.open(folder / "0", segment_bytes=64 * 1024)
        self.store = MemoryStore()
        self.telemetry = Telemetry()
        self.loader: Loader | None = None
        self.crashed: list[BaseException] = []

    def put(self, *rows: EventRow | QuarantineRow) -> None:
        self.journal.append(msgspec.json.encode(list(rows)))

    def start(self, **settings: Any) -> Loader:
        defaults = {"load_interval_s": 0.0, "retry_max_s": 0.01}
        made = msgspec.convert({**defaults, **settings}, Settings)
        frozen = self.folder / "0.frozen"
        self.loader = Loader(self.journal, self.store, frozen, made, self.telemetry)
        self.loader.start()
        return self.loader

    def wait(self, condition: Callable[[], object], timeout_s: float = 20) -> None:
        end_s = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end_s, "it did not happen in time"
            if self.loader is not None:
                self.loader.notify()
            time.sleep(0.002)

    def drained(self) -> None:
        self.wait(lambda: self.journal.pending_records == 0)

    def reopen(self) -> None:
        """As a new process would."""
        self.journal.close()
        self.journal = Journal.open(self.folder / "0", segment_bytes=64 * 1024)


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    monkeypatch.setattr(loading, "_FIRST_PAUSE_S", 0.001)
    made = Rig(tmp_path)
    yield made
    if made.loader is not None:
        made.loader.stop(5)
    made.journal.close()


def test_rows_go_where_they_belong(rig: Rig) -> None:
    rig.put(event("a"), quarantined("b"), event("c"))
    rig.start()
    rig.drained()
    assert [row.message_id for row in rig.store.rows] == ["a", "c"]
    assert [row.message_id for row in rig.store.refused] == ["b"]


def test_busy_times_make_large_inserts(rig: Rig) -> None:
    for number in range(200):
        rig.put(*(event(f"{number}-{n}") for n in range(100)))
    rig.start()
    rig.drained()
    assert len(rig.store.rows) == 20_000
    # A segment of this rig holds about 600 rows, and a batch never spans two segments.
    assert len(rig.store.events) < 60


def test_the_store_is_away_and_comes_back(rig: Rig) -> None:
    def away(table: str, rows: Any, token: str) -> None:
        raise WarehouseError("connection refused", retryable=True)

    rig.store.fault = away
    rig.put(event("a"))
    loader = rig.start()
    rig.wait(lambda: rig.store.tries > 20)
    assert loader.failure == "connection refused"
    assert rig.journal.pending_records == 1
    rig.store.fault = None
    rig.drained()
    rig.wait(lambda: loader.failure is None)
    assert rig.telemetry.load_failures.value("warehouse") >= 20


def test_an_answer_cut_after_the_commit_makes_no_duplicate(rig: Rig) -> None:
    """500 times: ClickHouse stored the batch, and the connection broke before it said so."""
    broken = itertools.count()

    class Cut(MemoryStore):
        def _insert(self, table: str, kept: dict[str, Any], rows: Any, token: str) -> None:
            again = token in kept
            super()._insert(table, kept, rows, token)
            if not again:
                next(broken)
                raise WarehouseError("connection reset", retryable=True)

    rig.store = Cut()
    rig.start(load_max_rows=1, dedupe_window=0)
    for number in range(500):
        rig.put(event(str(number)))
    rig.drained()
    assert next(broken) == 500
    assert Counter(row.message_id for row in rig.store.rows) == Counter(map(str, range(500)))


class _Died(BaseException):
    pass


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("before_insert", [True, False])
def test_killed_around_the_insert(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, before_insert: bool
) -> None:
    rig.put(*(event(f"m{n}") for n in range(10)), quarantined("q"))
    rig.put(event("m0"), event("last"))

    def die(*_: Any) -> None:
        raise _Died

    if before_insert:
        rig.store.fault = die
    else:
        monkeypatch.setattr(rig.journal, "acknowledge", die)
    loader = rig.start()
    loader._thread.join(5)
    assert not loader._thread.is_alive()
    rig.store.fault = None
    rig.reopen()
    # The next life reads with other limits, but repeats the frozen batch as it was.
    rig.put(event("new"))
    rig.start(load_max_rows=1)
    rig.drained()
    found = Counter(row.message_id for row in rig.store.rows)
    assert found == Counter([*(f"m{n}" for n in range(10)), "last", "new"])
    assert len(rig.store.refused) == 1


def test_poison_rows_are_found_and_kept(rig: Rig) -> None:
    poison = {f"m{n}" for n in (0, 7, 8, 99)}

    def refuse(table: str, rows: Any, token: str) -> None:
        if table == "events" and any(row.message_id in poison for row in rows):
            raise WarehouseError("cannot parse", retryable=False)

    rig.store.fault = refuse
    rig.put(*(event(f"m{n}") for n in range(100)))
    rig.start()
    rig.drained()
    assert len(rig.store.rows) == 96
    assert {row.message_id for row in rig.store.refused} == poison
    for row in rig.store.refused:
        assert codes(row.violations) == {("storage", "")}
        call = msgspec.json.decode(row.payload)
        assert (call["type"], call["event"], call["userId"]) == ("track", "Seen", "u1")
    assert rig.telemetry.poison.value() == 4


def test_a_value_no_block_can_be_built_of_is_poison_too(rig: Rig) -> None:
    def overflow(table: str, rows: Any, token: str) -> None:
        if table == "events" and any(row.message_id == "m3" for row in rows):
            raise OverflowError("int too large")

    rig.store.fault = overflow
    rig.put(*(event(f"m{n}") for n in range(5)))
    rig.start()
    rig.drained()
    assert len(rig.store.rows) == 4


def test_a_broken_table_does_not_condemn_every_row(rig: Rig) -> None:
    def missing(table: str, rows: Any, token: str) -> None:
        if table == "events":
            raise WarehouseError("no such table", retryable=False)

    rig.store.fault = missing
    rig.put(*(event(f"m{n}") for n in range(1000)))
    loader = rig.start()
    rig.wait(lambda: loader.failure is not None)
    assert rig.store.refused == []
    rig.store.fault = None
    rig.drained()
    assert len(rig.store.rows) == 1000


def test_what_the_quarantine_refuses_is_set_aside(rig: Rig) -> None:
    def refuse(table: str, rows: Any, token: str) -> None:
        if table == "quarantine":
            raise WarehouseError("cannot parse", retryable=False)

    rig.store.fault = refuse
    rig.put(quarantined("q1"))
    rig.start()
    rig.drained()
    assert b'"q1"' in (rig.folder / "0.refused.jsonl").read_bytes()
    assert rig.telemetry.aside.value() == 1


def test_a_record_of_another_version_is_quarantined(rig: Rig) -> None:
    rig.journal.append(b'[["z",1]]')
    rig.put(event("a"))
    rig.start()
    rig.drained()
    assert len(rig.store.rows) == 1
    assert codes(rig.store.refused[0].violations) == {("storage", "")}


def test_stopping_loads_what_waits(rig: Rig) -> None:
    rig.put(*(event(f"m{n}") for n in range(10)))
    loader = rig.start(load_interval_s=60.0)
    time.sleep(0.05)
    assert rig.store.rows == []
    assert loader.stop(5)
    assert len(rig.store.rows) == 10


def test_stopping_does_not_wait_for_a_store_that_is_away(rig: Rig) -> None:
    def away(table: str, rows: Any, token: str) -> None:
        raise WarehouseError("connection refused", retryable=True)

    rig.store.fault = away
    rig.put(event("a"))
    loader = rig.start()
    rig.wait(lambda: rig.store.tries > 2)
    begun_s = time.monotonic()
    assert not loader.stop(0.2)
    assert time.monotonic() - begun_s < 2
    assert rig.journal.pending_records == 1


def test_memory_is_flat_while_the_store_is_away(rig: Rig) -> None:
    import tracemalloc

    def away(table: str, rows: Any, token: str) -> None:
        raise WarehouseError("connection refused", retryable=True)

    rig.store.fault = away
    record = msgspec.json.encode([event(f"m{n}") for n in range(100)])
    rig.start()
    tracemalloc.start()
    try:
        for _ in range(200):
            rig.journal.append(record)
        middle = tracemalloc.get_traced_memory()[0]
        for _ in range(2000):
            rig.journal.append(record)
        grown = tracemalloc.get_traced_memory()[0] - middle
    finally:
        tracemalloc.stop()
    assert grown < 8 << 20


def test_a_fault_of_our_own_does_not_end_the_loader(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = iter([RuntimeError("a bug"), OSError(5, "Input/output error"), ValueError("another")])
    acknowledge = rig.journal.acknowledge

    def faulty(*arguments: Any) -> None:
        for fault in faults:
            raise fault
        acknowledge(*arguments)

    monkeypatch.setattr(rig.journal, "acknowledge", faulty)
    rig.put(event("a"), event("b"))
    loader = rig.start()
    rig.drained()
    assert Counter(row.message_id for row in rig.store.rows) == {"a": 1, "b": 1}
    rig.wait(lambda: loader.failure is None)


@pytest.mark.parametrize("stage", ["_freeze", "_insert_events", "_insert_quarantine"])
def test_what_failed_before_the_insert_is_no_repeat(
    stage: str, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.put(event("a"), event("a"), quarantined("q"), event("b"))
    faults = iter([OSError(28, "No space left on device"), RuntimeError("a bug")])
    whole = getattr(Loader, stage)

    def faulty(*arguments: Any) -> None:
        for fault in faults:
            raise fault
        whole(*arguments)

    monkeypatch.setattr(Loader, stage, faulty)
    rig.start()
    rig.drained()
    assert Counter(row.message_id for row in rig.store.rows) == {"a": 1, "b": 1}
    assert len(rig.store.refused) == 1


def test_the_window_stays_fast_and_small() -> None:
    """200,000 ids through a window of a thousand: by the ids' number, not by its square."""
    window = loading._Window(1000)
    begun_s = time.process_time()
    for number in range(1000):
        batch: set[Any] = set()
        for n in range(200):
            assert not window.repeats(event(f"{number}-{n}"), batch)
        window.remember(batch)
    assert time.process_time() - begun_s < 5
    assert window.repeats(event("999-0"), set())
    assert window.repeats(event("995-0"), set())
    assert not window.repeats(event("0-0"), set())
    assert not window.repeats(quarantined("999-0"), set())
    assert len(window._young) + len(window._old) <= 2400


def test_a_restart_does_not_forget_what_came(
    rig: Rig, engine: str, database: str, warehouse: Warehouse
) -> None:
    """The same message without a timestamp before and after a restart is one event."""
    now = time.time_ns() // 1_000_000
    for life, at in enumerate((now - 5000, now)):
        with Warehouse.open(engine, database=database) as store:
            rig.store = store  # type: ignore[assignment]
            row = msgspec.structs.replace(
                event("again"), timestamp=at, original_timestamp=at, sent_at=at, received_at=at
            )
            rig.put(row, msgspec.structs.replace(row, message_id=f"new{life}"))
            loader = rig.start()
            rig.drained()
            assert loader.stop(5)
        rig.reopen()
    found = warehouse.query(Sql("SELECT message_id FROM resolved_events ORDER BY message_id"))
    assert found.column(0).to_pylist() == ["again", "new0", "new1"]


def test_two_spools_and_a_random_store_agree_with_the_oracle(rig: Rig) -> None:
    """Whatever fails in whatever order: everything once, nothing else."""
    rng = random.Random(4)
    lock = threading.Lock()

    class Moody(MemoryStore):
        def _insert(self, table: str, kept: dict[str, Any], rows: Any, token: str) -> None:
            with lock:
                mood = rng.random()
            if mood < 0.2:
                raise WarehouseError("away", retryable=True)
            super()._insert(table, kept, rows, token)
            if mood < 0.4:
                raise WarehouseError("cut", retryable=True)

    rig.store = Moody()
    rig.start(load_max_rows=7)
    for number in range(300):
        rig.put(*(event(f"{number}-{n}") for n in range(rng.randrange(1, 5))), event("twice"))
    rig.drained()
    found = Counter(row.message_id for row in rig.store.rows)
    assert set(found.values()) == {1}
    assert "twice" in found

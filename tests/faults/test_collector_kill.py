"""`kill -9` under load, again and again, judged by one oracle.

ClickHouse is away in most rounds, so a round costs a start and not an engine; what the collector
answered for must be in its spool. The last life has a warehouse and must bring everything into it.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import urllib3
from tests.collector.conftest import Server
from tests.collector.kit import MemoryStore, basic, batch, track

from desirepath.journal import Journal
from desirepath_collector.loader import Loader
from desirepath_collector.settings import Settings
from desirepath_collector.telemetry import Telemetry

ROUNDS = int(os.environ.get("DESIREPATH_KILL_ROUNDS", "4"))
"""A hundred take some three minutes; a few are run each time."""


class Sender(threading.Thread):
    """Posts batches as fast as it is answered, and remembers what it was promised."""

    def __init__(self, url: str, name: str) -> None:
        super().__init__(daemon=True)
        self.url = url
        self.prefix = name
        self.sent: set[str] = set()
        self.promised: set[str] = set()

    def run(self) -> None:
        pick = random.Random(self.prefix)
        with urllib3.PoolManager(retries=False, timeout=5) as http:
            for number in range(1_000_000):
                ids = [f"{self.prefix}-{number}-{n}" for n in range(pick.choice([1, 10, 200]))]
                calls = [track(messageId=each) for each in ids]
                if number % 3 == 0:
                    # One of them goes to quarantine, which is as good a promise.
                    calls[0]["userId"] = "null"
                self.sent.update(ids)
                body = json.dumps(batch(*calls)).encode()
                try:
                    answer = http.request(
                        "POST", f"{self.url}/v1/batch", body=body, headers=basic()
                    )
                    answered = answer.json()
                except (urllib3.exceptions.HTTPError, ValueError):
                    return
                if answer.status == 200:
                    assert answered["accepted"] + len(answered["quarantined"]) == len(ids)
                    self.promised.update(ids)


@pytest.fixture
def loads(tmp_path: Path) -> Callable[[], MemoryStore]:
    """Load the dead collector's spool as its next life would."""

    def load() -> MemoryStore:
        store = MemoryStore()
        spool = tmp_path / "data" / "spool"
        settings = msgspec.convert({"load_interval_s": 0.0}, Settings)
        with Journal.open(spool / "0") as journal:
            loader = Loader(journal, store, spool / "0.frozen", settings, Telemetry())
            loader.start()
            assert loader.stop(60)
        return store

    return load


def test_sigkill_under_load_loses_no_promise(
    tmp_path: Path, loads: Callable[[], MemoryStore]
) -> None:
    pick = random.Random(7)
    sent: set[str] = set()
    promised: set[str] = set()
    words = ("--data", str(tmp_path / "data"), "--clickhouse", "http://127.0.0.1:1")
    for number in range(ROUNDS):
        server = Server(words, {})
        senders = [Sender(server.url, f"{number}.{n}") for n in range(3)]
        for sender in senders:
            sender.start()
        time.sleep(pick.uniform(0.02, 0.4))
        server.stop(signal.SIGKILL)
        for sender in senders:
            sender.join(20)
            sent |= sender.sent
            promised |= sender.promised
    assert promised
    store = loads()
    found = Counter(row.message_id for row in [*store.rows, *store.refused])
    lost = promised - found.keys()
    assert not lost, f"{len(lost)} of {len(promised)} promised events are gone"
    assert found.keys() <= sent
    assert set(found.values()) == {1}
    assert {row.message_id for row in store.refused} == {
        one for one in found if one.endswith("-0") and int(one.split("-")[1]) % 3 == 0
    }


def test_overload_is_told_and_loses_no_promise(
    tmp_path: Path, loads: Callable[[], MemoryStore]
) -> None:
    """The spool is full: 503 with Retry-After, and what was taken before stays."""
    words = ("--data", str(tmp_path / "data"), "--clickhouse", "http://127.0.0.1:1")
    server = Server(words, {"DESIREPATH_SPOOL_MAX_BYTES": str(1 << 20)})
    promised: set[str] = set()
    statuses: Counter[int] = Counter()
    filler = "x" * 2000
    with urllib3.PoolManager(retries=False, timeout=10) as http:
        for number in range(60):
            ids = [f"{number}-{n}" for n in range(20)]
            calls: list[Any] = [track(properties={"f": filler}, messageId=one) for one in ids]
            answer = http.request(
                "POST",
                f"{server.url}/v1/batch",
                body=json.dumps(batch(*calls)).encode(),
                headers=basic(),
            )
            statuses[answer.status] += 1
            if answer.status == 200:
                promised.update(ids)
            else:
                assert answer.json()["error"]["code"] == "full"
                assert int(answer.headers["Retry-After"]) >= 1
        ready = http.request("GET", f"{server.url}/readyz")
        assert ready.status == 200 or ready.json()["spool_free_bytes"] == 0
    assert set(statuses) == {200, 503}
    server.stop(signal.SIGKILL)
    assert {row.message_id for row in loads().rows} == promised

"""`kill -9` between the answer and the load: what was answered with success is there, once."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import urllib3

from desirepath_analytics import connect
from desirepath_collector.warehouse import Sql

ROUNDS = 6
BATCH = 50


class Sender(threading.Thread):
    """Sends batches one after another and remembers which message ids were acknowledged."""

    def __init__(self, url: str, prefix: str) -> None:
        super().__init__(daemon=True)
        self.url = f"{url}/v1/batch"
        self.prefix = prefix
        self.sent: set[str] = set()
        self.acknowledged: set[str] = set()
        self.stopping = threading.Event()

    def run(self) -> None:
        headers = urllib3.make_headers(basic_auth="dev:")
        with urllib3.PoolManager(retries=False, timeout=5) as http:
            number = 0
            while not self.stopping.is_set():
                ids = [f"{self.prefix}-{number}-{n}" for n in range(BATCH)]
                batch = [
                    {"type": "track", "event": "Thing Done", "userId": "u1", "messageId": each}
                    for each in ids
                ]
                self.sent.update(ids)
                number += 1
                try:
                    answer = http.request("POST", self.url, json={"batch": batch}, headers=headers)
                except urllib3.exceptions.HTTPError:
                    return
                if answer.status == 200 and answer.json()["accepted"] == BATCH:
                    self.acknowledged.update(ids)


def test_sigkill_loses_nothing_that_was_answered(start_server: Any, tmp_path: Path) -> None:
    """Rounds at random moments on one folder; the last server must show everything, once."""
    rng = random.Random(20)
    acknowledged: set[str] = set()
    sent: set[str] = set()
    for number in range(ROUNDS):
        server = start_server(tmp_path / "data")
        senders = [Sender(server.http, f"r{number}s{n}") for n in range(2)]
        for sender in senders:
            sender.start()
        # Below the loader's pace, so that most rounds end between an answer and its load.
        time.sleep(rng.uniform(0.05, 1.2))
        server.kill()
        for sender in senders:
            sender.stopping.set()
            sender.join()
            acknowledged |= sender.acknowledged
            sent |= sender.sent
    assert acknowledged

    server = start_server(tmp_path / "data")
    with connect(str(server.data)) as warehouse:
        stored = wait_for(warehouse, acknowledged)
    assert not acknowledged - stored.keys(), "acknowledged events are missing"
    assert not stored.keys() - sent, "events are stored that nobody sent"
    assert max(stored.values()) == 1, "an event is visible twice"


def wait_for(warehouse: Any, wanted: set[str]) -> Counter[str]:
    """How often each message id is visible, once all wanted ones are or a minute has passed."""
    deadline = time.monotonic() + 60
    found: Counter[str] = Counter()
    while time.monotonic() < deadline:
        rows = warehouse.query(Sql("SELECT message_id FROM resolved_events"))
        found = Counter(rows["message_id"].to_pylist())
        if wanted <= found.keys():
            break
        time.sleep(0.2)
    return found

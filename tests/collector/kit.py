"""What the collector's tests share: a warehouse that only remembers, requests, waiting."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import aiohttp

from desirepath.plan import Plan
from desirepath_collector.app import Collector
from desirepath_collector.store import WarehouseStore
from desirepath_collector.warehouse import EventRow, QuarantineRow


def basic(key: str = "dev") -> dict[str, str]:
    """The header that Segment's clients send."""
    return {"Authorization": "Basic " + base64.b64encode(f"{key}:".encode()).decode()}


PLAN = """
plan: little
version: 1.0.0
context:
  app_version: {type: string, pattern: '^[0-9.]+$'}
traits:
  email: {type: string, format: email, pii: hash}
events:
  Bought:
    properties:
      order_id: {type: string, required: true}
      total: {type: number, minimum: 0}
  Seen:
    properties: {what: string}
    unplanned_properties: accept
"""


class MemoryStore(WarehouseStore):
    """Remembers rows by token, as ClickHouse does; `fault` may be set to fail an insert."""

    def __init__(self) -> None:
        super().__init__("http://memory", "memory")
        self.events: dict[str, list[EventRow]] = {}
        self.quarantine: dict[str, list[QuarantineRow]] = {}
        self.published_plans: list[Plan] = []
        self.fault: Callable[[str, Sequence[Any], str], None] | None = None
        self.tries = 0
        self._lock = threading.Lock()

    def open(self) -> None:
        pass

    def insert_events(self, rows: Sequence[EventRow], token: str) -> None:
        self._insert("events", self.events, rows, token)

    def insert_quarantine(self, rows: Sequence[QuarantineRow], token: str) -> None:
        self._insert("quarantine", self.quarantine, rows, token)

    def _insert(self, table: str, kept: dict[str, Any], rows: Sequence[Any], token: str) -> None:
        with self._lock:
            self.tries += 1
            if self.fault is not None:
                self.fault(table, rows, token)
            kept.setdefault(token, list(rows))

    def plan(self) -> Plan | None:
        return self.published_plans[-1] if self.published_plans else None

    def publish(self, plan: Plan) -> None:
        self.published_plans.append(plan)

    publish_now = publish

    def published(self) -> list[Plan]:
        return self.published_plans

    def close(self) -> None:
        pass

    @property
    def rows(self) -> list[EventRow]:
        return [row for rows in list(self.events.values()) for row in rows]

    @property
    def refused(self) -> list[QuarantineRow]:
        return [row for rows in list(self.quarantine.values()) for row in rows]


async def post(
    http: aiohttp.ClientSession,
    collector: Collector,
    body: Any,
    path: str = "/v1/batch",
    *,
    key: str | None = "dev",
    headers: dict[str, str] | None = None,
) -> tuple[int, dict[str, Any]]:
    """Post JSON (or bytes as they are); status and answer."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"Content-Type": "application/json", **(basic(key) if key else {}), **(headers or {})}
    async with http.post(collector.url + path, data=data, headers=sent) as answer:
        return answer.status, await answer.json()


def track(event: str = "Seen", properties: Any = None, **fields: Any) -> dict[str, Any]:
    """A track call."""
    call = {"type": "track", "event": event, "userId": "u1", "properties": properties or {}}
    return {**call, **fields}


def batch(*calls: Any, **fields: Any) -> dict[str, Any]:
    """A batch of calls."""
    return {"batch": list(calls), **fields}


async def until(condition: Callable[[], Any], timeout_s: float = 10.0) -> Any:
    """Wait until something holds; what it returned."""
    end_s = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < end_s, "it did not happen in time"
        await asyncio.sleep(0.01)
    return found


def codes(violations: Iterable[Any]) -> set[tuple[str, str]]:
    """(code, pointer) of violations, as structs or as JSON."""
    return {
        (one["code"], one["pointer"]) if isinstance(one, dict) else (one.code, one.pointer)
        for one in violations
    }

"""What arrives now, for whoever looks: the events of each durable request, with their verdicts.

A listener gets what its queue holds; one that is too slow misses events and is told how many. As
long as nobody listens, nothing is kept and nothing is computed. Personal data has been hashed or
dropped before it comes here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import msgspec

from desirepath_collector.warehouse.rows import EventRow, QuarantineRow

__all__ = ["Live"]

_QUEUE_EVENTS: Final = 1_000
_PING_S: Final = 15.0


class Live:
    """Hands events to listeners, on one event loop."""

    def __init__(self) -> None:
        self._listeners: set[asyncio.Queue[dict[str, Any]]] = set()
        self._missed: dict[asyncio.Queue[dict[str, Any]], int] = {}

    @property
    def listening(self) -> bool:
        """Whether anybody does."""
        return bool(self._listeners)

    def tell(self, rows: Sequence[EventRow | QuarantineRow]) -> None:
        """These events are durable."""
        for row in rows:
            told = _told(row)
            for queue in self._listeners:
                if queue.full():
                    self._missed[queue] = self._missed.get(queue, 0) + 1
                else:
                    queue.put_nowait(told)

    def close(self) -> None:
        """Let all listeners go."""
        for queue in self._listeners:
            while queue.full():
                queue.get_nowait()
            queue.put_nowait({})

    async def stream(self, event: str | None = None) -> AsyncIterator[bytes]:
        """Server-sent events: one `event` each, `missed` counts, comments to keep it open."""
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(_QUEUE_EVENTS)
        self._listeners.add(queue)
        try:
            yield b": desirepath live\n\n"
            while True:
                try:
                    told = await asyncio.wait_for(queue.get(), _PING_S)
                    if not told:
                        return
                except TimeoutError:
                    yield b": ping\n\n"
                    continue
                if missed := self._missed.pop(queue, 0):
                    yield b'event: missed\ndata: {"events":%d}\n\n' % missed
                if event is None or told["event"] == event:
                    yield b"event: event\ndata: " + msgspec.json.encode(told) + b"\n\n"
        finally:
            self._listeners.discard(queue)
            self._missed.pop(queue, None)


def _told(row: EventRow | QuarantineRow) -> dict[str, Any]:
    told: dict[str, Any] = {
        "message_id": row.message_id,
        "kind": row.kind,
        "event": row.event,
        "user_id": row.user_id,
        "anonymous_id": row.anonymous_id,
        "source": row.source,
        "received_at": row.received_at,
        "violations": row.violations,
    }
    if isinstance(row, EventRow):
        told["verdict"] = "violations" if row.violations else "accepted"
        told["timestamp"] = row.timestamp
        told["properties"] = row.properties
    else:
        told["verdict"] = "quarantined"
        told["payload"] = msgspec.Raw(row.payload.encode())
    return told

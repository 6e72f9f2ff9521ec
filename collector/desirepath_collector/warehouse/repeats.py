"""What a client repeats across a restart of the collector, where the sort key cannot tell.

A message without a time of its own happened when it came, so its retry has another original
timestamp and is another event to the tables. While the collector runs, the loader's window of
message ids removes it; a restart empties that window. So the first insert of a process looks up
which such messages came last, and their repeats are dropped. Rows that carry the very same
original timestamp stay: they are the batch that a killed collector repeats, and the tables know it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import Final

from desirepath.errors import WarehouseError
from desirepath_collector.warehouse.engine import Handles
from desirepath_collector.warehouse.rows import EventRow

__all__ = ["Repeats"]

REMEMBERED: Final = 100_000
"""Messages that are looked up, and then rows after which the loader's window has them all."""

DAYS: Final = 7
"""How far back they are looked for."""

_MAX_SECONDS: Final = 10
_TRIES: Final = 3

_log: Final = logging.getLogger(__name__)

# The order is the sort key's, read backwards: the newest days come first, should time run out.
_RECENT: Final = """
SELECT message_id, toUnixTimestamp64Milli(original_timestamp) AS at
FROM events
WHERE sent_after_ms + transit_ms = 0 AND toDate(original_timestamp) >= toDate({since:UInt32})
ORDER BY toDate(original_timestamp) DESC, original_timestamp DESC
LIMIT {most:UInt32}
"""


class Repeats:
    """Drops what was there, under another time of arrival, before this process began."""

    def __init__(self, handles: Handles) -> None:
        self._handles = handles
        self._guard = threading.Lock()
        self._arrived: dict[str, int] | None = None
        self._failed = 0
        self._inserted = 0

    def fresh(self, rows: Sequence[EventRow]) -> Sequence[EventRow]:
        """`rows` without the repeats.

        Raises
        ------
        WarehouseError
            While ClickHouse is away. What it refuses a few times is done without.
        """
        with self._guard:
            if self._arrived is None:
                self._arrived = self._recent()
            if not self._arrived:
                return rows
            arrived = self._arrived
            kept = [row for row in rows if not _repeats(row, arrived)]
            self._inserted += len(kept)
            if self._inserted > REMEMBERED:
                self._arrived = {}
            return kept

    def _recent(self) -> dict[str, int]:
        parameters = {"since": int(time.time()) - DAYS * 86_400, "most": REMEMBERED}
        settings = {"max_execution_time": _MAX_SECONDS, "timeout_overflow_mode": "break"}
        try:
            with self._handles.borrow() as client:
                table = client.query_arrow(_RECENT, parameters=parameters, settings=settings)
        except WarehouseError as error:
            with self._handles.borrow() as client:
                # Raises while ClickHouse is away; nothing can be inserted then either.
                client.command("SELECT 1")
            self._failed += 1
            if error.retryable and self._failed < _TRIES:
                raise
            _log.warning("repeats from before the start cannot be told: %s", error.message)
            return {}
        pairs = zip(table["message_id"].to_pylist(), table["at"].to_pylist(), strict=True)
        return dict(pairs)


def _repeats(row: EventRow, arrived: dict[str, int]) -> bool:
    at = row.original_timestamp
    return at == row.received_at and arrived.get(row.message_id, at) != at

"""The warehouse as the collector holds it: it may be away, and comes back.

An embedded warehouse is opened at the start or not at all. A ClickHouse server that cannot be
reached is tried again at each use, and says so with a retryable `WarehouseError`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from desirepath.errors import PlanError, WarehouseError
from desirepath.plan import Plan
from desirepath_collector.warehouse import EventRow, QuarantineRow, Sql, Warehouse

__all__ = ["WarehouseStore"]

_PUBLISHED: Final = """
SELECT argMax(source, published_at) AS source FROM plans GROUP BY name, version
"""

log = logging.getLogger("desirepath.store")


class WarehouseStore:
    """The warehouse, opened when it can be: a server that is away is tried again at each use."""

    def __init__(self, target: str, database: str) -> None:
        self._target = target
        self.embedded = not target.startswith(("http://", "https://"))
        self._database = database
        self._warehouse: Warehouse | None = None
        self._unpublished: Plan | None = None

    @property
    def warehouse(self) -> Warehouse:
        """The open warehouse.

        Raises
        ------
        WarehouseError
            If it cannot be opened now.
        """
        if self._warehouse is None:
            self._warehouse = Warehouse.open(self._target, self._database)
        if self._unpublished is not None:
            self._warehouse.publish(self._unpublished)
            self._unpublished = None
        return self._warehouse

    def open(self) -> None:
        """Open it, unless it is a server that is away now."""
        try:
            self.warehouse  # noqa: B018
        except WarehouseError as error:
            if not error.retryable:
                raise
            log.warning("ClickHouse is away, events wait in the spool: %s", error.message)

    def insert_events(self, rows: Sequence[EventRow], token: str) -> None:
        """As `Warehouse.insert_events`."""
        self.warehouse.insert_events(rows, token)

    def insert_quarantine(self, rows: Sequence[QuarantineRow], token: str) -> None:
        """As `Warehouse.insert_quarantine`."""
        self.warehouse.insert_quarantine(rows, token)

    def plan(self) -> Plan | None:
        """The plan that is live in the warehouse; None too while it is away."""
        return None if self._warehouse is None else self._warehouse.plan()

    def published(self) -> list[Plan]:
        """Every version that was ever published, its latest text; none while it is away."""
        if self._warehouse is None:
            return []
        table = self._warehouse.query(Sql(_PUBLISHED))
        found = []
        for source in table.column("source").to_pylist():
            try:
                found.append(Plan.parse(source, path="a published plan"))
            except PlanError as error:
                # Written by a version with other rules; events that name it meet the live plan.
                log.warning("%s", error)
        return found

    def publish(self, plan: Plan) -> None:
        """Publish a plan now, or when the warehouse is back."""
        if self._warehouse is None:
            self._unpublished = plan
        else:
            self._warehouse.publish(plan)

    def publish_now(self, plan: Plan) -> None:
        """Publish a plan; a WarehouseError if the warehouse is away."""
        self.warehouse.publish(plan)

    def close(self) -> None:
        """Let go of it."""
        if self._warehouse is not None:
            self._warehouse.close()
            self._warehouse = None

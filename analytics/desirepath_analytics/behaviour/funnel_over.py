"""A funnel's conversion over time: a funnel for each period in which attempts began.

A person counts in every period in which an attempt of theirs began, each time with the deepest,
earliest of that period. A period whose last attempts have not had their whole window yet is told
as incomplete: its conversion can still grow.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from desirepath_analytics.behaviour.periods import Grid, start_of
from desirepath_analytics.question import fetch
from desirepath_analytics.spec import Period

if TYPE_CHECKING:
    from desirepath_analytics.behaviour.funnel import Funnel, FunnelStep
    from desirepath_analytics.catalog import Catalog
    from desirepath_collector.warehouse import Warehouse

__all__ = ["FunnelPeriod", "over_time"]


class FunnelPeriod(msgspec.Struct, frozen=True):
    """The attempts that began in one period."""

    begins: datetime
    label: str
    complete: bool
    steps: tuple[FunnelStep, ...]

    def to_dict(self, unit: str) -> dict[str, Any]:
        """Plain data."""
        return {
            "period": self.label,
            "complete": self.complete,
            "steps": [step.to_dict(unit) for step in self.steps],
        }


def over_time(
    funnel: Funnel, warehouse: Warehouse, catalog: Catalog, period: Period
) -> tuple[FunnelPeriod, ...]:
    """The periods in order; those in which nobody began are left out."""
    from desirepath_analytics.behaviour.funnel import funnel_steps
    from desirepath_analytics.sql.bounds import bounds_sql
    from desirepath_analytics.sql.funnel import funnel_over_sql

    assert funnel.over is not None  # noqa: S101 (only called with one)
    end = min(period.until or datetime.now(UTC), datetime.now(UTC))
    if period.until is None:
        last = fetch(warehouse, bounds_sql(funnel.steps, catalog, period)).to_pylist()[0]
        end = last["high"].astimezone(UTC) if last["n"] else end
    window = timedelta(milliseconds=funnel.window_ms or 0)
    found = []
    for row in fetch(warehouse, funnel_over_sql(funnel, catalog, period)).to_pylist():
        number = int(row["v"][0])
        grid = Grid(funnel.over, funnel.timezone, number, 1, end)
        over = start_of(number + 1, funnel.over, funnel.timezone) + window <= end
        steps = funnel_steps(funnel.steps, row)
        found.append(FunnelPeriod(grid.start(0), grid.label(0), over, steps))
    return tuple(sorted(found, key=lambda one: one.begins))

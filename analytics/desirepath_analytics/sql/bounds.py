"""The first and the last moment of the events that a question is about."""

# ruff: noqa: S608 (every value is bound, see sql/build.py)
from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from desirepath_analytics.spec import Period, Step
from desirepath_analytics.sql.build import Statement

if TYPE_CHECKING:
    from desirepath_analytics.catalog import Catalog
    from desirepath_collector.warehouse import Sql

__all__ = ["bounds_sql"]


def bounds_sql(steps: Sequence[Step], catalog: Catalog, period: Period) -> Sql:
    """One row: `n`, `low`, `high`."""
    s = Statement(catalog)
    s.check_steps(steps, "event")
    where = [s.only_events(steps), *s.period(period)]
    return s.sql(
        "SELECT count() AS n, min(timestamp) AS low, max(timestamp) AS high"
        f" FROM resolved_events WHERE {' AND '.join(where)}"
    )

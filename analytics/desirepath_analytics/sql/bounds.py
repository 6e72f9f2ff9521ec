"""The first and the last moment of the events that a question is about."""

# ruff: noqa: S608 (every value is bound, see sql/build.py)
from __future__ import annotations

from typing import TYPE_CHECKING

from desirepath_analytics.spec import Period
from desirepath_analytics.sql.build import Statement

if TYPE_CHECKING:
    from desirepath_analytics.behaviour.over_time import OverTime
    from desirepath_analytics.catalog import Catalog
    from desirepath_collector.warehouse import Sql

__all__ = ["bounds_sql"]


def bounds_sql(question: OverTime, catalog: Catalog, period: Period) -> Sql:
    """One row: `n`, `low`, `high`."""
    s = Statement(catalog)
    steps = question.steps_read()
    s.check_steps(steps, "event")
    where = [s.only_events(steps), *s.period(period)]
    return s.sql(
        "SELECT count() AS n, min(timestamp) AS low, max(timestamp) AS high"
        f" FROM resolved_events WHERE {' AND '.join(where)}"
    )

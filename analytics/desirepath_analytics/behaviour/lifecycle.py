"""How many people are new, returning, resurrecting and dormant in each period.

New: active for the first time ever. Returning: active, as in the period before. Resurrecting:
active, not in the period before, but earlier. Dormant: not active, but in the period before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

import msgspec

from desirepath_analytics.behaviour.over_time import OverTime
from desirepath_analytics.behaviour.periods import Grid
from desirepath_analytics.question import Result, fetch
from desirepath_analytics.spec import ANY_EVENT, Period, Step

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from desirepath_analytics.catalog import Catalog
    from desirepath_collector.warehouse import Sql, Warehouse

__all__ = ["STATES", "Lifecycle", "LifecyclePeriod", "LifecycleResult"]

STATES = ("new", "returning", "resurrecting", "dormant")


@dataclass(frozen=True, init=False, repr=False)
class Lifecycle(OverTime):
    """Who comes, stays, comes back and leaves.

    Parameters
    ----------
    event
        What being active means: an event, a list, a step's mapping; any event if left out.
    unit, timezone
        `hour`, `day`, `week` (from Monday) or `month`, in this zone.
    where, segment
        As in `Funnel`.
    """

    kind: ClassVar[str] = "lifecycle"
    keys: ClassVar = ("event", "unit", "timezone", "where", "segment")
    defaults: ClassVar = {"event": ANY_EVENT, "unit": "week", "timezone": "UTC"}

    event: Step

    def __init__(
        self,
        event: Any = ANY_EVENT,
        *,
        unit: str = "week",
        timezone: str = "UTC",
        where: Any = None,
        segment: Any = None,
    ) -> None:
        self._put(
            unit=unit,
            timezone=timezone,
            by=None,
            where=where,
            segment=segment,
            event=Step.of(event, "event"),
        )

    def steps_read(self) -> Sequence[Step]:
        """What being active means."""
        return (self.event,)

    def statement(self, catalog: Catalog, period: Period, grid: Grid) -> Sql:
        """The SQL over a bounded range."""
        from desirepath_analytics.sql.presence import lifecycle_sql

        return lifecycle_sql(self, catalog, period, grid)

    def run(
        self, warehouse: Warehouse, since: object = None, until: object = None
    ) -> LifecycleResult:
        """Ask; see `Question.run`."""
        return cast("LifecycleResult", super().run(warehouse, since, until))

    def _answer(
        self, warehouse: Warehouse, period: Period, grid: Grid, statement: Sql
    ) -> LifecycleResult:
        found: dict[tuple[int, int], int] = {
            (int(row["p"]), int(row["state"])): int(row["n"])
            for row in fetch(warehouse, statement).to_pylist()
        }
        periods = tuple(
            LifecyclePeriod(
                grid.label(p),
                grid.complete(p),
                *(found.get((p, state), 0) for state in range(len(STATES))),
            )
            for p in range(grid.count)
        )
        notes = []
        if periods and not periods[-1].complete:
            notes.append(f"{periods[-1].label} is not over: its dormant may still come back.")
        return LifecycleResult(
            question=self,
            period=period,
            statement=statement,
            notes=tuple(notes),
            warehouse=warehouse,
            periods=periods,
        )


class LifecyclePeriod(msgspec.Struct, frozen=True):
    """How many people were in each state in a period."""

    label: str
    complete: bool
    new: int
    returning: int
    resurrecting: int
    dormant: int

    def to_dict(self) -> Mapping[str, Any]:
        """Plain data; `active` is the sum of the first three."""
        active = self.new + self.returning + self.resurrecting
        return {**msgspec.structs.asdict(self), "active": active}


@dataclass(frozen=True, kw_only=True)
class LifecycleResult(Result):
    """A lifecycle's answer: the periods in order."""

    question: Lifecycle
    periods: tuple[LifecyclePeriod, ...]

    @property
    def frame(self) -> pd.DataFrame:
        """A row a period."""
        import pandas as pd

        columns = ["label", "complete", *STATES, "active"]
        return pd.DataFrame([one.to_dict() for one in self.periods], columns=columns)

    def figure(self) -> go.Figure:
        """Stacked bars, the dormant below the line."""
        from desirepath_analytics.figures import lifecycle_figure

        return lifecycle_figure(self)

    def answer(self) -> dict[str, Any]:
        """The periods."""
        return {"periods": [dict(one.to_dict()) for one in self.periods]}

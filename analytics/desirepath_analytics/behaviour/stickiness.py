"""In how many periods people are active: one day only, or nearly every day.

Of everybody who was active at all between since and until: how many were so in exactly, and in at
least, n of its days (hours, weeks, months).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

import msgspec

from desirepath_analytics.behaviour.estimate import Estimate, wilson
from desirepath_analytics.behaviour.over_time import OverTime
from desirepath_analytics.behaviour.periods import Grid
from desirepath_analytics.question import Result, fetch
from desirepath_analytics.spec import ANY_EVENT, Period, Step

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from desirepath_analytics.catalog import Catalog
    from desirepath_collector.warehouse import Sql, Warehouse

__all__ = ["Stickiness", "StickinessResult", "StickyGroup"]


@dataclass(frozen=True, init=False, repr=False)
class Stickiness(OverTime):
    """How often people come within the range.

    Parameters
    ----------
    event
        What being active means: an event, a list, a step's mapping; any event if left out.
    unit, timezone
        What is counted: distinct `hour`s, `day`s, `week`s or `month`s, in this zone.
    where, segment
        As in `Funnel`.
    """

    kind: ClassVar[str] = "stickiness"
    keys: ClassVar = ("event", "unit", "timezone", "where", "segment")
    defaults: ClassVar = {"event": ANY_EVENT, "unit": "day", "timezone": "UTC"}

    event: Step

    def __init__(
        self,
        event: Any = ANY_EVENT,
        *,
        unit: str = "day",
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
        from desirepath_analytics.sql.presence import stickiness_sql

        return stickiness_sql(self, catalog, period, grid)

    def run(
        self, warehouse: Warehouse, since: object = None, until: object = None
    ) -> StickinessResult:
        """Ask; see `Question.run`."""
        return cast("StickinessResult", super().run(warehouse, since, until))

    def _answer(
        self, warehouse: Warehouse, period: Period, grid: Grid, statement: Sql
    ) -> StickinessResult:
        rows = fetch(warehouse, statement).to_pylist()
        found = {int(row["periods"]): int(row["n"]) for row in rows}
        everybody = sum(found.values())
        groups, left = [], everybody
        for periods in range(1, grid.count + 1):
            exactly = found.get(periods, 0)
            groups.append(StickyGroup(periods, exactly, wilson(left, everybody)))
            left -= exactly
        return StickinessResult(
            question=self,
            period=period,
            statement=statement,
            notes=(),
            warehouse=warehouse,
            people=everybody,
            groups=tuple(groups),
        )


class StickyGroup(msgspec.Struct, frozen=True):
    """People active in exactly `periods` periods, and the share active in at least so many."""

    periods: int
    exactly: int
    at_least: Estimate

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "periods": self.periods,
            "exactly": self.exactly,
            "at_least": self.at_least.to_dict(),
        }


@dataclass(frozen=True, kw_only=True)
class StickinessResult(Result):
    """A stickiness's answer: `people` active at all, and a group for each number of periods."""

    question: Stickiness
    people: int
    groups: tuple[StickyGroup, ...]

    @property
    def mean(self) -> float | None:
        """In how many periods a person was active on average; None without people."""
        total = sum(group.periods * group.exactly for group in self.groups)
        return total / self.people if self.people else None

    @property
    def frame(self) -> pd.DataFrame:
        """A row a number of periods."""
        import pandas as pd

        rows = [(g.periods, g.exactly, g.at_least.value) for g in self.groups]
        return pd.DataFrame(rows, columns=["periods", "people", "share_at_least"])

    def figure(self) -> go.Figure:
        """Bars: how many people in exactly so many periods."""
        from desirepath_analytics.figures import stickiness_figure

        return stickiness_figure(self)

    def answer(self) -> dict[str, Any]:
        """People, mean and groups."""
        groups = [group.to_dict() for group in self.groups]
        return {"people": self.people, "mean": self.mean, "groups": groups}

"""Of the people who began in a period, how many came back in each later one.

A cohort is everyone who did `start` in one period (hour, day, week or month in a time zone); with
`cohort="first"` only in the period of their first time ever. Column k is the k-th period after it.
A cell whose period is not over yet is told as incomplete and stays out of every mean.
docs/questions.md says exactly what each mode counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import msgspec

from desirepath.errors import QueryError
from desirepath_analytics.behaviour.estimate import Estimate, wilson
from desirepath_analytics.behaviour.options import read_count, read_one_of
from desirepath_analytics.behaviour.over_time import OverTime
from desirepath_analytics.behaviour.periods import Grid
from desirepath_analytics.question import Result, fetch
from desirepath_analytics.spec import Period, Step

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from desirepath_analytics.catalog import Catalog
    from desirepath_collector.warehouse import Sql, Warehouse

__all__ = ["Cohort", "Retention", "RetentionResult"]

Mode = Literal["on", "on_or_after", "bracket", "streak"]
_MODES: tuple[Mode, ...] = ("on", "on_or_after", "bracket", "streak")
_MAX_COLUMNS = 90
_ROLLING = {"hour": 3_600_000, "day": 86_400_000, "week": 7 * 86_400_000}


@dataclass(frozen=True, init=False, repr=False)
class Retention(OverTime):
    """How many of a cohort come back.

    Parameters
    ----------
    start
        What makes a person part of a cohort: an event, a list of events, a step's mapping.
    returning
        What counts as coming back; the start itself if left out.
    unit, timezone
        `hour`, `day`, `week` (from Monday) or `month`, in this zone.
    periods
        How many columns after the 0th, 1 to 90.
    mode
        `on`: in the k-th period; `on_or_after`: in the k-th or any later one; `streak`: in
        each of the 1st to the k-th; `bracket`: in any period of a bracket.
    brackets
        For `bracket`: how many periods each spans; `[1, 2, 4]` is 0, 1 to 2, 3 to 6.
    cohort
        `first`: people belong to the period of their first start ever; `every`: to each period
        in which they did the start.
    rolling
        Count periods of 24 hours (60 minutes, 7 days) from each person's own first start,
        instead of the calendar's.
    at_least
        How often a person must do `returning` in a period.
    by, where, segment
        As in `Funnel`; the value of a property is the one at the person's first start.
    """

    kind: ClassVar[str] = "retention"
    keys: ClassVar = (
        *("start", "returning", "unit", "timezone", "periods", "mode", "brackets"),
        *("cohort", "rolling", "at_least", "by", "where", "segment"),
    )
    defaults: ClassVar = {
        "unit": "day",
        "timezone": "UTC",
        "periods": 7,
        "mode": "on",
        "brackets": [],
        "cohort": "first",
        "rolling": False,
        "at_least": 1,
    }

    start: Step
    returning: Step | None
    periods: int
    mode: Mode
    brackets: tuple[int, ...]
    cohort: Literal["first", "every"]
    rolling: bool
    at_least: int

    def __init__(
        self,
        start: Any,
        returning: Any = None,
        *,
        unit: str = "day",
        timezone: str = "UTC",
        periods: int = 7,
        mode: str = "on",
        brackets: Sequence[int] = (),
        cohort: str = "first",
        rolling: bool = False,
        at_least: int = 1,
        by: Any = None,
        where: Any = None,
        segment: Any = None,
    ) -> None:
        self._put(
            unit=unit,
            timezone=timezone,
            by=by,
            where=where,
            segment=segment,
            start=Step.of(start, "start"),
            returning=None if returning is None else Step.of(returning, "returning"),
            periods=read_count(periods, "periods", 1, _MAX_COLUMNS),
            mode=read_one_of(mode, _MODES, "mode"),
            brackets=tuple(
                read_count(one, f"brackets[{i}]", 1, _MAX_COLUMNS) for i, one in enumerate(brackets)
            ),
            cohort=read_one_of(cohort, ("first", "every"), "cohort"),
            rolling=bool(rolling),
            at_least=read_count(at_least, "at_least", 1, 1_000_000),
        )
        if (self.mode == "bracket") != bool(self.brackets):
            raise QueryError("brackets: given with mode 'bracket', and only with it")
        if sum(self.brackets) > _MAX_COLUMNS + 1:
            raise QueryError(f"brackets: they span more than {_MAX_COLUMNS + 1} periods")
        if self.rolling and (self.cohort != "first" or self.at_least != 1):
            raise QueryError("rolling: needs cohort 'first' and at_least 1")
        if self.rolling and self.unit not in _ROLLING:
            raise QueryError("rolling: months differ in length", hint="use hour, day or week")

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Retention:
        """Read the plain form."""
        if isinstance(spec, Mapping) and "start" not in spec:
            raise QueryError("retention: it has no start")
        return cast("Retention", super().from_spec(spec))

    @property
    def back(self) -> Step:
        """What counts as coming back."""
        return self.start if self.returning is None else self.returning

    @property
    def unit_ms(self) -> int:
        """The length of a rolling period."""
        return _ROLLING[self.unit]

    @property
    def columns(self) -> tuple[tuple[int, int], ...]:
        """The first and last period of each column."""
        if self.mode == "bracket":
            ends = [sum(self.brackets[: i + 1]) for i in range(len(self.brackets))]
            return tuple(
                (end - span, end - 1) for end, span in zip(ends, self.brackets, strict=True)
            )
        return tuple((k, k) for k in range(self.periods + 1))

    def steps_read(self) -> Sequence[Step]:
        """Start and return."""
        return (self.start, self.back)

    def statement(self, catalog: Catalog, period: Period, grid: Grid) -> Sql:
        """The SQL over a bounded range."""
        from desirepath_analytics.sql.retention import retention_sql

        return retention_sql(self, catalog, period, grid)

    def run(
        self, warehouse: Warehouse, since: object = None, until: object = None
    ) -> RetentionResult:
        """Ask; see `Question.run`."""
        return cast("RetentionResult", super().run(warehouse, since, until))

    def _answer(
        self, warehouse: Warehouse, period: Period, grid: Grid, statement: Sql
    ) -> RetentionResult:
        groups: dict[tuple[str | None, ...], list[Cohort]] = {}
        for row in fetch(warehouse, statement).to_pylist():
            values = tuple(value or None for value in row["v"])
            groups.setdefault(values, []).append(self._cohort(grid, row))
        notes = []
        if any(None in cohort.cells for cohorts in groups.values() for cohort in cohorts):
            notes.append(f"Empty cells are not over: there is data up to {grid.end.isoformat()}.")
        total = _added(groups.values())
        return RetentionResult(
            question=self,
            period=period,
            statement=statement,
            notes=tuple(notes),
            warehouse=warehouse,
            cohorts=total,
            breakdown=tuple(
                (values, tuple(cohorts))
                for values, cohorts in sorted(groups.items(), key=_largest_first)
            )
            if self.by
            else (),
        )

    def _cohort(self, grid: Grid, row: Mapping[str, Any]) -> Cohort:
        index = int(row["c"])
        cells: list[int | None] = [
            int(count) if self._over(grid, index, last) else None
            for count, (_, last) in zip(row["cells"], self.columns, strict=True)
        ]
        return Cohort(grid.start(index), grid.label(index), int(row["n"]), tuple(cells))

    def _over(self, grid: Grid, cohort: int, last: int) -> bool:
        """Whether the last period of a column is over for everyone of a cohort."""
        if self.rolling:
            # Somebody of the cohort may have begun at its very end.
            span = timedelta(milliseconds=self.unit_ms * (last + 1))
            return grid.start(cohort + 1) + span <= grid.end
        return grid.complete(cohort + last)


class Cohort(msgspec.Struct, frozen=True):
    """Who began in one period; how many came back in each column (None: not over)."""

    begins: datetime
    label: str
    size: int
    cells: tuple[int | None, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data with shares and intervals."""
        shares = [None if c is None else wilson(c, self.size).to_dict() for c in self.cells]
        return {
            "cohort": self.label,
            "size": self.size,
            "people": list(self.cells),
            "shares": shares,
        }


@dataclass(frozen=True, kw_only=True)
class RetentionResult(Result):
    """A retention's answer: a row a cohort, in order of time; `breakdown` by value."""

    question: Retention
    cohorts: tuple[Cohort, ...]
    breakdown: tuple[tuple[tuple[str | None, ...], tuple[Cohort, ...]], ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """What the columns are called: `0`, `1`, `2-3`."""
        return tuple(
            str(first) if first == last else f"{first}-{last}"
            for first, last in self.question.columns
        )

    @property
    def weighted(self) -> tuple[Estimate, ...]:
        """The share of each column, of all people whose cell is over, with Wilson intervals."""
        return weighted(self.cohorts, len(self.columns))

    @property
    def simple(self) -> tuple[float | None, ...]:
        """The mean of the cohorts' shares, each cohort counting the same."""
        means: list[float | None] = []
        for column in range(len(self.columns)):
            shares = [
                count / cohort.size
                for cohort in self.cohorts
                if (count := cohort.cells[column]) is not None and cohort.size
            ]
            means.append(sum(shares) / len(shares) if shares else None)
        return tuple(means)

    @property
    def frame(self) -> pd.DataFrame:
        """A row a cohort (and value): its size, and the share in each column."""
        import pandas as pd

        by = [str(field) for field in self.question.by]
        groups = self.breakdown if by else (((), self.cohorts),)
        rows: list[list[Any]] = []
        for values, cohorts in groups:
            for cohort in cohorts:
                shares = [None if c is None else c / cohort.size for c in cohort.cells]
                rows.append([*values, cohort.label, cohort.size, *shares])
        return pd.DataFrame(rows, columns=[*by, "cohort", "size", *self.columns])

    def figure(self) -> go.Figure:
        """A heat map, a row a cohort."""
        from desirepath_analytics.figures import retention_figure

        return retention_figure(self)

    def answer(self) -> dict[str, Any]:
        """Cohorts, means, and the breakdown if it was asked for."""
        plain: dict[str, Any] = {
            "columns": list(self.columns),
            "cohorts": [cohort.to_dict() for cohort in self.cohorts],
            "weighted": [estimate.to_dict() for estimate in self.weighted],
            "simple": list(self.simple),
        }
        if self.question.by:
            plain["breakdown"] = [
                {
                    "value": list(values),
                    "cohorts": [cohort.to_dict() for cohort in cohorts],
                    "weighted": [e.to_dict() for e in weighted(cohorts, len(self.columns))],
                }
                for values, cohorts in self.breakdown
            ]
        return plain


def weighted(cohorts: Sequence[Cohort], columns: int) -> tuple[Estimate, ...]:
    """The share of each column, of everybody whose cell is over."""
    estimates = []
    for column in range(columns):
        over = [c for c in cohorts if c.cells[column] is not None]
        came_back = sum(c.cells[column] or 0 for c in over)
        estimates.append(wilson(came_back, sum(c.size for c in over)))
    return tuple(estimates)


def _added(groups: Any) -> tuple[Cohort, ...]:
    """The same cohorts of all values together."""
    added: dict[datetime, Cohort] = {}
    for cohort in (cohort for cohorts in groups for cohort in cohorts):
        so_far = added.get(cohort.begins)
        if so_far is None:
            added[cohort.begins] = cohort
            continue
        cells = [
            None if a is None or b is None else a + b
            for a, b in zip(so_far.cells, cohort.cells, strict=True)
        ]
        added[cohort.begins] = Cohort(
            cohort.begins, cohort.label, so_far.size + cohort.size, tuple(cells)
        )
    return tuple(added[begins] for begins in sorted(added))


def _largest_first(item: tuple[tuple[str | None, ...], list[Cohort]]) -> Any:
    values, cohorts = item
    return -sum(cohort.size for cohort in cohorts), [value or "" for value in values]

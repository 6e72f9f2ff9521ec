"""Numbers over time: how often, how many people, how much; by value, beside the time before.

A trend has up to ten series, each an event and a measure of it, and may end in a formula over
them. A period without events has 0 of what is counted or added, and no average at all.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

import msgspec

from desirepath.errors import QueryError
from desirepath_analytics.behaviour.formula import Formula
from desirepath_analytics.behaviour.options import read_count, read_one_of
from desirepath_analytics.behaviour.over_time import OverTime
from desirepath_analytics.behaviour.periods import Grid
from desirepath_analytics.conditions import Field
from desirepath_analytics.question import Result, fetch
from desirepath_analytics.spec import Period, Step, check_keys, step_spec

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from desirepath_analytics.catalog import Catalog
    from desirepath_collector.warehouse import Sql, Warehouse

__all__ = ["MEASURES", "Line", "Point", "Series", "Trend", "TrendResult"]

MEASURES: Final = (
    *("count", "people", "per_person", "active"),
    *("sum", "average", "min", "max", "median", "p75", "p90", "p95", "p99"),
)
"""`active`: people who did it in the `days` that end with a day (7: weekly active people)."""

_COUNTED: Final = ("count", "people", "active", "sum")
_ADDABLE: Final = ("count", "sum")
_OF: Final = MEASURES[4:]
_MAX_SERIES: Final = 10


class Series(msgspec.Struct, frozen=True):
    """One line: an event, and what is measured of it."""

    step: Step
    measure: str = "count"
    of: Field | None = None
    days: int = 1

    @classmethod
    def of_spec(cls, spec: Any, at: str) -> Series:
        """Read an event, or `{"event": ..., "measure": ..., "of": property}`."""
        if isinstance(spec, Series):
            return spec
        if not isinstance(spec, Mapping):
            return cls(Step.of(spec, at))
        check_keys(spec, ("event", "any", "where", "name", "measure", "of", "days"), at)
        inner = {k: v for k, v in spec.items() if k not in ("measure", "of", "days")}
        measure = read_one_of(spec.get("measure", "count"), MEASURES, f"{at}.measure")
        of = spec.get("of")
        if (measure in _OF) != (of is not None):
            raise QueryError(
                f"{at}: {measure} is of a property"
                if of is None
                else f"{at}: {measure} is not of a property",
                hint=f"of: goes with {', '.join(_OF)}",
            )
        if "days" in spec and measure != "active":
            raise QueryError(f"{at}.days: only with the measure 'active'")
        return cls(
            Step.of(inner, at),
            measure,
            None if of is None else Field.parse(of, f"{at}.of"),
            read_count(spec.get("days", 1), f"{at}.days", 1, 90),
        )

    def to_spec(self) -> Any:
        """The plain form."""
        plain = step_spec(self.step)
        if self.measure == "count":
            return plain
        spec = dict(plain) if isinstance(plain, dict) else {"event": plain}
        spec["measure"] = self.measure
        if self.of is not None:
            spec["of"] = str(self.of)
        if self.measure == "active":
            spec["days"] = self.days
        return spec

    @property
    def name(self) -> str:
        """What to call the line."""
        if self.measure == "count":
            return self.step.name
        more = f" of {self.of}" if self.of is not None else ""
        days = f" in {self.days} days" if self.measure == "active" else ""
        return f"{self.step.name}: {self.measure.replace('_', ' ')}{more}{days}"


@dataclass(frozen=True, init=False, repr=False)
class Trend(OverTime):
    """Measures of events in each period.

    Parameters
    ----------
    series
        One or several of: an event, a list of events, `{"event": ..., "measure": ..., "of": ...}`.
    formula
        Arithmetic over the series, named A, B, ... in their order: `"A / B"`.
    unit, timezone
        `hour`, `day`, `week` (from Monday) or `month`, in this zone.
    by, where, segment
        As in `Funnel`; a value of a property is the event's own.
    top
        How many values of a breakdown get a line; the rest is one more, "other".
    compare
        Also the stretch of the same length just before.
    cumulative
        Running sums, of counts and sums.
    smooth
        Mean of so many periods up to each one.
    """

    kind: ClassVar[str] = "trend"
    keys: ClassVar = (
        *("series", "formula", "unit", "timezone", "by", "where", "segment"),
        *("top", "compare", "cumulative", "smooth"),
    )
    defaults: ClassVar = {
        "unit": "day",
        "timezone": "UTC",
        "top": 10,
        "compare": False,
        "cumulative": False,
        "smooth": 1,
    }

    series: tuple[Series, ...]
    formula: str | None
    top: int
    compare: bool
    cumulative: bool
    smooth: int

    def __init__(
        self,
        series: Any,
        *,
        formula: str | None = None,
        unit: str = "day",
        timezone: str = "UTC",
        by: Any = None,
        where: Any = None,
        segment: Any = None,
        top: int = 10,
        compare: bool = False,
        cumulative: bool = False,
        smooth: int = 1,
    ) -> None:
        listed = series if isinstance(series, (list, tuple)) else [series]
        if not 1 <= len(listed) <= _MAX_SERIES:
            raise QueryError(f"series: 1 to {_MAX_SERIES}, not {len(listed)}")
        read = tuple(Series.of_spec(one, f"series[{i}]") for i, one in enumerate(listed))
        self._put(
            unit=unit,
            timezone=timezone,
            by=by,
            where=where,
            segment=segment,
            series=read,
            formula=formula,
            top=read_count(top, "top", 1, 100),
            compare=bool(compare),
            cumulative=bool(cumulative),
            smooth=read_count(smooth, "smooth", 1, 90),
        )
        if formula is not None:
            Formula(formula, string.ascii_uppercase[: len(read)])
        if self.cumulative and any(one.measure not in _ADDABLE for one in read):
            raise QueryError("cumulative: only counts and sums can be added up")
        if self.unit != "day" and any(one.measure == "active" for one in read):
            raise QueryError("active people are told for days", hint="unit: day")

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Trend:
        """Read the plain form."""
        if isinstance(spec, Mapping) and "series" not in spec:
            raise QueryError("trend: it has no series")
        return cast("Trend", super().from_spec(spec))

    def steps_read(self) -> Sequence[Step]:
        """The events of all series."""
        return tuple(one.step for one in self.series)

    def statement(self, catalog: Catalog, period: Period, grid: Grid) -> Sql:
        """The SQL over a bounded range."""
        from desirepath_analytics.sql.trend import trend_sql

        return trend_sql(self, catalog, period, grid)

    def run(self, warehouse: Warehouse, since: object = None, until: object = None) -> TrendResult:
        """Ask; see `Question.run`."""
        return cast("TrendResult", super().run(warehouse, since, until))

    def _plain(self, key: str) -> Any:
        if key == "series":
            return [one.to_spec() for one in self.series]
        return super()._plain(key)

    def _answer(
        self, warehouse: Warehouse, period: Period, grid: Grid, statement: Sql
    ) -> TrendResult:
        lines = self._lines(grid, fetch(warehouse, statement).to_pylist())
        notes = []
        if grid.count and not grid.complete(grid.count - 1):
            notes.append(f"{grid.label(grid.count - 1)} is not over.")
        previous: tuple[Line, ...] = ()
        if self.compare:
            previous = self._previous(warehouse, grid)
        return TrendResult(
            question=self,
            period=period,
            statement=statement,
            notes=tuple(notes),
            warehouse=warehouse,
            labels=tuple(grid.labels()),
            complete=tuple(grid.complete(p) for p in range(grid.count)),
            lines=lines,
            previous=previous,
        )

    def _previous(self, warehouse: Warehouse, grid: Grid) -> tuple[Line, ...]:
        """The same number of periods just before."""
        from desirepath_analytics.catalog import WarehouseCatalog

        before = msgspec.structs.replace(grid, first=grid.first - grid.count)
        period = Period(before.start(0), before.start(grid.count))
        statement = self.statement(WarehouseCatalog(warehouse), period, before)
        return self._lines(before, fetch(warehouse, statement).to_pylist())

    def _lines(self, grid: Grid, rows: Sequence[Mapping[str, Any]]) -> tuple[Line, ...]:
        cells: dict[tuple[int, tuple[str | None, ...]], dict[int | None, Point]] = {}
        for row in rows:
            values = tuple(value or None for value in row["v"])
            if row["other"]:
                values = (OTHER,) * len(self.by)
            place = None if row["total"] else int(row["p"])
            point = _point(row, self.series[row["series"]].measure)
            cells.setdefault((int(row["series"]), values), {})[place] = point
        every = sorted(
            {values for _, values in cells} or {()},
            key=lambda values: (
                values == (OTHER,) * len(values) and bool(values),
                -(cells.get((0, values), {}).get(None, NOTHING).n),
                [value or "" for value in values],
            ),
        )
        lines = []
        for values in every:
            of_value = []
            for number, one in enumerate(self.series):
                found = cells.get((number, values), {})
                empty = ZERO if one.measure in _COUNTED else NOTHING
                points = [found.get(p, empty) for p in range(grid.count)]
                of_value.append(Line(one.name, values, tuple(points), found.get(None, empty)))
            lines += [self._formula_line(of_value)] if self.formula else of_value
        return tuple(self._shaped(line) for line in lines)

    def _formula_line(self, lines: Sequence[Line]) -> Line:
        assert self.formula is not None  # noqa: S101 (only called with one)
        names = string.ascii_uppercase[: len(lines)]
        formula = Formula(self.formula, names)

        def point(points: Sequence[Point]) -> Point:
            value = formula({name: one.value for name, one in zip(names, points, strict=True)})
            return Point(value, min(one.n for one in points))

        columns = zip(*(line.points for line in lines), strict=True)
        total = point([line.total for line in lines])
        return Line(self.formula, lines[0].by, tuple(point(c) for c in columns), total)

    def _shaped(self, line: Line) -> Line:
        points = list(line.points)
        if self.cumulative:
            running, so_far, n = [], 0.0, 0
            for point in points:
                so_far, n = so_far + (point.value or 0.0), n + point.n
                running.append(Point(so_far, n))
            points = running
        if self.smooth > 1:
            points = [
                _mean(points[max(0, i - self.smooth + 1) : i + 1]) for i in range(len(points))
            ]
        return msgspec.structs.replace(line, points=tuple(points))


OTHER: Final = "(other)"
"""The value under which all but the largest are added."""


class Point(msgspec.Struct, frozen=True):
    """A value, the number of events (people, for `people`) behind it, and a 95 % interval.

    The interval is told for averages, from their standard error.
    """

    value: float | None
    n: int
    low: float | None = None
    high: float | None = None


NOTHING: Final = Point(None, 0)
ZERO: Final = Point(0.0, 0)


class Line(msgspec.Struct, frozen=True):
    """One series of one value: a point a period, and one for the whole range."""

    name: str
    by: tuple[str | None, ...]
    points: tuple[Point, ...]
    total: Point

    @property
    def values(self) -> list[float | None]:
        """The points' values."""
        return [point.value for point in self.points]


@dataclass(frozen=True, kw_only=True)
class TrendResult(Result):
    """A trend's answer: `labels` of the periods, `lines`, and `previous` lines if compared."""

    question: Trend
    labels: tuple[str, ...]
    complete: tuple[bool, ...]
    lines: tuple[Line, ...]
    previous: tuple[Line, ...] = ()

    @property
    def frame(self) -> pd.DataFrame:
        """A row a period, series and value."""
        import pandas as pd

        by = [str(field) for field in self.question.by]
        rows = [
            [label, line.name, *line.by, point.value, point.n, point.low, point.high]
            for line in self.lines
            for label, point in zip(self.labels, line.points, strict=True)
        ]
        columns = ["period", "series", *by, "value", "n", "low", "high"]
        return pd.DataFrame(rows, columns=columns)

    def figure(self) -> go.Figure:
        """Lines with confidence bands; the time before is dotted."""
        from desirepath_analytics.figures import trend_figure

        return trend_figure(self)

    def answer(self) -> dict[str, Any]:
        """Labels and lines."""
        plain: dict[str, Any] = {
            "periods": list(self.labels),
            "complete": list(self.complete),
            "lines": [_line(line) for line in self.lines],
        }
        if self.question.compare:
            plain["previous"] = [_line(line) for line in self.previous]
        return plain


def _line(line: Line) -> dict[str, Any]:
    return {
        "name": line.name,
        "value": list(line.by),
        "points": [msgspec.structs.asdict(point) for point in line.points],
        "total": msgspec.structs.asdict(line.total),
    }


def _point(row: Mapping[str, Any], measure: str) -> Point:
    n, value = int(row["n"]), row["value"]
    if value is None or (n == 0 and measure not in _COUNTED):
        return ZERO if measure in _COUNTED else NOTHING
    error = row["error"]
    if measure != "average" or error is None:
        return Point(float(value), n)
    return Point(float(value), n, value - 1.959964 * error, value + 1.959964 * error)


def _mean(points: Sequence[Point]) -> Point:
    known = [point.value for point in points if point.value is not None]
    n = sum(point.n for point in points)
    return Point(sum(known) / len(known), n) if known else NOTHING

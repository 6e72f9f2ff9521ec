"""What questions about calendar periods share: their options, and finding the range.

Where `since` or `until` is left open, the first and the last event that the question is about
bound the range; the period of the last event then counts as not over.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from desirepath.errors import QueryError
from desirepath_analytics.behaviour.options import read_fields, without_defaults, written
from desirepath_analytics.behaviour.periods import Grid, Unit, read_timezone, read_unit
from desirepath_analytics.behaviour.segment import Segment, read_segment, segment_spec
from desirepath_analytics.conditions import Condition, Field, parse_where, where_spec
from desirepath_analytics.question import Question, Result, fetch
from desirepath_analytics.spec import Period, Step, check_keys, step_spec, without_notes

if TYPE_CHECKING:
    from desirepath_analytics.catalog import Catalog
    from desirepath_collector.warehouse import Sql, Warehouse

__all__ = ["OverTime"]


@dataclass(frozen=True, init=False, repr=False)
class OverTime(Question):
    """A question with a unit of time, a time zone, a filter and a segment."""

    unit: Unit
    timezone: str
    by: tuple[Field, ...]
    where: Condition | None
    segment: Segment | str | None

    keys: ClassVar[tuple[str, ...]]
    """The names of the options, as parameters and in the plain form."""

    defaults: ClassVar[Mapping[str, Any]]
    """What is left out of the plain form."""

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> OverTime:
        """Read the plain form: the parameters as keys."""
        if not isinstance(spec, Mapping):
            raise QueryError(f"{cls.kind}: expected a mapping, found {spec!r}")
        asked = without_notes(spec)
        check_keys(asked, cls.keys, cls.kind)
        return cls(**asked)

    def to_spec(self) -> dict[str, Any]:
        """The plain form, without what has its default."""
        return without_defaults({key: self._plain(key) for key in self.keys}, self.defaults)

    def __repr__(self) -> str:
        return f"{type(self).__name__}.from_spec({self.to_spec()!r})"

    def compile(self, catalog: Catalog, since: object = None, until: object = None) -> Sql:
        """The SQL; both sides of the range must be given."""
        period = Period.of(since, until)
        return self.statement(catalog, period, self._grid(period, datetime.now(UTC)))

    @abstractmethod
    def statement(self, catalog: Catalog, period: Period, grid: Grid) -> Sql:
        """The SQL over a bounded range."""

    @abstractmethod
    def steps_read(self) -> Sequence[Step]:
        """The events that the question is about."""

    @abstractmethod
    def _answer(
        self, warehouse: Warehouse, period: Period, grid: Grid, statement: Sql
    ) -> Result: ...

    def _run(self, warehouse: Warehouse, catalog: Catalog, period: Period) -> Result:
        from desirepath_analytics.sql.bounds import bounds_sql

        end = min(period.until or datetime.now(UTC), datetime.now(UTC))
        bounded = period
        if period.since is None or period.until is None:
            row = fetch(warehouse, bounds_sql(self.steps_read(), catalog, period)).to_pylist()[0]
            if not row["n"]:
                now = period.until or datetime.now(UTC)
                row = {"low": now - timedelta(days=1), "high": now - timedelta(milliseconds=1)}
            last = row["high"].astimezone(UTC) + timedelta(milliseconds=1)
            bounded = Period(
                period.since or row["low"].astimezone(UTC),
                period.until or max(last, (period.since or last) + timedelta(milliseconds=1)),
            )
            end = min(end, last) if period.until is None else end
        grid = self._grid(bounded, end)
        return self._answer(warehouse, period, grid, self.statement(catalog, bounded, grid))

    def _grid(self, period: Period, end: datetime) -> Grid:
        return Grid.over(period, self.unit, self.timezone, end=end)

    def _put(
        self, *, unit: object, timezone: object, by: Any, where: Any, segment: Any, **more: Any
    ) -> None:
        """Set the attributes of a frozen value, once."""
        read = {
            "unit": read_unit(unit, "unit"),
            "timezone": read_timezone(timezone),
            "by": read_fields(by, "by"),
            "where": parse_where(where),
            "segment": read_segment(segment, "segment"),
            **more,
        }
        for name, value in read.items():
            object.__setattr__(self, name, value)

    def _plain(self, key: str) -> Any:
        value = getattr(self, key)
        if isinstance(value, Step):
            return step_spec(value)
        if key == "by":
            return written(value) if value else None
        if key == "where":
            return None if value is None else where_spec(value)
        if key == "segment":
            return None if value is None else segment_spec(value)
        return list(value) if isinstance(value, tuple) else value

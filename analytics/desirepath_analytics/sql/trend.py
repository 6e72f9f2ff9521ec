"""A trend as SQL: one SELECT a series, united; each with its points and its total."""

# ruff: noqa: S608 (every value is bound, see sql/build.py)
from __future__ import annotations

from typing import TYPE_CHECKING, Final

from desirepath_analytics.spec import Period
from desirepath_analytics.sql.build import Statement
from desirepath_analytics.sql.segment import in_segment
from desirepath_analytics.sql.values import Breakdown

if TYPE_CHECKING:
    from desirepath_analytics.behaviour.periods import Grid
    from desirepath_analytics.behaviour.trend import Series, Trend
    from desirepath_analytics.catalog import Catalog
    from desirepath_collector.warehouse import Sql

__all__ = ["trend_sql"]

_QUANTILES: Final = {"median": 0.5, "p75": 0.75, "p90": 0.9, "p95": 0.95, "p99": 0.99}


def trend_sql(question: Trend, catalog: Catalog, period: Period, grid: Grid) -> Sql:
    """Rows `series`, `p`, `total` (1: of the whole range), `v`, `other`, `value`, `n`, `error`."""
    s = Statement(catalog)
    parts = [
        _series(s, question, number, series, period, grid)
        for number, series in enumerate(question.series)
    ]
    return s.sql(" UNION ALL ".join(parts))


def _series(
    s: Statement, question: Trend, number: int, series: Series, period: Period, grid: Grid
) -> str:
    at = f"series[{number}]"
    s.check_steps([series.step], at)
    events = list(series.step.events or ())
    # A field is looked for in all series: one of them may lack it.
    every = {name for step in question.steps_read() for name in step.events or ()}
    by = Breakdown(s, question.by, sorted(every))
    read = period
    if series.measure == "active":
        # The first day's active people did it up to so many days before.
        read = Period(grid.start(1 - series.days), period.until)
    where = [s.step(series.step, at), *s.period(read)]
    if question.where is not None:
        where.append(s.condition(question.where, events, "where"))
    where += in_segment(s, question.segment, period)
    x = "toNullable(toFloat64(0))"
    if series.of is not None:
        x = f"toFloat64OrNull({s.value(series.of, events, f'{at}.of')})"
    columns = f"person_id, {grid.sql(s)} AS p, {x} AS x, {by.columns} AS carried"
    rows = f"SELECT {columns} FROM resolved_events WHERE {' AND '.join(where)}"
    rows = by.join(rows, "person_id")
    if question.by:
        top = f"SELECT v FROM ({rows}) GROUP BY v ORDER BY count() DESC, v LIMIT {question.top}"
        known = f"v IN ({top})"
        rows = (
            "SELECT * EXCEPT (v), kept AS v FROM (SELECT *, NOT other AS known,"
            f" if(other, emptyArrayString(), v) AS kept FROM (SELECT *, NOT ({known}) AS other"
            f" FROM ({rows})))"
        )
    else:
        rows = f"SELECT *, 0 AS other FROM ({rows})"
    if series.measure == "active":
        # A day's events make a person active on it and on the days after.
        rows = f"SELECT DISTINCT person_id, p, v, other, x FROM ({rows})"
        rows = f"SELECT * REPLACE (arrayJoin(range(p, p + {series.days})) AS p) FROM ({rows})"
        rows = f"SELECT * FROM ({rows}) WHERE p >= 0 AND p < {grid.count}"
    value, n = _measure(series)
    error = "if(n > 1, stddevSampIf(x, isNotNull(x)) / sqrt(n), NULL)"
    return (
        f"SELECT toUInt8({number}) AS series, toInt32(p) AS p, grouping(p) AS total, v,"
        f" toUInt8(other) AS other, toNullable(toFloat64({value})) AS value, toUInt64({n}) AS n,"
        f" toNullable(toFloat64({error})) AS error FROM ({rows})"
        " GROUP BY GROUPING SETS ((p, v, other), (v, other))"
    )


def _measure(series: Series) -> tuple[str, str]:
    """The value, and the number behind it."""
    if series.measure == "count":
        return "count()", "count()"
    if series.measure in ("people", "active"):
        return "uniqExact(person_id)", "uniqExact(person_id)"
    if series.measure == "per_person":
        return "count() / uniqExact(person_id)", "uniqExact(person_id)"
    n = "countIf(isNotNull(x))"
    if series.measure in _QUANTILES:
        level = _QUANTILES[series.measure]
        return f"quantileExactInclusiveIf({level})(assumeNotNull(x), isNotNull(x))", n
    function = {"sum": "sum", "average": "avg", "min": "min", "max": "max"}[series.measure]
    return f"{function}(x)", n

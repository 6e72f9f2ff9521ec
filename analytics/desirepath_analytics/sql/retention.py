"""Retention as SQL: what each person did in which period is one integer, a bit a period.

A person's starts and returns are two `groupBitOr`; the returns shifted by the cohort's period are
all columns at once, and a column is a mask to compare with.
"""

# ruff: noqa: S608 (every value is bound, see sql/build.py)
from __future__ import annotations

from typing import TYPE_CHECKING

from desirepath_analytics.spec import Period
from desirepath_analytics.sql.build import Statement
from desirepath_analytics.sql.segment import in_segment
from desirepath_analytics.sql.values import Breakdown

if TYPE_CHECKING:
    from desirepath_analytics.behaviour.periods import Grid
    from desirepath_analytics.behaviour.retention import Retention
    from desirepath_analytics.catalog import Catalog
    from desirepath_collector.warehouse import Sql

__all__ = ["retention_sql"]


def retention_sql(question: Retention, catalog: Catalog, period: Period, grid: Grid) -> Sql:
    """A row a cohort and value: `c` (period), `v`, `n` (size), `cells`."""
    s = Statement(catalog)
    s.check_steps([question.start], "start")
    s.check_steps([question.back], "returning")
    events = [name for step in question.steps_read() for name in step.events or ()]
    by = Breakdown(s, question.by, events)
    # A first time can only be known from everything that came before.
    read = Period(None, period.until) if question.cohort == "first" else period
    where = [s.only_events(question.steps_read()), *s.period(read)]
    if question.where is not None:
        where.append(s.condition(question.where, events, "where"))
    where += in_segment(s, question.segment, period)
    since = s.period(Period(period.since, None))[0]
    columns = [
        "person_id",
        f"{grid.sql(s)} AS p",
        f"({since}) AS inside",
        f"{s.step(question.start, 'start')} AS starts",
        f"{s.step(question.back, 'returning')} AS returns",
        f"{by.columns} AS vals",
        "timestamp",
    ]
    rows = f"SELECT {', '.join(columns)} FROM resolved_events WHERE {' AND '.join(where)}"
    first = "argMinIf(vals, (timestamp, vals), starts AND inside)"
    if question.at_least > 1:
        rows = (
            "SELECT person_id, p, inside, max(starts) AS st, minIf(timestamp, starts) AS ts,"
            f" countIf(returns) >= {question.at_least} AS rt, {first} AS vs"
            f" FROM ({rows}) GROUP BY person_id, p, inside"
        )
        renamed = "st AS starts, rt AS returns, vs AS vals, ts AS timestamp"
        rows = f"SELECT person_id, p, inside, {renamed} FROM ({rows})"
    bit = grid.bit("toUInt8(greatest(p, 0))")
    people = [
        "person_id",
        f"groupBitOrIf({bit}, starts AND inside) AS began",
        "countIf(starts AND NOT inside) AS before",
        f"{first} AS carried",
    ]
    if question.rolling:
        times = "toUnixTimestamp64Milli(timestamp)"
        people.append(f"minIf({times}, starts AND inside) AS t0")
        people.append(f"groupArrayIf({times}, returns AND inside) AS times")
        span, bits = question.unit_ms, grid.count
        later = f"arrayFilter(t -> t >= t0 AND t < t0 + {span * bits}, times)"
        marks = f"arrayMap(t -> {grid.bit(f'toUInt8(intDiv(t - t0, {span}))')}, {later})"
        shifted = f"arrayReduce('groupBitOr', {marks})"
    else:
        people.append(f"groupBitOrIf({bit}, returns AND inside) AS back")
        shifted = "bitShiftRight(back, c)"
    rows = f"SELECT {', '.join(people)} FROM ({rows}) GROUP BY person_id"
    if question.cohort == "first":
        rows = (
            f"SELECT *, bitPositionsToArray(began)[1] AS c FROM ({rows})"
            " WHERE began != 0 AND before = 0"
        )
    else:
        rows = f"SELECT *, arrayJoin(bitPositionsToArray(began)) AS c FROM ({rows})"
    rows = f"SELECT *, {shifted} AS came FROM ({rows})"
    cells = ", ".join(_cell(question.mode, column, grid) for column in question.columns)
    rows = by.join(f"SELECT person_id, c, carried, [{cells}] AS cells FROM ({rows})", "person_id")
    return s.sql(
        "SELECT toInt32(c) AS c, v, count() AS n, sumForEach(cells) AS cells"
        f" FROM ({rows}) GROUP BY c, v ORDER BY c, v"
    )


def _cell(mode: str, column: tuple[int, int], grid: Grid) -> str:
    """Whether a person came back in a column."""
    first, last = column
    never = "toUInt64(0)"
    if mode == "on_or_after":
        return f"toUInt64(bitShiftRight(came, {first}) != 0)" if first < grid.count else never
    if mode == "streak":
        mask = grid.mask(2 ** (last + 1) - 2) if last < grid.count else None
        return f"toUInt64(bitAnd(came, {mask}) = {mask})" if mask else never
    bits = 2 ** (min(last, grid.count - 1) + 1) - 2**first if first < grid.count else 0
    return f"toUInt64(bitAnd(came, {grid.mask(bits)}) != 0)"

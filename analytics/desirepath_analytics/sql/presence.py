"""Lifecycle and stickiness as SQL: a person's presence is one integer, a bit a period."""

# ruff: noqa: S608 (every value is bound, see sql/build.py)
from __future__ import annotations

from typing import TYPE_CHECKING

from desirepath_analytics.spec import Period
from desirepath_analytics.sql.build import Statement
from desirepath_analytics.sql.segment import in_segment

if TYPE_CHECKING:
    from desirepath_analytics.behaviour.lifecycle import Lifecycle
    from desirepath_analytics.behaviour.periods import Grid
    from desirepath_analytics.behaviour.stickiness import Stickiness
    from desirepath_analytics.catalog import Catalog
    from desirepath_collector.warehouse import Sql

__all__ = ["lifecycle_sql", "stickiness_sql"]


def stickiness_sql(question: Stickiness, catalog: Catalog, period: Period, grid: Grid) -> Sql:
    """A row a number of periods: `periods`, `n` (people)."""
    s = Statement(catalog)
    bits = f"groupBitOr({grid.bit('toUInt8(p)')}) AS bits"
    rows = _people(s, question, grid, period, period, bits)
    return s.sql(
        f"SELECT bitCount(bits) AS periods, count() AS n FROM ({rows})"
        " GROUP BY periods ORDER BY periods"
    )


def lifecycle_sql(question: Lifecycle, catalog: Catalog, period: Period, grid: Grid) -> Sql:
    """A row a period and state: `p`, `state` (its place in STATES), `n` (people)."""
    s = Statement(catalog)
    # Whether somebody is new can only be known from everything that came before.
    whole = Period(None, period.until)
    bit = grid.bit("toUInt8(greatest(p, 0))")
    bits = f"groupBitOrIf({bit}, p >= 0) AS bits, max(p < 0) AS earlier, max(p = -1) AS just"
    rows = _people(s, question, grid, whole, period, bits)
    zero, one = grid.mask(0), grid.mask(1)
    inside = grid.mask(2**grid.count - 1)
    rows = (
        f"SELECT bits, bitAnd({inside}, bitOr(bitShiftLeft(bits, 1), if(just, {one}, {zero})))"
        f" AS ago, if(earlier OR bits = 0, {zero},"
        f" bitShiftLeft({one}, bitPositionsToArray(bits)[1])) AS new FROM ({rows})"
    )
    states = (
        "new",
        "bitAnd(bits, ago)",
        "bitAnd(bits, bitNot(bitOr(ago, new)))",
        "bitAnd(ago, bitNot(bits))",
    )
    marks = ", ".join(
        f"arrayMap(b -> (b, {number}), bitPositionsToArray({state}))"
        for number, state in enumerate(states)
    )
    rows = f"SELECT arrayJoin(arrayConcat({marks})) AS mark FROM ({rows})"
    return s.sql(
        f"SELECT toInt32(mark.1) AS p, mark.2 AS state, count() AS n FROM ({rows})"
        " GROUP BY p, state ORDER BY p, state"
    )


def _people(
    s: Statement,
    question: Lifecycle | Stickiness,
    grid: Grid,
    read: Period,
    judged: Period,
    columns: str,
) -> str:
    """The people who were active in `read`, with what `columns` makes of their periods `p`."""
    s.check_steps([question.event], "event")
    events = list(question.event.events or ())
    where = [s.step(question.event, "event"), *s.period(read)]
    if question.where is not None:
        where.append(s.condition(question.where, events, "where"))
    where += in_segment(s, question.segment, judged)
    rows = f"SELECT person_id, {grid.sql(s)} AS p FROM resolved_events WHERE {' AND '.join(where)}"
    return f"SELECT person_id, {columns} FROM ({rows}) GROUP BY person_id"

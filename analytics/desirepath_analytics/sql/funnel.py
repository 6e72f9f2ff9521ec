"""A funnel as SQL.

A person's events become one sorted array of UInt64, `time << width | mask`, where the mask says
which steps and exclusions an event matches; `chains` turns it into all attempts of the person with
all their times. The exclusions, the choice of the attempt that counts and the value it is broken
down by are then plain arithmetic on tuples. It costs about what `windowFunnel` costs
(benchmarks/behaviour.py) and keeps what that does not: one event never satisfies two steps, and
the times are there.

At equal times excluded events come first, then the steps in their order, because that is how the
masks sort.
"""

# ruff: noqa: S608 (every value is bound, see sql/build.py)
from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from desirepath.errors import QueryError
from desirepath_analytics.behaviour.periods import Grid
from desirepath_analytics.spec import Period
from desirepath_analytics.sql.build import BEHAVIOUR, Statement
from desirepath_analytics.sql.chains import Chains, Exclusion
from desirepath_analytics.sql.segment import in_segment
from desirepath_analytics.sql.values import Breakdown

if TYPE_CHECKING:
    from desirepath_analytics.behaviour.funnel import Funnel
    from desirepath_analytics.catalog import Catalog
    from desirepath_collector.warehouse import Sql

__all__ = [
    "BUCKETS_S",
    "MAX_SHOWN",
    "funnel_over_sql",
    "funnel_people_sql",
    "funnel_sql",
    "reached_sql",
]

MAX_SHOWN: Final = 100
"""How many values of a breakdown are answered; the largest ones."""

BUCKETS_S: Final = (
    *(0, 1, 10, 60, 300, 900, 3_600, 21_600),
    *(86_400, 259_200, 604_800, 2_592_000),
)
"""Where the buckets of the times to convert begin, in seconds; the last one is open."""

_MAX_WIDTH: Final = 22
"""Milliseconds since 1970 need 42 of the 64 bits until the year 2109."""

_SETTINGS: Final = {"max_threads": 0, "max_ast_depth": 5_000, "max_subquery_depth": 500}


def funnel_sql(funnel: Funnel, catalog: Catalog, period: Period) -> Sql:
    """Counts and times to convert of every step: in all (`total`), and for each value."""
    maker = _Maker(funnel, Statement(catalog), period)
    units, columns = maker.units(), _numbers(maker)
    if not funnel.by:
        return maker.s.sql(f"SELECT 1 AS total, {', '.join(columns)} FROM ({units})", _SETTINGS)
    # The total is counted from the people, not added up: one person may be in several values.
    return maker.s.sql(
        f"SELECT grouping(v) AS total, v, uniqExact(v) AS n_values, {', '.join(columns)}"
        f" FROM ({units}) GROUP BY GROUPING SETS ((), (v))"
        f" ORDER BY total DESC, n DESC, v LIMIT {MAX_SHOWN + 1}",
        _SETTINGS,
    )


def funnel_over_sql(funnel: Funnel, catalog: Catalog, period: Period) -> Sql:
    """A row a period (`v`: its number since 1970) in which attempts began."""
    maker = _Maker(funnel, Statement(catalog), period)
    columns = _numbers(maker)
    return maker.s.sql(
        f"SELECT v, {', '.join(columns)} FROM ({maker.units_over()}) GROUP BY v", _SETTINGS
    )


def funnel_people_sql(
    funnel: Funnel, catalog: Catalog, period: Period, *, step: int, dropped: bool
) -> Sql:
    """The units that reached a step (from 1), or that reached the one before and not this."""
    maker = _Maker(funnel, Statement(catalog), period)
    where = f"a.{step} != 0"
    if dropped:
        where = f"a.{step} = 0 AND a.{step - 1} != 0"
    return maker.s.sql(
        f"SELECT DISTINCT unit FROM ({maker.units()}) WHERE {where}",
        {**_SETTINGS, "max_result_rows": 0},
    )


def reached_sql(s: Statement, funnel: Funnel, period: Period) -> str:
    """The people who got to the end of a funnel, inside another statement."""
    maker = _Maker(funnel, s, period)
    return f"SELECT unit FROM ({maker.units()}) WHERE a.{len(funnel.steps)} != 0"


def _numbers(maker: _Maker) -> list[str]:
    """How many reached each step, and the spread of the times they took."""
    funnel, width = maker.funnel, maker.chains.width
    columns = ["count() AS n"]
    counted = ", ".join(key for key in maker.outer if key != "v0")
    for k in range(1, len(funnel.steps) + 1):
        # Each value a funnel of its own: in all, a person of several values is still one.
        distinct = maker.own_values and funnel.count != "attempts"
        count = f"uniqExactIf({counted}, a.{k} != 0)" if distinct else f"countIf(a.{k} != 0)"
        columns.append(f"{count} AS n{k}")
        if k == 1:
            continue
        before = "greatest(" + ", ".join(f"a.{i}" for i in range(1, k)) + ")"
        before = "a.1" if k == 2 else before
        for name, since in (("start", "a.1"), ("step", before)):
            taken = f"(bitShiftRight(a.{k}, {width}) - bitShiftRight({since}, {width})) / 1000"
            columns.append(f"quantilesExactInclusiveIf(0.5, 0.9)({taken}, a.{k} != 0) AS {name}{k}")
            columns.append(f"avgIf({taken}, a.{k} != 0) AS {name}_mean{k}")
            bucket = f"toUInt32(roundDown({taken}, {list(BUCKETS_S)}))"
            columns.append(
                f"sumMapIf([{bucket}], [toUInt64(1)], a.{k} != 0) AS {name}_histogram{k}"
            )
    return columns


class _Maker:
    """One statement in the making: the funnel, its parameters, its numbers."""

    def __init__(self, funnel: Funnel, s: Statement, period: Period) -> None:
        self.funnel, self.s, self.period = funnel, s, period
        s.check_steps(funnel.steps)
        s.check_steps([x.step for x in funnel.exclude], "exclude")
        self.events = [name for step in funnel.steps for name in step.events or ()]
        self.by = Breakdown(s, funnel.by, self.events)
        if funnel.count == "groups" and any(field.kind == "trait" for field in self.by.fields):
            raise QueryError("by: groups have no traits of people", hint="use properties")
        self.carried = self.by.carries
        self.own_values = self.carried and funnel.attribution == "all"
        self.chains = _chains(funnel)
        self.inner, self.outer = self._keys()

    def units(self) -> str:
        """One row for each person (session, attempt) that entered: `a`, and `v` (values)."""
        rows = self._attempts()
        required = [k + 1 for k, step in enumerate(self.funnel.steps) if not step.optional]
        depth = " + ".join(f"(a.{k} != 0)" for k in required)
        if self.funnel.count == "attempts":
            rows = f"SELECT * EXCEPT (attempts), arrayJoin(attempts) AS a FROM ({rows})"
        else:
            rows = f"SELECT *, arrayMap(a -> {depth}, attempts) AS depths FROM ({rows})"
            rows = f"SELECT *, attempts[indexOf(depths, arrayMax(depths))] AS a FROM ({rows})"
        if self.carried:
            rows = f"SELECT *, {self._value()} AS carried FROM ({rows})"
        if len(self.inner) > len(self.outer):
            rows = self._best(rows, self.outer)
        return self.by.join(rows, "unit") if self.funnel.by else rows

    def units_over(self) -> str:
        """One row for each person (session) and period in which they began: `a`, and `v`."""
        rows = f"SELECT * EXCEPT (attempts), arrayJoin(attempts) AS a FROM ({self._attempts()})"
        assert self.funnel.over is not None  # noqa: S101 (only called with one)
        grid = Grid(self.funnel.over, self.funnel.timezone, 0, 1, datetime.now(UTC))
        begin = f"fromUnixTimestamp64Milli(toInt64(bitShiftRight(a.1, {self.chains.width})), 'UTC')"
        rows = f"SELECT *, [toString({grid.sql(self.s, begin)})] AS v FROM ({rows})"
        if self.funnel.count == "attempts":
            return rows
        return self._best(rows, [*self.outer, "v"])

    def _best(self, rows: str, keys: list[str]) -> str:
        """Of all attempts with the same keys the one that counts."""
        # The deepest, then the earliest in each required step, in each optional one (never
        # comes last: 0 - 1 is the largest number), then the least values.
        carried = ", carried" if self.carried else ""
        required = [k + 1 for k, step in enumerate(self.funnel.steps) if not step.optional]
        optional = [slot + 1 for slot in self.chains.optional]
        depth = " + ".join(f"(a.{k} != 0)" for k in required)
        times = ", ".join(f"toUInt64(a.{k} - 1)" for k in [*required, *optional])
        same = ", ".join(keys)
        chosen = f"argMin(tuple(a{carried}), (-({depth}), {times}{carried}))"
        rows = f"SELECT {same}, {chosen} AS best FROM ({rows}) GROUP BY {same}"
        more = ", best.2 AS carried" if self.carried else ""
        return f"SELECT {same}, best.1 AS a{more} FROM ({rows})"

    def _keys(self) -> tuple[list[str], list[str]]:
        """What the events are grouped by, and what is counted in the end."""
        inner, outer = ["unit"], ["unit"]
        if self.funnel.count == "sessions":
            outer.append("session")
        if self.funnel.count == "sessions" or self.funnel.within_session:
            inner.append("session")
        inner += [f"h{i}" for i in range(len(self.funnel.hold))]
        if self.own_values:
            inner.append("v0")
            outer.append("v0")
        return (inner, inner) if self.funnel.count == "attempts" else (inner, outer)

    def _attempts(self) -> str:
        funnel = self.funnel
        rows = self.chains.attempts(self._arrays())
        rows = f"SELECT * FROM ({rows}) WHERE notEmpty(attempts)"
        if funnel.entry == "first":
            rows = f"SELECT * REPLACE (arraySlice(attempts, 1, 1) AS attempts) FROM ({rows})"
            if self.period.since is not None:
                since = self.s.bind(round(self.period.since.timestamp() * 1000), "Int64")
                begin = f"toInt64(bitShiftRight(attempts[1].1, {self.chains.width}))"
                rows = f"SELECT * FROM ({rows}) WHERE {begin} >= {since}"
        if funnel.exclude:
            rows = f"SELECT * FROM ({self.chains.drop_excluded(rows)}) WHERE notEmpty(attempts)"
        return rows

    def _arrays(self) -> str:
        """The persons' arrays `e`, sorted, with a 0 at the end."""
        funnel, s, chains = self.funnel, self.s, self.chains
        whole = Period(None, self.period.until)
        where = s.period(whole if funnel.entry == "first" else self.period)
        steps = [*funnel.steps, *(x.step for x in funnel.exclude)]
        # In strict order whatever else a person did stands between two steps.
        where.append(BEHAVIOUR if chains.strict else s.only_events(steps))
        if funnel.where is not None:
            where.append(s.condition(funnel.where, self.events, "where"))
        where += in_segment(s, funnel.segment, self.period)
        unit = "group_id" if funnel.count == "groups" else "person_id"
        if funnel.count == "groups":
            where.append("group_id != ''")
        columns = [f"{unit} AS unit"]
        if "session" in self.inner:
            columns.append("session_id AS session")
            where.append("session_id != ''")
        columns += [
            f"{s.value(field, self.events, f'hold[{i}]')} AS h{i}"
            for i, field in enumerate(funnel.hold)
        ]
        columns.append(
            f"bitShiftLeft(toUInt64(toUnixTimestamp64Milli(timestamp)), {chains.width})"
            f" + {self._mask()} AS x"
        )
        if self.carried:
            columns.append(f"{self.by.columns} AS v0")
        rows = f"SELECT {', '.join(columns)} FROM resolved_events WHERE {' AND '.join(where)}"
        if not chains.strict and any(m.where is not None for x in steps for m in x.matches):
            rows = f"SELECT * FROM ({rows}) WHERE bitAnd(x, {(1 << chains.width) - 1}) != 0"
        keys, pairs = ", ".join(self.inner), ""
        if self.carried and not self.own_values:
            pairs = f", groupArrayIf((x, v0), bitAnd(x, {self._attributed()}) != 0) AS vs"
        return (
            f"SELECT {keys}, arrayPushBack(arraySort(groupArray(x)), 0) AS e{pairs}"
            f" FROM ({rows}) GROUP BY {keys}"
        )

    def _mask(self) -> str:
        """Which steps and exclusions an event matches, as a number."""
        parts = [
            f"({self.s.step(exclusion.step, f'exclude[{i}]')}) * {1 << i}"
            for i, exclusion in enumerate(self.funnel.exclude)
        ]
        group_of = {slot: stage for stage in self.chains.stages for slot in stage}
        for slot, step in enumerate(self.funnel.steps):
            earlier = [other for other in group_of.get(slot, ()) if other < slot]
            bit = self.chains.bits[slot]
            if any(self.chains.bits[other] == bit for other in earlier):
                continue  # the same step again, in a group
            wanted = self.s.step(step, f"steps[{slot}]")
            for other in earlier:
                # Within a group an event counts for the first of the steps it matches.
                wanted += f" AND NOT {self.s.step(self.funnel.steps[other], f'steps[{other}]')}"
            parts.append(f"({wanted}) * {1 << bit}")
        return "(" + " + ".join(parts) + ")"

    def _attributed(self) -> int:
        """The bits of the events whose values are kept."""
        bits, attribution = self.chains.bits, self.funnel.attribution
        if attribution == "first":
            slots = self.chains.stages[0]
        elif attribution == "last":
            slots = tuple(range(len(bits)))
        else:
            slot = int(attribution) - 1
            # In a group any of its steps may have been the n-th.
            slots = next((stage for stage in self.chains.stages if slot in stage), (slot,))
        return sum(1 << bit for bit in {bits[slot] for slot in slots})

    def _value(self) -> str:
        """The values at the event the attempt is attributed to; of equal events the least."""
        attribution, count = self.funnel.attribution, len(self.funnel.steps)
        if attribution == "all":
            return "v0"
        if attribution == "first":
            event = "a.1"
        elif attribution == "last":
            event = f"arrayMax([{', '.join(f'a.{k}' for k in range(1, count + 1))}])"
        else:
            event = f"a.{int(attribution)}"
        return f"arraySort(arrayFilter(p -> p.1 = {event}, vs))[1].2"


def _chains(funnel: Funnel) -> Chains:
    slots, excluded = len(funnel.steps), len(funnel.exclude)
    if slots + excluded > _MAX_WIDTH:
        raise QueryError(
            f"a funnel of {slots} steps has room for {_MAX_WIDTH - slots} exclusions,"
            f" not {excluded}"
        )
    bits = [excluded + slot for slot in range(slots)]
    for stage in funnel.stages:
        for place, slot in enumerate(stage):
            for other in stage[:place]:
                if funnel.steps[other].matches == funnel.steps[slot].matches:
                    bits[slot] = bits[other]
    required = {slot: number for number, stage in enumerate(funnel.stages) for slot in stage}
    optional: dict[int, int] = {}
    for slot in range(slots):
        if slot not in required:
            optional[slot] = max(n for other, n in required.items() if other < slot)
    return Chains(
        stages=funnel.stages,
        optional=optional,
        bits=tuple(bits),
        width=slots + excluded,
        strict=funnel.order == "strict",
        window_ms=funnel.window_ms,
        exclusions=tuple(
            Exclusion(x.after - 1, x.before - 1, x.drop == "person") for x in funnel.exclude
        ),
    )

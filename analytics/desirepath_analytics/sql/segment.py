"""A segment as SQL: one pass over the events, a counter for each `did`, and a formula over them.

Where the formula cannot hold for a person without any of the events, only those events are read.
"""

# ruff: noqa: S608 (every value is bound, see sql/build.py)
from __future__ import annotations

from typing import TYPE_CHECKING, Final

from desirepath.errors import QueryError
from desirepath_analytics.behaviour.rules import (
    AllOf,
    AnyOf,
    Did,
    HasTrait,
    Member,
    Not,
    Ordered,
    People,
    Rule,
    read_rule,
)
from desirepath_analytics.conditions import Combined, Condition
from desirepath_analytics.names import did_you_mean
from desirepath_analytics.spec import Period, duration_text
from desirepath_analytics.sql.build import Statement

if TYPE_CHECKING:
    from desirepath_analytics.behaviour.segment import Segment
    from desirepath_analytics.catalog import Catalog
    from desirepath_collector.warehouse import Sql

__all__ = ["in_segment", "segment_sql"]

_SETTINGS: Final = {"max_result_rows": 0}


def segment_sql(segment: Segment, catalog: Catalog, period: Period) -> Sql:
    """The segment's people, sorted."""
    s = Statement(catalog)
    people = _Maker(s, period).people(segment.rule)
    return s.sql(f"SELECT person_id FROM ({people}) ORDER BY person_id", _SETTINGS)


def in_segment(s: Statement, segment: Segment | str | None, period: Period) -> list[str]:
    """The condition, if there is one, that keeps the events of a segment's people.

    Membership is judged by all events before the end of the period.
    """
    if segment is None:
        return []
    rule: Rule = Member(segment) if isinstance(segment, str) else segment.rule
    people = _Maker(s, Period(None, period.until)).people(rule)
    return [f"person_id IN ({people})"]


class _Maker:
    """One segment in the making: counters, traits, formula."""

    def __init__(self, s: Statement, period: Period) -> None:
        self.s, self.period = s, period
        self.counters: list[str] = []
        self.events: list[Did] = []
        self.traits: dict[str, int] = {}
        self.open: list[str] = []

    def people(self, rule: Rule) -> str:
        """`SELECT person_id` of the people of whom the rule holds."""
        formula = self._formula(rule)
        where = self.s.period(self.period)
        if _holds(rule, self) is False:
            steps = [did.step for did in self.events]
            where.append(self.s.only_events(steps) if steps else "1")
            if self.events and all(self._reach(did) is not None for did in self.events):
                where.append(self._since(max(self._reach(did) or 0 for did in self.events)))
        counters = "".join(f", {counter} AS c{i}" for i, counter in enumerate(self.counters))
        condition = f" WHERE {' AND '.join(where)}" if where else ""
        rows = f"SELECT person_id{counters} FROM resolved_events{condition} GROUP BY person_id"
        joins = "".join(
            f" LEFT ANY JOIN (SELECT person_id, value, 1 AS here FROM resolved_traits"
            f" WHERE trait = {self.s.bind(name)}) AS t{i} ON t{i}.person_id = p.person_id"
            for name, i in self.traits.items()
        )
        return f"SELECT p.person_id AS person_id FROM ({rows}) AS p{joins} WHERE {formula}"

    def _since(self, within_ms: int) -> str:
        if self.period.until is None:
            return f"timestamp >= now64(3) - toIntervalMillisecond({within_ms})"
        until = round(self.period.until.timestamp() * 1000)
        begin = self.s.bind(until - within_ms, "Int64")
        return f"timestamp >= fromUnixTimestamp64Milli({begin}, 'UTC')"

    def _formula(self, rule: Rule) -> str:
        if isinstance(rule, (AllOf, AnyOf)):
            parts = [self._formula(part) for part in rule.rules]
            return "(" + (" AND " if isinstance(rule, AllOf) else " OR ").join(parts) + ")"
        if isinstance(rule, Not):
            return f"NOT ({self._formula(rule.rule)})"
        if isinstance(rule, Did):
            return self._did(rule)
        if isinstance(rule, Ordered):
            return self._ordered(rule)
        if isinstance(rule, HasTrait):
            return self._trait(rule.condition)
        if isinstance(rule, People):
            return f"p.person_id IN {self.s.bind(list(rule.ids), 'Array(String)')}"
        if isinstance(rule, Member):
            return self._member(rule)
        raise QueryError(f"{rule!r} is no rule")

    def _did(self, rule: Did) -> str:
        at = f"did {rule.step.name}"
        self.s.check_steps([rule.step], at)
        step = test = self.s.step(rule.step, at)
        self.events.append(rule)
        if rule.within_ms is not None:
            test = f"{step} AND {self._since(rule.within_ms)}"
        if rule.how == "first":
            # In the window, and never before it.
            ever, inside = self._counter(f"countIf({step})"), self._counter(f"countIf({test})")
            return f"({inside} >= 1 AND {ever} = {inside})"
        count = self._counter(self._measured(rule, test, at))
        if rule.how == "more":
            span = rule.within_ms or 0
            earlier = f"{step} AND {self._since(2 * span)} AND NOT ({self._since(span)})"
            return f"{count} > {self._counter(self._measured(rule, earlier, at))}"
        if rule.most == rule.least:
            return f"{count} = {rule.least}"
        parts = [f"{count} >= {rule.least}"] if rule.least else []
        parts += [f"{count} <= {rule.most}"] if rule.most is not None else []
        return "(" + " AND ".join(parts) + ")" if parts else "1"

    def _measured(self, rule: Did, test: str, at: str) -> str:
        """What a rule counts, as an aggregate."""
        if rule.measure == "days":
            return f"uniqExactIf(toDate(timestamp, 'UTC'), {test})"
        if rule.measure == "sum" and rule.of is not None:
            text = self.s.value(rule.of, rule.step.events or (), f"{at}: sum")
            return f"sumIf(ifNull(toFloat64OrNull({text}), 0), {test})"
        return f"countIf({test})"

    def _counter(self, aggregate: str) -> str:
        """The column of an aggregate; equal ones share it."""
        if aggregate not in self.counters:
            self.counters.append(aggregate)
        return f"c{self.counters.index(aggregate)}"

    def _reach(self, rule: Did) -> int | None:
        """How far back a rule looks, in milliseconds; None: at everything."""
        if rule.within_ms is None or rule.how == "first":
            return None
        return rule.within_ms * (2 if rule.how == "more" else 1)

    def _ordered(self, rule: Ordered) -> str:
        """Whether the person got to the end of a funnel of these steps."""
        from desirepath_analytics.behaviour.funnel import Funnel
        from desirepath_analytics.sql.funnel import reached_sql

        within = None if rule.within_ms is None else duration_text(rule.within_ms)
        people = reached_sql(self.s, Funnel(list(rule.steps), within=within), self.period)
        return f"p.person_id IN ({people})"

    def _trait(self, condition: Condition) -> str:
        if isinstance(condition, Combined):
            parts = [self._trait(part) for part in condition.parts]
            if condition.how == "not":
                return f"NOT ({parts[0]})"
            return "(" + (" AND " if condition.how == "all" else " OR ").join(parts) + ")"
        field = self.s.catalog.resolve(condition.field, [], "trait")
        number = self.traits.setdefault(field.name, len(self.traits))
        return self.s.text_test(condition, f"t{number}.value", f"t{number}.here = 1")

    def _member(self, rule: Member) -> str:
        return self._formula(self.definition(rule))

    def definition(self, rule: Member) -> Rule:
        """The rule of a segment of the plan; it may not lead back to itself."""
        segments = self.s.catalog.segments
        if rule.name not in segments:
            raise QueryError(
                f"the plan has no segment {rule.name!r}", hint=did_you_mean(rule.name, segments)
            )
        if rule.name in self.open:
            raise QueryError(f"segment {rule.name!r} is defined by itself")
        self.open.append(rule.name)
        found = read_rule(segments[rule.name], f"segments.{rule.name}")
        _expanded(found, self)
        self.open.pop()
        return found


def _expanded(rule: Rule, maker: _Maker) -> None:
    """Walk to the ends of a definition, so that a circle is found before it is followed."""
    if isinstance(rule, (AllOf, AnyOf)):
        for part in rule.rules:
            _expanded(part, maker)
    elif isinstance(rule, Not):
        _expanded(rule.rule, maker)
    elif isinstance(rule, Member):
        maker.definition(rule)


def _holds(rule: Rule, maker: _Maker) -> bool | None:
    """Whether the rule holds of a person who did nothing that it names; None: it depends."""
    if isinstance(rule, AllOf):
        parts = [_holds(part, maker) for part in rule.rules]
        return False if False in parts else None if None in parts else True
    if isinstance(rule, AnyOf):
        parts = [_holds(part, maker) for part in rule.rules]
        return True if True in parts else None if None in parts else False
    if isinstance(rule, Not):
        inner = _holds(rule.rule, maker)
        return None if inner is None else not inner
    if isinstance(rule, Did):
        return rule.how == "any" and rule.least <= 0 and (rule.most is None or rule.most >= 0)
    if isinstance(rule, Member):
        return _holds(maker.definition(rule), maker)
    return None

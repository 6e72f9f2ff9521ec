"""The bricks of every statement: bound values, fields, conditions, ranges.

A `Statement` collects parameters while fragments are made. What a person typed only ever enters
it through `bind`, and stands in the text as a placeholder; column names come from this module.
Properties, context and traits are rows of maps, so even their names are bound values.
"""

# ruff: noqa: S608 (every value is bound, see sql/build.py)
from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from desirepath.errors import QueryError
from desirepath_analytics.conditions import MESSAGE_COLUMNS, Condition, Field, Test, positive
from desirepath_analytics.spec import LIMITS, Match, Period, Step

if TYPE_CHECKING:
    from desirepath_analytics.catalog import Catalog
    from desirepath_collector.warehouse import Sql

__all__ = ["BEHAVIOUR", "Statement"]

BEHAVIOUR: Final = "kind IN ('track', 'page', 'screen')"
"""What people did, as against what was said about them (identify, group, alias)."""

_MAPS: Final = {"property": "properties", "context": "context"}
_MAX_EXACT_INT: Final = 2**53
_MAX_BOUND_TEXT: Final = 10_000


class Statement:
    """Parameters of one statement, and the fragments that use them."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._params: dict[str, Any] = {}
        self._known: dict[tuple[str, Any], str] = {}

    def bind(self, value: Any, kind: str = "String") -> str:
        """A placeholder for `value` of the ClickHouse type `kind`; equal values share one."""
        if isinstance(value, str):
            if "\x00" in value:
                raise QueryError(f"{value!r} holds a NUL character, which no event can")
            if len(value) > _MAX_BOUND_TEXT:
                raise QueryError(
                    f"a text of {len(value):,} characters; at most {_MAX_BOUND_TEXT:,}"
                )
        key = (kind, tuple(value) if isinstance(value, list) else value)
        if key not in self._known:
            name = f"p{len(self._params)}"
            self._known[key] = name
            self._params[name] = value
        return f"{{{self._known[key]}:{kind}}}"

    def sql(self, text: str, settings: Mapping[str, Any] | None = None) -> Sql:
        """The finished statement, under the limits of every question."""
        from desirepath_collector.warehouse import Sql

        return Sql(text, dict(self._params), {**LIMITS, **(settings or {})})

    def period(self, period: Period, column: str = "timestamp") -> list[str]:
        """The conditions that keep an event inside the period."""
        sides = ((">=", period.since), ("<", period.until))
        return [
            f"{column} {op} fromUnixTimestamp64Milli({self.bind(_ms(side), 'Int64')}, 'UTC')"
            for op, side in sides
            if side is not None
        ]

    def step(self, step: Step, at: str) -> str:
        """Whether an event is this step, as a 0/1 expression."""
        plain = [m.event for m in step.matches if m.where is None and m.event is not None]
        parts = []
        if len(plain) == 1:
            parts.append(f"event = {self.bind(plain[0])}")
        elif plain:
            parts.append(f"event IN {self.bind(sorted(set(plain)), 'Array(String)')}")
        parts += [
            self.match(match, at)
            for match in step.matches
            if match.where is not None or match.event is None
        ]
        return parts[0] if len(parts) == 1 else "(" + " OR ".join(parts) + ")"

    def match(self, match: Match, at: str) -> str:
        """Whether an event is this one alternative."""
        parts = [BEHAVIOUR if match.event is None else f"event = {self.bind(match.event)}"]
        if match.where is not None:
            events = [] if match.event is None else [match.event]
            parts.append(self.condition(match.where, events, at))
        return parts[0] if len(parts) == 1 else "(" + " AND ".join(parts) + ")"

    def check_steps(self, steps: Iterable[Step], at: str = "steps") -> None:
        """Every event a step names must exist."""
        for i, step in enumerate(steps):
            for name in step.events or [m.event for m in step.matches if m.event is not None]:
                self.catalog.check_event(name, f"{at}[{i}]")

    def only_events(self, steps: Iterable[Step]) -> str:
        """A cheap condition that drops events which can match none of the steps."""
        names: set[str] = set()
        for step in steps:
            if step.events is None:
                return BEHAVIOUR
            names.update(step.events)
        return f"event IN {self.bind(sorted(names), 'Array(String)')}"

    def condition(self, condition: Condition, events: Iterable[str], at: str) -> str:
        """A filter as a 0/1 expression over a row of `resolved_events`."""
        names = list(events)
        if isinstance(condition, Test):
            return self._test(condition, names, at)
        parts = [self.condition(part, names, at) for part in condition.parts]
        if condition.how == "not":
            return f"NOT {parts[0]}"
        return "(" + (" AND " if condition.how == "all" else " OR ").join(parts) + ")"

    def value(self, field: Field, events: Iterable[str], at: str) -> str:
        """A field of an event as text, empty where it is absent. Not for traits."""
        found = self.catalog.resolve(field, events, at)
        return self._raw(found)[0]

    def _test(self, test: Test, events: list[str], at: str) -> str:
        field = self.catalog.resolve(test.field, events, at)
        if field.kind != "trait":
            return self.text_test(test, *self._raw(field))
        op, wanted, negated = _positive(test)
        # Text and table are bound and fixed; the test asks for people that have the trait.
        having = f"trait = {self.bind(field.name)} AND {self._compare(op, wanted, 'value', None)}"
        people = f"SELECT person_id FROM resolved_traits WHERE {having}"
        return f"person_id {'NOT IN' if negated else 'IN'} ({people})"

    def text_test(self, test: Test, raw: str, present: str) -> str:
        """A test of a text column that is only there where `present` holds."""
        op, wanted, negated = _positive(test)
        text = self._compare(op, wanted, raw, present)
        return f"NOT ({text})" if negated else text

    def _raw(self, field: Field) -> tuple[str, str]:
        """The expression of a field's text, and of its being there."""
        if field.kind == "message":
            if field.name not in MESSAGE_COLUMNS:
                raise QueryError(f"an event has no column {field.name!r}")
            return f"toString({field.name})", f"{field.name} != ''"
        if field.kind == "trait" or field.kind is None:
            raise QueryError(f"{field} is no field of an event")
        column, name = _MAPS[field.kind], self.bind(field.name)
        return f"{column}[{name}]", f"mapContains({column}, {name})"

    def _compare(self, op: str, wanted: Any, raw: str, present: str | None) -> str:
        here = present or "1"
        if op == "exists":
            return here
        if op == "==":
            return self._equal(wanted, raw, here)
        if op == "in":
            return self._among(list(wanted), raw, here)
        if op == "between":
            low, high = self._ordered(wanted[0]), self._ordered(wanted[1])
            side = _number(raw) if not isinstance(wanted[0], str) else raw
            return f"({here} AND ifNull({side} BETWEEN {low} AND {high}, 0))"
        if op in ("<", "<=", ">", ">="):
            side = _number(raw) if not isinstance(wanted, str) else raw
            return f"({here} AND ifNull({side} {op} {self._ordered(wanted)}, 0))"
        text = self.bind(wanted)
        function = {
            "contains": f"position({raw}, {text}) > 0",
            "starts_with": f"startsWith({raw}, {text})",
            "ends_with": f"endsWith({raw}, {text})",
            "matches": f"match({raw}, {text})",
        }[op]
        return f"({here} AND {function})"

    def _ordered(self, value: Any) -> str:
        return self.bind(value) if isinstance(value, str) else self.bind(float(value), "Float64")

    def _equal(self, wanted: Any, raw: str, here: str) -> str:
        if isinstance(wanted, bool):
            return f"{raw} = {self.bind('true' if wanted else 'false')}"
        if isinstance(wanted, int) and abs(wanted) > _MAX_EXACT_INT:
            return f"{raw} = {self.bind(str(wanted))}"
        if isinstance(wanted, (int, float)):
            return f"ifNull({_number(raw)} = {self.bind(float(wanted), 'Float64')}, 0)"
        text = f"{raw} = {self.bind(wanted)}"
        # An absent key reads as the empty text.
        return f"({here} AND {text})" if wanted == "" else text

    def _among(self, wanted: list[Any], raw: str, here: str) -> str:
        texts = sorted({item for item in wanted if isinstance(item, str) and item})
        parts = [f"{raw} IN {self.bind(texts, 'Array(String)')}"] if texts else []
        parts += [
            self._equal(item, raw, here) if item is not None else f"NOT {here}"
            for item in wanted
            if not (isinstance(item, str) and item)
        ]
        return parts[0] if len(parts) == 1 else "(" + " OR ".join(parts) + ")"


def _positive(test: Test) -> tuple[str, Any, bool]:
    """Operator and operand of the positive form, and whether the test is its complement.

    "There is none" becomes the complement of "there is one", so that both are exact.
    """
    op, negated = positive(test.op)
    wanted = test.operand
    if op == "==" and wanted is None:
        return "exists", True, not negated
    if op == "exists":
        return "exists", True, wanted is False
    return op, wanted, negated


def _number(raw: str) -> str:
    return f"toFloat64OrNull({raw})"


def _ms(side: datetime) -> int:
    return round(side.timestamp() * 1000)

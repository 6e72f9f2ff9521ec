"""What is known about a person at a cut-off, computed in ClickHouse.

One promise: nothing that happened at or after a cut-off can change a feature at that cut-off.
Every column is an aggregate over rows with `timestamp < cut-off`; traits are those of the last
identify before it, first-touch values the first before it. (Identities are the warehouse's of
today: see docs/predictions.md.)

Operation: a first pass folds each person's events into pieces of time that no window boundary of
any cut-off crosses (whole days before the end), a second adds the pieces up per cut-off and
window. So six cut-offs cost little more than one, and the big table is read once.

Features come in families:

- `activity`: events, sessions (30 minutes apart) and active days in windows, recency, tenure,
  the usual gap between active days, and how overdue a person is by it;
- `events`: times each event was done in windows, and days since it was last done;
- `properties`: sum and mean of numeric properties;
- `first_touch`: the first value of a context field (source, country, device ...), a category;
- `traits`: the trait's value as of the cut-off, a number or a category.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, Literal

import msgspec

from desirepath_analytics.catalog import OpenCatalog
from desirepath_analytics.conditions import parse_where
from desirepath_analytics.predict.spec import Family, Propensity
from desirepath_analytics.sql.build import BEHAVIOUR, Statement
from desirepath_collector.warehouse import Sql

__all__ = [
    "Feature",
    "Inventory",
    "activity_sql",
    "features",
    "first_touch_sql",
    "labels_sql",
    "traits_sql",
]

_WINDOWS_DAYS: Final = (1, 7, 28)
_DAY_MS: Final = 86_400_000
_SESSION_GAP_MS: Final = 30 * 60 * 1000
_NEVER_MS: Final = 0
# A row a person and cut-off: more than a question for people to read may have.
_LIMITS: Final = {
    "max_execution_time": 600,
    "max_memory_usage": 4_000_000_000,
    "max_result_rows": 20_000_000,
}

Source = Literal["activity", "first_touch", "traits"]


class Inventory(msgspec.Struct, frozen=True):
    """The names the features are made from; found once at training and kept with the model.

    Parameters
    ----------
    events
        Events counted one by one; the outcome is the first.
    numbers
        (event, property) pairs whose values are numbers.
    context
        Context fields with few values, dots for nesting; `source` is the event's own column.
    trait_numbers, trait_categories
        Traits by what they hold.
    """

    events: tuple[str, ...]
    numbers: tuple[tuple[str, str], ...] = ()
    context: tuple[str, ...] = ()
    trait_numbers: tuple[str, ...] = ()
    trait_categories: tuple[str, ...] = ()


class Feature(msgspec.Struct, frozen=True):
    """One column of the model's input.

    Parameters
    ----------
    name
        For people: `Order Completed, times in 7 days`.
    family
        The group it belongs to.
    kind
        A number, or a category held as text.
    source
        Which statement computes it.
    column
        Its alias there.
    """

    name: str
    family: Family
    kind: Literal["number", "category"]
    source: Source
    column: str


class _Draft(msgspec.Struct, frozen=True):
    """A feature of the activity statement before it has a column."""

    name: str
    family: Family
    expression: str


def features(spec: Propensity, inventory: Inventory) -> tuple[Feature, ...]:
    """The columns of the model's input, in their order."""
    found = [
        Feature(draft.name, draft.family, "number", "activity", f"f{number}")
        for number, draft in enumerate(_drafts(spec, inventory))
    ]
    if "first_touch" in spec.features:
        found += [
            Feature(f"first {field}", "first_touch", "category", "first_touch", f"f{number}")
            for number, field in enumerate(inventory.context)
        ]
    if "traits" in spec.features:
        numbers = len(inventory.trait_numbers)
        found += [
            Feature(f"trait {trait}", "traits", "number", "traits", f"f{number}")
            for number, trait in enumerate(inventory.trait_numbers)
        ]
        found += [
            Feature(f"trait {trait}", "traits", "category", "traits", f"f{numbers + number}")
            for number, trait in enumerate(inventory.trait_categories)
        ]
    return tuple(found)


def activity_sql(spec: Propensity, inventory: Inventory, end: datetime, days: Sequence[int]) -> Sql:
    """Everything countable, a row a person and cut-off, and with it who is in the population.

    Parameters
    ----------
    spec, inventory
        What to compute.
    end
        The moment the cut-offs are counted back from.
    days
        Each cut-off's days before `end`.

    Returns
    -------
    Sql
        Columns `person_id`, `k` (the cut-off's days before the end), `recency_days`, and one a
        feature; in no order: sorting rows this wide costs a third of the statement.
    """
    statement = Statement(OpenCatalog())
    bind = statement.bind
    end_ms = bind(_ms(end), "Int64")
    pieces, extra = _pieces(spec, inventory, statement)
    drafts = _drafts(spec, inventory)
    columns = [f"{draft.expression} AS f{number}" for number, draft in enumerate(drafts)]
    population = [f"min(age) - k < {bind(spec.active_days, 'Int32')}"]
    for number, (_, wanted) in enumerate(_population_events(spec)):
        population.append(f"sum(m{number}) {'> 0' if wanted else '= 0'}")
    text = f"""
WITH
    {end_ms} AS end_ms,
    {_DAY_MS} AS day_ms,
    pieces AS (
        SELECT
            person,
            -- Every cut-off and every window's far end starts a piece of its own.
            roundDown(age_exact, {bind(_boundaries(spec, days), "Array(Int32)")}) AS age,
            uniqExact(age_exact) AS days,
            count() AS n,
            min(ms) AS first_ms,
            max(ms) AS last_ms,
            arrayCount(gap -> gap > {_SESSION_GAP_MS}, arrayDifference(arraySort(groupArray(ms))))
                + 1 AS sessions,
            {_lines(pieces, 12)}
        FROM (
            SELECT
                person,
                toUnixTimestamp64Milli(timestamp) AS ms,
                toInt32(intDiv(end_ms - 1 - ms, day_ms)) AS age_exact,
                {_lines(extra, 16)}
            FROM resolved_events
            WHERE timestamp < fromUnixTimestamp64Milli(end_ms, 'UTC') AND {BEHAVIOUR}
        )
        GROUP BY person, age
    )
SELECT
    person,
    k,
    (end_ms - k * day_ms - max(last_ms)) / day_ms AS recency_days,
    {_lines(columns, 4)}
FROM (SELECT *, arrayJoin({bind(list(days), "Array(Int32)")}) AS k FROM pieces)
WHERE age >= k
GROUP BY person, k
HAVING {" AND ".join(population)}"""  # noqa: S608 (every value and name is bound)
    return statement.sql(text.strip(), _LIMITS)


def first_touch_sql(inventory: Inventory, end: datetime, days: Sequence[int]) -> Sql | None:
    """The first value of each context field before each cut-off; None if there is no field."""
    if not inventory.context:
        return None
    statement = Statement(OpenCatalog())
    bind = statement.bind
    values = [
        "toString(source)" if field == "source" else f"context[{bind(field, 'String')}]"
        for field in inventory.context
    ]
    # (time, value): of two first values at the same moment the lesser one, whatever the order.
    firsts = [f"minIf((ms, v{n}), v{n} != '') AS t{n}" for n in range(len(values))]
    columns = [
        f"if(t{n}.2 != '' AND t{n}.1 < cutoff_ms, t{n}.2, '') AS f{n}" for n in range(len(values))
    ]
    end_ms = bind(_ms(end), "Int64")
    text = f"""
WITH {end_ms} AS end_ms
SELECT
    person,
    k,
    {_lines(columns, 4)}
FROM (
    SELECT
        *,
        arrayJoin({bind(list(days), "Array(Int32)")}) AS k,
        end_ms - k * {_DAY_MS} AS cutoff_ms
    FROM (
        SELECT
            person,
            min(ms) AS first_ms,
            {_lines(firsts, 12)}
        FROM (
            SELECT
                person,
                toUnixTimestamp64Milli(timestamp) AS ms,
                {_lines([f"{value} AS v{n}" for n, value in enumerate(values)], 16)}
            FROM resolved_events
            WHERE timestamp < fromUnixTimestamp64Milli(end_ms, 'UTC') AND {BEHAVIOUR}
        )
        GROUP BY person
    )
)
WHERE first_ms < cutoff_ms"""  # noqa: S608 (every value and name is bound)
    return statement.sql(text.strip(), _LIMITS)


def traits_sql(inventory: Inventory, end: datetime, days: Sequence[int]) -> Sql | None:
    """Each trait's last value before each cut-off, from the identify calls; None if no trait."""
    traits = (*inventory.trait_numbers, *inventory.trait_categories)
    if not traits:
        return None
    statement = Statement(OpenCatalog())
    bind = statement.bind
    end_ms = bind(_ms(end), "Int64")
    raw = [f"properties[{bind(trait, 'String')}] AS v{n}" for n, trait in enumerate(traits)]
    last = [f"argMaxIf(v{n}, (ms, v{n}), v{n} != '')" for n in range(len(traits))]
    numbers = len(inventory.trait_numbers)
    columns = [
        f"{_number(value) if n < numbers else value} AS f{n}" for n, value in enumerate(last)
    ]
    text = f"""
WITH {end_ms} AS end_ms
SELECT
    person,
    k,
    {_lines(columns, 4)}
FROM (
    SELECT
        person,
        toUnixTimestamp64Milli(timestamp) AS ms,
        arrayJoin({bind(list(days), "Array(Int32)")}) AS k,
        {_lines(raw, 8)}
    FROM resolved_events
    WHERE kind = 'identify' AND timestamp < fromUnixTimestamp64Milli(end_ms, 'UTC')
)
WHERE ms < end_ms - k * {_DAY_MS}
GROUP BY person, k"""  # noqa: S608 (every value and name is bound)
    return statement.sql(text.strip(), _LIMITS)


def labels_sql(spec: Propensity, end: datetime, days: Sequence[int]) -> Sql:
    """Who did the outcome in `[cut-off, cut-off + horizon)`: columns `person_id`, `k`."""
    statement = Statement(OpenCatalog())
    bind = statement.bind
    end_ms = bind(_ms(end), "Int64")
    horizon_ms = int(spec.horizon_length.total_seconds() * 1000)
    text = f"""
WITH {end_ms} AS end_ms
SELECT DISTINCT person, k
FROM (
    SELECT
        person,
        toUnixTimestamp64Milli(timestamp) AS ms,
        arrayJoin({bind(list(days), "Array(Int32)")}) AS k,
        end_ms - k * {_DAY_MS} AS cutoff_ms
    FROM resolved_events
    WHERE event = {bind(spec.outcome, "String")} AND {_fits(spec, statement)}
)
WHERE ms >= cutoff_ms AND ms < cutoff_ms + {bind(horizon_ms, "Int64")}"""  # noqa: S608 (every value and name is bound)
    return statement.sql(text.strip(), _LIMITS)


def _pieces(
    spec: Propensity, inventory: Inventory, statement: Statement
) -> tuple[list[str], list[str]]:
    """The aggregates of a piece of time, and the columns of single events they need."""
    bind = statement.bind
    pieces: list[str] = []
    extra: list[str] = []
    for number, name in enumerate(inventory.events):
        same = f"event = {bind(name, 'String')}"
        if number == 0 and spec.where:
            same += f" AND {_fits(spec, statement)}"
        extra.append(f"{same} AS is{number}")
        pieces.append(f"countIf(is{number}) AS n{number}")
        pieces.append(f"maxIf(ms, is{number}) AS last{number}")
    pieces.append("minIf(ms, is0) AS first0")
    for number, (name, prop) in enumerate(_numbers(spec, inventory)):
        value = _number(f"properties[{bind(prop, 'String')}]")
        extra.append(f"if(event = {bind(name, 'String')}, {value}, NULL) AS value{number}")
        pieces.append(f"sum(value{number}) AS sum{number}")
        pieces.append(f"count(value{number}) AS filled{number}")
    for number, (name, _) in enumerate(_population_events(spec)):
        extra.append(f"event = {bind(name, 'String')} AS member{number}")
        pieces.append(f"countIf(member{number}) AS m{number}")
    return pieces, extra


def _drafts(spec: Propensity, inventory: Inventory) -> list[_Draft]:
    """The features of the activity statement; windows are days of 24 hours before the cut-off."""
    drafts: list[_Draft] = []

    def add(family: Family, name: str, expression: str) -> None:
        if family in spec.features:
            drafts.append(_Draft(name, family, expression))

    windows = _windows(spec)
    long = windows[-1]
    for days in windows:
        inside = f"age - k < {days}"
        add("activity", f"events in {_days(days)}", f"sumIf(n, {inside})")
        if days > 1:
            add("activity", f"active days in {days} days", f"sumIf(days, {inside})")
            add("activity", f"sessions in {days} days", f"sumIf(sessions, {inside})")
    last, first = "max(last_ms)", "min(first_ms)"
    add("activity", "days since the last event", _ago(last))
    add("activity", "days since the first event", _ago(first))
    gap = f"({last} - {first}) / (sum(days) - 1) / day_ms"
    # A person with one active day has no usual gap: NULL, which the trees know.
    add("activity", "usual days between active days", f"if(sum(days) > 1, {gap}, NULL)")
    add("activity", "overdue by the usual gap", f"if(sum(days) > 1, {_ago(last)} / {gap}, NULL)")
    outcome_gap = "(max(last0) - minIf(first0, n0 > 0)) / (sum(n0) - 1) / day_ms"
    for number, name in enumerate(inventory.events):
        label = f"{name} (where)" if number == 0 and spec.where else name
        for days in windows:
            if days > 1:
                counted = f"sumIf(n{number}, age - k < {days})"
                add("events", f"{label}, times in {days} days", counted)
        ever = f"max(last{number})"
        add(
            "events",
            f"{label}, days since the last",
            f"if({ever} > {_NEVER_MS}, {_ago(ever)}, NULL)",
        )
        if number == 0:
            add("events", f"{label}, times ever", "sum(n0)")
            several = "sum(n0) > 1 AND max(last0) > minIf(first0, n0 > 0)"
            add("events", f"{label}, usual days between", f"if({several}, {outcome_gap}, NULL)")
            overdue = f"{_ago(ever)} / ({outcome_gap})"
            add("events", f"{label}, overdue", f"if({several}, {overdue}, NULL)")
    for number, (name, prop) in enumerate(_numbers(spec, inventory)):
        for days in (28, long) if long > 28 else (long,):
            total = f"sumIf(sum{number}, age - k < {days})"
            add("properties", f"{name}.{prop}, sum in {days} days", f"ifNull({total}, 0)")
        mean = f"sum(sum{number}) / sum(filled{number})"
        add("properties", f"{name}.{prop}, mean", f"if(sum(filled{number}) > 0, {mean}, NULL)")
    return drafts


def _fits(spec: Propensity, statement: Statement) -> str:
    """Whether an outcome's properties are those asked for; a bare name is a property."""
    where = parse_where(spec.where)
    return "1" if where is None else f"({statement.condition(where, [spec.outcome], 'where')})"


def _numbers(spec: Propensity, inventory: Inventory) -> tuple[tuple[str, str], ...]:
    return inventory.numbers if "properties" in spec.features else ()


def _population_events(spec: Propensity) -> list[tuple[str, bool]]:
    population = spec.population
    return [(name, True) for name in population.did] + [
        (name, False) for name in population.did_not
    ]


def _windows(spec: Propensity) -> tuple[int, ...]:
    return (*(days for days in _WINDOWS_DAYS if days < spec.lookback_days), spec.lookback_days)


def _boundaries(spec: Propensity, days: Iterable[int]) -> list[int]:
    reach = (0, *_windows(spec), 28, spec.active_days)
    return sorted({0, *(cutoff + window for cutoff in days for window in reach)})


def _ago(ms: str) -> str:
    return f"(end_ms - k * day_ms - {ms}) / day_ms"


def _number(value: str) -> str:
    """A finite number, or NULL."""
    return f"if(isFinite(toFloat64OrNull({value})), toFloat64OrNull({value}), NULL)"


def _days(days: int) -> str:
    return "1 day" if days == 1 else f"{days} days"


def _lines(parts: Sequence[str], indent: int) -> str:
    return (",\n" + " " * indent).join(parts)


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)

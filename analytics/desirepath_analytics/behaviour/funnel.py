"""How far people get along a sequence of steps, how fast, and where they drop out.

An attempt begins at every event of the first step. Each further step takes the earliest event
after the one before it; one event is never two steps; what lies later than `within` after the
beginning (the bound included) does not count. Of a person's attempts the deepest counts, of equally
deep ones the earliest. Everybody who begins is at step 1. docs/questions.md has the options.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import msgspec

from desirepath.errors import QueryError
from desirepath_analytics.behaviour.estimate import Estimate, wilson
from desirepath_analytics.behaviour.funnel_over import FunnelPeriod, over_time
from desirepath_analytics.behaviour.options import read_fields, read_one_of, written
from desirepath_analytics.behaviour.periods import Unit, read_timezone, read_unit
from desirepath_analytics.conditions import Condition, Field, parse_where, where_spec
from desirepath_analytics.question import Question, Result, fetch
from desirepath_analytics.spec import (
    Period,
    Step,
    check_keys,
    duration_ms,
    duration_text,
    step_spec,
    without_notes,
)

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from desirepath_analytics.behaviour.funnel_compare import Difference
    from desirepath_analytics.behaviour.segment import Segment
    from desirepath_analytics.catalog import Catalog
    from desirepath_collector.warehouse import Sql, Warehouse

__all__ = ["Convert", "Exclude", "Funnel", "FunnelResult", "FunnelStep", "funnel_steps"]

MAX_STEPS = 20
MIN_STEPS = 2

Order = Literal["ordered", "strict", "any"]
Count = Literal["people", "sessions", "attempts", "groups"]
Attribution = Literal["first", "last", "all"] | int

_ORDERS: tuple[Order, ...] = ("ordered", "strict", "any")
_COUNTS: tuple[Count, ...] = ("people", "sessions", "attempts", "groups")
_ENTRIES = ("every", "first")
_KEYS = (
    *("steps", "within", "order", "by", "attribution", "where", "hold"),
    *("exclude", "entry", "count", "segment", "over", "timezone"),
)


class Exclude(msgspec.Struct, frozen=True):
    """An event that must not happen after step `after` and before step `before` (from 1).

    `drop` says what goes: the attempt, or the person with all attempts.
    """

    step: Step
    after: int
    before: int
    drop: Literal["attempt", "person"] = "attempt"


@dataclass(frozen=True, init=False, repr=False)
class Funnel(Question):
    """The question how far people get along `steps`.

    Parameters
    ----------
    steps
        2 to 20: an event's name, a list of names (any of them), or a mapping
        `{"event": ..., "where": {...}, "name": ..., "optional": True}`. `{"any_order": [...]}`
        holds steps that may come in any order between their neighbours.
    within
        How long after its beginning an attempt may take: `"7d"`, `"30m"`, `"session"`, or
        `"all"` (None): no limit.
    order
        `ordered`; `strict`: nothing else in between; `any`: the steps in any order.
    by
        Break down by one or several properties, context fields or traits.
    attribution
        Whose event's property it is broken down by: the attempt's `first`, `last` or n-th
        step; or `all`: each value is a funnel of its own, of the events that have it.
    where
        Only events that satisfy this.
    hold
        Properties that must be the same in all steps of an attempt.
    exclude
        Events that spoil an attempt: `{"event": ..., "after": 1, "before": 2, "drop": "attempt"}`.
    entry
        `every` beginning is an attempt, or only a person's `first` ever.
    count
        `people`, `sessions`, `attempts` or `groups`.
    segment
        Only the people of this segment: its name in the plan, or a `Segment`.
    over, timezone
        Also a funnel for each `hour`, `day`, `week` or `month` in which attempts began.
    """

    kind: ClassVar[str] = "funnel"

    steps: tuple[Step, ...]
    together: tuple[tuple[int, ...], ...]
    within: int | Literal["session"] | None
    order: Order
    by: tuple[Field, ...]
    attribution: Attribution
    where: Condition | None
    hold: tuple[Field, ...]
    exclude: tuple[Exclude, ...]
    entry: Literal["every", "first"]
    count: Count
    segment: Segment | str | None
    over: Unit | None
    timezone: str

    def __init__(
        self,
        steps: Sequence[Any],
        *,
        within: object = None,
        order: str = "ordered",
        by: str | Field | Sequence[str | Field] | None = None,
        attribution: str | int = "first",
        where: Mapping[str, Any] | Condition | None = None,
        hold: str | Sequence[str] | None = None,
        exclude: Sequence[Any] = (),
        entry: str = "every",
        count: str = "people",
        segment: Segment | Mapping[str, Any] | str | None = None,
        over: str | None = None,
        timezone: str = "UTC",
    ) -> None:
        from desirepath_analytics.behaviour.segment import read_segment

        parsed, together = _steps(steps)
        put = object.__setattr__
        put(self, "steps", parsed)
        put(self, "together", together)
        put(self, "within", _within(within))
        put(self, "order", read_one_of(order, _ORDERS, "order"))
        put(self, "by", read_fields(by, "by"))
        put(self, "attribution", _attribution(attribution, len(parsed)))
        put(self, "where", parse_where(where))
        put(self, "hold", read_fields(hold, "hold"))
        put(self, "exclude", tuple(_exclude(x, i, len(parsed)) for i, x in enumerate(exclude)))
        put(self, "entry", read_one_of(entry, _ENTRIES, "entry"))
        put(self, "count", read_one_of(count, _COUNTS, "count"))
        put(self, "segment", read_segment(segment, "segment"))
        put(self, "over", None if over is None else read_unit(over, "over"))
        put(self, "timezone", read_timezone(timezone))
        self._check()

    def __repr__(self) -> str:
        return f"Funnel.from_spec({self.to_spec()!r})"

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Funnel:
        """Read the plain form: the parameters as keys."""
        if not isinstance(spec, Mapping):
            raise QueryError(f"funnel: expected a mapping, found {spec!r}")
        asked = without_notes(spec)
        check_keys(asked, _KEYS, "funnel")
        if "steps" not in asked:
            raise QueryError("funnel: it has no steps")
        return cls(**asked)

    def to_spec(self) -> dict[str, Any]:
        """The plain form, without what has its default."""
        from desirepath_analytics.behaviour.segment import segment_spec

        spec: dict[str, Any] = {"steps": self._steps_spec()}
        if self.within is not None:
            spec["within"] = (
                self.within if isinstance(self.within, str) else duration_text(self.within)
            )
        plain = {"order": "ordered", "attribution": "first", "entry": "every", "count": "people"}
        for name, default in plain.items():
            value = getattr(self, name)
            if value != default:
                spec[name] = value
        if self.by:
            spec["by"] = written(self.by)
        if self.where is not None:
            spec["where"] = where_spec(self.where)
        if self.hold:
            spec["hold"] = [str(field) for field in self.hold]
        if self.exclude:
            spec["exclude"] = [_exclude_spec(x) for x in self.exclude]
        if self.segment is not None:
            spec["segment"] = segment_spec(self.segment)
        if self.over is not None:
            spec |= {"over": self.over, "timezone": self.timezone}
        return spec

    @property
    def within_session(self) -> bool:
        """Whether all steps must happen in one session."""
        return self.within == "session"

    @property
    def window_ms(self) -> int | None:
        """The window in milliseconds, None without a limit."""
        return self.within if isinstance(self.within, int) else None

    @property
    def stages(self) -> tuple[tuple[int, ...], ...]:
        """The required steps (from 0) in order; together those that may come in any order."""
        required = [slot for slot, step in enumerate(self.steps) if not step.optional]
        if self.order == "any":
            return (tuple(required),)
        group_of = {slot: group for group in self.together for slot in group}
        stages = [group_of.get(slot, (slot,)) for slot in required]
        return tuple(dict.fromkeys(stages))

    def compile(self, catalog: Catalog, since: object = None, until: object = None) -> Sql:
        """The SQL of the counts and times."""
        from desirepath_analytics.sql.funnel import funnel_sql

        return funnel_sql(self, catalog, Period.of(since, until))

    def run(self, warehouse: Warehouse, since: object = None, until: object = None) -> FunnelResult:
        """Ask; see `Question.run`."""
        return cast("FunnelResult", super().run(warehouse, since, until))

    def _run(self, warehouse: Warehouse, catalog: Catalog, period: Period) -> FunnelResult:
        from desirepath_analytics.sql.funnel import MAX_SHOWN, funnel_sql

        statement = funnel_sql(self, catalog, period)
        rows = fetch(warehouse, statement).to_pylist()
        notes = list(self._notes(period))
        values = rows[0].get("n_values", 0) if rows else 0
        if values > MAX_SHOWN:
            notes.append(
                f"The breakdown has {values:,} values; the {MAX_SHOWN} largest are shown. "
                "Narrow it with where, or break down by something coarser."
            )
        breakdown = tuple(
            (tuple(value or None for value in row["v"]), funnel_steps(self.steps, row))
            for row in rows[1:]
        )
        return FunnelResult(
            question=self,
            period=period,
            statement=statement,
            notes=tuple(notes),
            warehouse=warehouse,
            steps=funnel_steps(self.steps, rows[0] if rows else {}),
            breakdown=breakdown,
            periods=over_time(self, warehouse, catalog, period) if self.over else (),
        )

    def _notes(self, period: Period) -> list[str]:
        notes = []
        if self.window_ms is not None:
            end = period.until.isoformat() if period.until else "the last event"
            notes.append(
                f"Who began less than {duration_text(self.window_ms)} before {end} "
                "had not the whole window to convert."
            )
        return notes

    def _steps_spec(self) -> list[Any]:
        group_of = {slot: group for group in self.together for slot in group}
        specs: list[Any] = []
        for slot, step in enumerate(self.steps):
            group = group_of.get(slot)
            if group is None:
                specs.append(step_spec(step))
            elif group[0] == slot:
                specs.append({"any_order": [step_spec(self.steps[other]) for other in group]})
        return specs

    def _check(self) -> None:
        if self.steps[0].optional:
            raise QueryError("steps[0]: the first step cannot be optional")
        optional = [slot for slot, step in enumerate(self.steps) if step.optional]
        if optional and self.order != "ordered":
            raise QueryError(f"steps[{optional[0]}]: optional steps need the order 'ordered'")
        for slot in optional:
            if self.steps[slot - 1].optional and (
                self.steps[slot - 1].matches == self.steps[slot].matches
            ):
                raise QueryError(f"steps[{slot}]: the same optional step twice in a row")
        if self.over and self.by:
            raise QueryError("over: a funnel is told over time or by values, not both")
        if self.together and self.order != "ordered":
            raise QueryError(f"any_order groups need the order 'ordered', not {self.order!r}")
        if self.exclude and self.order == "strict":
            raise QueryError("exclude: strict order already excludes every other event")
        if self.exclude and self.order == "any":
            raise QueryError("exclude: steps in any order have no 'between'")
        stage_of = {slot: n for n, stage in enumerate(self.stages) for slot in stage}
        for i, exclusion in enumerate(self.exclude):
            ends = [stage_of.get(exclusion.after - 1), stage_of.get(exclusion.before - 1)]
            if ends[0] is None or ends[1] is None:
                raise QueryError(f"exclude[{i}]: it must lie between steps that are not optional")
            if ends[0] >= ends[1]:
                raise QueryError(f"exclude[{i}]: after and before lie in one any_order group")


class Convert(msgspec.Struct, frozen=True):
    """Seconds that `n` took; None with nobody to measure.

    `histogram` has, for each bucket that is not empty, where it begins and how many are in it; it
    ends where the next of `sql.funnel.BUCKETS_S` begins.
    """

    n: int
    median: float | None
    mean: float | None
    p90: float | None
    histogram: tuple[tuple[int, int], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "n": self.n,
            "median": self.median,
            "mean": self.mean,
            "p90": self.p90,
            "histogram": [list(bucket) for bucket in self.histogram],
        }


class FunnelStep(msgspec.Struct, frozen=True):
    """One step's numbers; shares with Wilson 95 % intervals, times in seconds."""

    name: str
    count: int
    dropped: int
    from_start: Estimate
    from_previous: Estimate
    time_from_start: Convert | None
    time_from_previous: Convert | None

    def to_dict(self, unit: str) -> dict[str, Any]:
        """Plain data; `unit` (people, sessions, ...) is the key of the count."""
        return {
            "name": self.name,
            unit: self.count,
            "dropped": self.dropped,
            "from_start": self.from_start.to_dict(),
            "from_previous": self.from_previous.to_dict(),
            "time_from_start": self.time_from_start.to_dict() if self.time_from_start else None,
            "time_from_previous": (
                self.time_from_previous.to_dict() if self.time_from_previous else None
            ),
        }


@dataclass(frozen=True, kw_only=True)
class FunnelResult(Result):
    """A funnel's answer: `steps` in all, `breakdown` by value (None: has none), `periods`."""

    question: Funnel
    steps: tuple[FunnelStep, ...]
    breakdown: tuple[tuple[tuple[str | None, ...], tuple[FunnelStep, ...]], ...] = ()
    periods: tuple[FunnelPeriod, ...] = ()

    @property
    def counts(self) -> tuple[int, ...]:
        """How many reached each step."""
        return tuple(step.count for step in self.steps)

    @property
    def frame(self) -> pd.DataFrame:
        """A row a step (and value): counts, shares, intervals, seconds."""
        import pandas as pd

        by, unit = [str(field) for field in self.question.by], self.question.count
        groups = self.breakdown if by else (((), self.steps),)
        rows = [
            {**dict(zip(by, values, strict=True)), "step": number, **_flat(step, unit)}
            for values, steps in groups
            for number, step in enumerate(steps, 1)
        ]
        columns = [*by, "step", *_flat(self.steps[0], unit)]
        return pd.DataFrame(rows, columns=columns)

    def people(self, step: int, *, dropped: bool = False) -> Segment:
        """Who reached a step (from 1); `dropped`: who reached the one before and not this."""
        from desirepath_analytics.behaviour.segment import Segment
        from desirepath_analytics.catalog import WarehouseCatalog
        from desirepath_analytics.sql.funnel import funnel_people_sql

        if self.question.count == "groups":
            raise QueryError("people: this funnel counts groups")
        if not 1 + dropped <= step <= len(self.steps):
            raise QueryError(f"step {step} is not one of {1 + dropped} to {len(self.steps)}")
        statement = funnel_people_sql(
            self.question,
            WarehouseCatalog(self.warehouse),
            self.period,
            step=step,
            dropped=dropped,
        )
        found = fetch(self.warehouse, statement).column(0).to_pylist()
        return Segment.of_people(sorted({str(person) for person in found}))

    def compare(self, baseline: Any = None) -> tuple[Difference, ...]:
        """Each value of the breakdown at the last step: beside all others, or a baseline value."""
        from desirepath_analytics.behaviour.funnel_compare import compare_values

        if not self.question.by:
            raise QueryError("compare: this funnel has no breakdown", hint="by, or against")
        if isinstance(baseline, str):
            baseline = (baseline,)
        return compare_values(self, baseline)

    def against(
        self, other: FunnelResult, names: tuple[str, str] = ("this", "the other")
    ) -> tuple[Difference, ...]:
        """Each step beside that of another answer, say of another segment.

        The two must be of different people; whoever is in both makes the p values too large.
        """
        from desirepath_analytics.behaviour.funnel_compare import compare_results

        return compare_results(self, other, names)

    def figure(self) -> go.Figure:
        """Bars of each step with the share of the start and the drop-off."""
        from desirepath_analytics.figures import funnel_figure, funnel_over_figure

        return funnel_over_figure(self) if self.periods else funnel_figure(self)

    def answer(self) -> dict[str, Any]:
        """`steps`, and `breakdown` if it was asked for."""
        unit = self.question.count
        plain: dict[str, Any] = {"steps": [step.to_dict(unit) for step in self.steps]}
        if self.question.over:
            plain["over_time"] = [one.to_dict(unit) for one in self.periods]
        if self.question.by:
            plain["breakdown"] = [
                {"value": list(values), "steps": [step.to_dict(unit) for step in steps]}
                for values, steps in self.breakdown
            ]
            if self.question.attribution != "all" and len(self.breakdown) > 1:
                plain["comparison"] = [one.to_dict() for one in self.compare()]
        return plain


def _flat(step: FunnelStep, unit: str) -> dict[str, Any]:
    from_start, from_previous = step.from_start, step.from_previous
    times = step.time_from_previous or Convert(0, None, None, None)
    return {
        "name": step.name,
        unit: step.count,
        "dropped": step.dropped,
        "from_start": from_start.value,
        "from_start_low": from_start.low,
        "from_start_high": from_start.high,
        "from_previous": from_previous.value,
        "from_previous_low": from_previous.low,
        "from_previous_high": from_previous.high,
        "median_s": times.median,
        "mean_s": times.mean,
        "p90_s": times.p90,
    }


def funnel_steps(asked: Sequence[Step], row: Mapping[str, Any]) -> tuple[FunnelStep, ...]:
    """The steps' numbers out of a row of the answer."""
    steps: list[FunnelStep] = []
    first = int(row.get("n1", 0))
    # The one before is the last that was required: an optional step does not hold anyone up.
    previous = first
    for k, step in enumerate(asked, 1):
        count = int(row.get(f"n{k}", 0))
        steps.append(
            FunnelStep(
                name=step.name,
                count=count,
                dropped=previous - count,
                from_start=wilson(count, first),
                from_previous=wilson(count, previous),
                time_from_start=_convert(row, "start", k),
                time_from_previous=_convert(row, "step", k),
            )
        )
        if not step.optional:
            previous = count
    return tuple(steps)


def _convert(row: Mapping[str, Any], name: str, k: int) -> Convert | None:
    if k == 1:
        return None
    # A tuple comes back as a mapping of its elements' places.
    found = row.get(f"{name}_histogram{k}") or {"1": (), "2": ()}
    histogram = tuple(sorted(zip(map(int, found["1"]), map(int, found["2"]), strict=True)))
    n = sum(count for _, count in histogram)
    if n == 0:
        return Convert(0, None, None, None)
    median, p90 = row[f"{name}{k}"]
    return Convert(n, float(median), float(row[f"{name}_mean{k}"]), float(p90), histogram)


def _steps(specs: object) -> tuple[tuple[Step, ...], tuple[tuple[int, ...], ...]]:
    if isinstance(specs, (str, bytes)) or not isinstance(specs, Sequence):
        raise QueryError(f"steps: expected a list of steps, found {specs!r}")
    steps: list[Step] = []
    together: list[tuple[int, ...]] = []
    for i, spec in enumerate(specs):
        if isinstance(spec, Mapping) and "any_order" in spec:
            check_keys(spec, ("any_order",), f"steps[{i}]")
            inner, nested = _steps(spec["any_order"])
            if nested or len(inner) < MIN_STEPS or any(step.optional for step in inner):
                raise QueryError(f"steps[{i}].any_order: two or more steps, none optional")
            together.append(tuple(range(len(steps), len(steps) + len(inner))))
            steps.extend(inner)
        else:
            steps.append(Step.of(spec, f"steps[{i}]"))
    if not MIN_STEPS <= len(steps) <= MAX_STEPS:
        raise QueryError(f"steps: a funnel has {MIN_STEPS} to {MAX_STEPS} steps, not {len(steps)}")
    return tuple(steps), tuple(together)


def _within(value: object) -> int | Literal["session"] | None:
    if value is None or value == "all":
        return None
    if value == "session":
        return "session"
    return duration_ms(value, "within")


def _attribution(value: object, steps: int) -> Attribution:
    if isinstance(value, int) and not isinstance(value, bool):
        if not 1 <= value <= steps:
            raise QueryError(f"attribution: step {value} is not one of 1 to {steps}")
        return value
    return cast("Attribution", read_one_of(value, ("first", "last", "all"), "attribution"))


def _exclude(spec: object, i: int, steps: int) -> Exclude:
    at = f"exclude[{i}]"
    if isinstance(spec, Exclude):
        return spec
    if isinstance(spec, str):
        spec = {"event": spec}
    if not isinstance(spec, Mapping):
        raise QueryError(f"{at}: expected an event or a mapping, found {spec!r}")
    check_keys(spec, ("event", "any", "where", "after", "before", "drop"), at)
    step = Step.of({k: v for k, v in spec.items() if k in ("event", "any", "where")}, at)
    after, before = spec.get("after", 1), spec.get("before", steps)
    for name, value in (("after", after), ("before", before)):
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= steps:
            raise QueryError(f"{at}.{name}: {value!r} is no step from 1 to {steps}")
    if after >= before:
        raise QueryError(f"{at}: after step {after} and before step {before} is nothing")
    drop = read_one_of(spec.get("drop", "attempt"), ("attempt", "person"), f"{at}.drop")
    return Exclude(step, after, before, cast("Literal['attempt', 'person']", drop))


def _exclude_spec(exclusion: Exclude) -> dict[str, Any]:
    plain = step_spec(exclusion.step)
    spec = dict(plain) if isinstance(plain, dict) else {"event": plain}
    spec |= {"after": exclusion.after, "before": exclusion.before}
    return spec if exclusion.drop == "attempt" else {**spec, "drop": exclusion.drop}

"""What all questions share: spans of time, moments, steps, and the life of a question.

A question is an immutable value with one form everywhere: the keyword arguments of its class are
the keys of its YAML in the plan and of its JSON. `compile(catalog)` is a pure function to SQL;
`run(warehouse)` compiles, executes under limits, and answers with a frozen result. A mistake in a
question is a QueryError that names the place and the nearest valid name, before any SQL is run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import msgspec

from desirepath.errors import QueryError
from desirepath_analytics.conditions import Combined, Condition, parse_where, where_spec
from desirepath_analytics.names import did_you_mean

__all__ = [
    "LIMITS",
    "Match",
    "Period",
    "Step",
    "check_keys",
    "duration_ms",
    "duration_text",
    "moment",
    "step_spec",
    "without_notes",
]

LIMITS: Final[Mapping[str, int]] = {
    "max_execution_time": 120,
    "max_memory_usage": 2_000_000_000,
    "max_result_rows": 1_000_000,
}
"""The ClickHouse settings under which every question runs: seconds, bytes, rows."""

ANY_EVENT: Final = "*"
"""Written as an event's name: whatever a person did (track, page and screen calls)."""

_UNITS_MS: Final = {
    "ms": 1,
    "s": 1_000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 7 * 86_400_000,
}
_DURATION: Final = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)\s*$")
_RELATIVE: Final = re.compile(r"^-?(\d+(?:\.\d+)?)(m|h|d|w)$")


def duration_ms(value: object, at: str, *, least_ms: int = 1_000, most_days: int = 366) -> int:
    """Milliseconds of `30s`, `15m`, `12h`, `7d`, `2w` or a timedelta.

    Raises
    ------
    QueryError
        If it is none of these, or outside the bounds.
    """
    if isinstance(value, timedelta):
        ms = round(value.total_seconds() * 1000)
    else:
        found = _DURATION.match(value) if isinstance(value, str) else None
        if found is None:
            raise QueryError(
                f"{at}: {value!r} is no span of time",
                hint="write a number and a unit: 30s, 15m, 12h, 7d, 2w",
            )
        ms = round(float(found[1]) * _UNITS_MS[found[2]])
    if not least_ms <= ms <= most_days * _UNITS_MS["d"]:
        raise QueryError(
            f"{at}: {value!r} is outside {duration_text(least_ms)} to {most_days}d",
        )
    return ms


def duration_text(ms: int) -> str:
    """The shortest exact form that `duration_ms` reads back: 604800000 is `7d`."""
    unit = max(
        (u for u in ("ms", "s", "m", "h", "d") if ms % _UNITS_MS[u] == 0), key=_UNITS_MS.__getitem__
    )
    return f"{ms // _UNITS_MS[unit]}{unit}"


def moment(value: object, at: str, *, now: datetime | None = None) -> datetime:
    """An aware UTC datetime from a date, a datetime, ISO 8601 text, or `30d` (that long ago).

    Raises
    ------
    QueryError
        If it is none of these. A text without an offset is taken as UTC.
    """
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    if isinstance(value, str):
        if found := _RELATIVE.match(value):
            span = timedelta(milliseconds=float(found[1]) * _UNITS_MS[found[2]])
            return (now or datetime.now(UTC)) - span
        try:
            return moment(datetime.fromisoformat(value), at)
        except (ValueError, OverflowError):
            pass
    raise QueryError(
        f"{at}: {value!r} is no moment",
        hint="write 2026-01-31, 2026-01-31T12:00:00Z, or 30d for thirty days ago",
    )


class Period(msgspec.Struct, frozen=True):
    """Events from `since` on and before `until`; None leaves that side open."""

    since: datetime | None = None
    until: datetime | None = None

    @classmethod
    def of(cls, since: object = None, until: object = None) -> Period:
        """Read both sides; QueryError if nothing can lie between them."""
        now = datetime.now(UTC)
        start = None if since is None else moment(since, "since", now=now)
        end = None if until is None else moment(until, "until", now=now)
        if start is not None and end is not None and start >= end:
            raise QueryError(
                f"an empty range: since {start.isoformat()} is not before until {end.isoformat()}",
            )
        return cls(start, end)

    def to_spec(self) -> dict[str, str]:
        """`since` and `until` as ISO 8601, where they are given."""
        sides = {"since": self.since, "until": self.until}
        return {
            name: side.isoformat().replace("+00:00", "Z")
            for name, side in sides.items()
            if side is not None
        }


class Match(msgspec.Struct, frozen=True):
    """Events of one name (None: any event) that satisfy a condition."""

    event: str | None
    where: Condition | None = None


class Step(msgspec.Struct, frozen=True):
    """One step of a funnel: an event, or any of several, each with its own filter.

    Made by `Step.of` from an event's name, a list of names, or the mapping form:
    `{"event": name or list, "where": ..., "name": ..., "optional": bool}` or
    `{"any": [step, ...], ...}`.
    """

    matches: tuple[Match, ...]
    label: str | None = None
    optional: bool = False

    @classmethod
    def of(cls, spec: object, at: str = "step") -> Step:
        """Read any of the forms.

        Raises
        ------
        QueryError
            If it is none of them.
        """
        if isinstance(spec, Step):
            return spec
        if isinstance(spec, str):
            if not spec:
                raise QueryError(f"{at}: an empty event name")
            return cls((Match(None if spec == ANY_EVENT else spec),))
        if isinstance(spec, Sequence) and not isinstance(spec, bytes):
            return cls(_alternatives(spec, at))
        if not isinstance(spec, Mapping):
            raise QueryError(f"{at}: {spec!r} is no event", hint='write "name" or {event: name}')
        check_keys(spec, ("event", "any", "where", "name", "optional"), at)
        if ("event" in spec) == ("any" in spec):
            raise QueryError(f"{at}: a step names its event, or any: of several")
        where = parse_where(spec.get("where"), f"{at}.where")
        inner = cls.of(spec.get("event", spec.get("any")), f"{at}.event")
        matches = tuple(Match(m.event, both(m.where, where)) for m in inner.matches)
        label, optional = spec.get("name"), spec.get("optional", False)
        if label is not None and not isinstance(label, str):
            raise QueryError(f"{at}.name: {label!r} is no text")
        if not isinstance(optional, bool):
            raise QueryError(f"{at}.optional: {optional!r} is neither true nor false")
        return cls(matches, label, optional)

    @classmethod
    def any_of(cls, *events: object, where: object = None) -> Step:
        """Any of several events, each a name or a mapping, each filtered by `where`."""
        return cls.of({"any": list(events), "where": where})

    @property
    def name(self) -> str:
        """What to call the step in tables and pictures."""
        if self.label is not None:
            return self.label
        return " or ".join(dict.fromkeys(match.event or "any event" for match in self.matches))

    @property
    def events(self) -> tuple[str, ...] | None:
        """The names it may match, or None for any event."""
        names = tuple(dict.fromkeys(match.event for match in self.matches))
        return None if None in names else tuple(name for name in names if name is not None)


def both(first: Condition | None, second: Condition | None) -> Condition | None:
    """A condition that asks for both."""
    if first is None or second is None:
        return first or second
    return Combined("all", (first, second))


def step_spec(step: Step) -> Any:
    """The plain form that `Step.of` reads back to an equal step."""
    alternatives = [_match_spec(match) for match in step.matches]
    only = alternatives[0] if len(alternatives) == 1 else None
    if step.label is None and not step.optional:
        return only if only is not None else alternatives
    spec: dict[str, Any] = (
        dict(only) if isinstance(only, dict) else {"event": only} if only else {"any": alternatives}
    )
    if step.label is not None:
        spec["name"] = step.label
    if step.optional:
        spec["optional"] = True
    return spec


def check_keys(spec: Mapping[Any, Any], known: Sequence[str], at: str) -> None:
    """Raise QueryError for a key that means nothing, with the nearest that does."""
    for key in spec:
        if key not in known:
            raise QueryError(f"{at}: unknown key {key!r}", hint=did_you_mean(str(key), known))


def without_notes(spec: Mapping[Any, Any]) -> dict[str, Any]:
    """A section of a plan without what is only there to be read by people."""
    return {key: value for key, value in spec.items() if key not in ("description", "owner")}


def _alternatives(specs: Sequence[object], at: str) -> tuple[Match, ...]:
    if not specs:
        raise QueryError(f"{at}: no events")
    matches: list[Match] = []
    for i, spec in enumerate(specs):
        inner = Step.of(spec, f"{at}[{i}]")
        if inner.optional or inner.label is not None:
            raise QueryError(f"{at}[{i}]: name and optional belong to the step, not inside it")
        matches.extend(inner.matches)
    return tuple(matches)


def _match_spec(match: Match) -> Any:
    event = ANY_EVENT if match.event is None else match.event
    if match.where is None:
        return event
    return {"event": event, "where": where_spec(match.where)}

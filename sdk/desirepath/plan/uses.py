"""What each journey, segment, metric, model and experiment of a plan is built on.

A section is walked by its grammar (`desirepath.plan.sections` has checked it): every event it
names, every property, trait and context value it reads and on which condition, every other
section it refers to. `plan check` asks whether these can happen, `plan diff` whether a change
takes them away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from desirepath.plan.flat import flat
from desirepath.plan.model import Plan, Property, Section
from desirepath.plan.sections import AGGREGATES

__all__ = ["CONSUMERS", "Consumer", "Use", "consumers", "lookup"]

CONSUMERS: Final = ("journeys", "segments", "metrics", "models", "experiments")

_REFERENCES: Final = {
    "segment": "segments",
    "size": "segments",
    "journey": "journeys",
    "metric": "metrics",
    "metrics": "metrics",
    "guardrails": "metrics",
}
"""Keys that name another section, and where it stands."""

Keys = tuple[str | int, ...]


class Use(msgspec.Struct, frozen=True):
    """One thing a section is built on.

    Parameters
    ----------
    kind
        What `name` is. A section is named as `journeys/purchase`.
    event
        The event that a property belongs to; empty for the rest.
    condition
        What a property, trait or context value must be, as written; None where it is only read.
    vital
        Without this the section sees nothing: no alternative, no negation, not optional.
    keys
        Where in the section: the keys and indexes that lead there.
    """

    kind: Literal["event", "property", "trait", "context", "section"]
    name: str
    event: str = ""
    condition: Any = None
    vital: bool = True
    keys: Keys = ()


class Consumer(msgspec.Struct, frozen=True):
    """A section and everything it uses."""

    kind: str
    section: Section
    uses: tuple[Use, ...]

    @property
    def title(self) -> str:
        """What to call it: `journey 'purchase'`."""
        return f"{self.kind.removesuffix('s')} {self.section.name!r}"


def consumers(plan: Plan) -> tuple[Consumer, ...]:
    """Every section of the plan with its uses, in the plan's order."""
    walk = _Walk(plan)
    return tuple(
        Consumer(kind, section, tuple(walk.section(kind, section.spec)))
        for kind in CONSUMERS
        for section in getattr(plan, kind).values()
    )


def lookup(plan: Plan, use: Use) -> Property | None:
    """The property, trait or context value that a use is about; None if the plan has it not.

    `address.city` is the part `city` of a property `address`, unless a property has that name.
    """
    holders: dict[str, Mapping[str, Property]] = {"trait": plan.traits, "context": plan.context}
    if use.event in plan.events:
        holders["property"] = plan.events[use.event].properties
    holder = holders.get(use.kind, {})
    if use.name in holder:
        return holder[use.name]
    first, *parts = use.name.split(".")
    outer = holder.get(first)
    if outer is None:
        return None
    schema: Any = outer.schema
    for part in parts:
        inner = flat(schema).get("properties", {}) if isinstance(schema, Mapping) else {}
        if part not in inner:
            return None
        schema = inner[part]
    return msgspec.structs.replace(
        outer,
        name=use.name,
        schema=schema,
        required=False,
        pii=outer.pii or schema.get("pii"),
    )


class _Walk:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def section(self, kind: str, spec: Mapping[str, Any]) -> Iterator[Use]:
        if kind == "journeys":
            yield from self._journey(spec)
        elif kind == "segments":
            yield from self._rule(spec, (), vital=True)
        elif kind == "metrics":
            yield from self._metric(spec)
        else:
            yield from self._model(spec)

    def _journey(self, spec: Mapping[str, Any]) -> Iterator[Use]:
        events: list[str] = []
        for index, step in enumerate(spec["steps"]):
            for use in self._step(step, ("steps", index), vital=True):
                if use.kind == "event":
                    events.append(use.name)
                yield use
        yield from self._filter(spec.get("where"), events, ("where",), vital=True)
        yield from self._fields(spec, ("by", "hold"), events)
        for index, rule in enumerate(_several(spec.get("exclude"))):
            keys = ("exclude", index) if isinstance(spec["exclude"], list) else ("exclude",)
            yield from self._step(rule, keys, vital=False)
        yield from self._sections(spec, ("segment",))

    def _step(self, step: Any, keys: Keys, *, vital: bool) -> Iterator[Use]:
        """A step, or whatever else names events: a name, several, or a mapping with a filter."""
        if isinstance(step, Mapping) and "any_order" in step:
            for index, inner in enumerate(step["any_order"]):
                yield from self._step(inner, (*keys, "any_order", index), vital=vital)
            return
        where = None
        if isinstance(step, Mapping):
            key = "any" if "any" in step else "event"
            vital = vital and not step.get("optional")
            where, named, at = step.get("where"), step[key], (*keys, key)
        else:
            named, at = step, keys
        names = _several(named)
        vital_event = vital and len(names) == 1
        events = []
        for index, name in enumerate(names):
            where_at: Keys = (*at, index) if isinstance(named, list) else at
            if isinstance(name, str) and name in self._plan.events:
                events.append(name)
                yield Use("event", name, vital=vital_event, keys=where_at)
            elif not isinstance(name, str):
                yield from self._step(name, where_at, vital=vital_event)
        yield from self._filter(where, events, (*keys, "where"), vital=vital_event)

    def _rule(self, rule: Mapping[str, Any], keys: Keys, *, vital: bool) -> Iterator[Use]:
        for key in ("all", "any"):
            for index, inner in enumerate(rule.get(key, ())):
                needed = vital and (key == "all" or len(rule[key]) == 1)
                yield from self._rule(inner, (*keys, key, index), vital=needed)
        if "not" in rule:
            yield from self._rule(rule["not"], (*keys, "not"), vital=False)
        for key in ("did", "did_not"):
            if key in rule:
                needed = vital and key == "did" and rule.get("at_least", 1) > 0
                needed = needed and rule.get("exactly", 1) > 0 and "at_most" not in rule
                found = list(self._step(rule[key], (*keys, key), vital=needed))
                yield from found
                events = [use.name for use in found if use.kind == "event"]
                needed = needed and len(events) == 1
                yield from self._filter(rule.get("where"), events, (*keys, "where"), vital=needed)
        if "trait" in rule:
            yield from self._traits(rule["trait"], (*keys, "trait"), vital=vital)
        yield from self._sections(rule, ("segment",), keys, vital=vital)

    def _metric(self, spec: Mapping[str, Any]) -> Iterator[Use]:
        events: list[str] = []
        for key in ("count", "people"):
            if key in spec:
                found = list(self._step(spec[key], (key,), vital=True))
                events += [use.name for use in found if use.kind == "event"]
                yield from found
        for key in AGGREGATES:
            if key in spec:
                # Names may hold dots, so the longest event that fits is meant.
                fitting = [name for name in self._plan.events if spec[key].startswith(f"{name}.")]
                event = max(fitting, key=len)
                events.append(event)
                yield Use("event", event, keys=(key,))
                yield Use("property", spec[key][len(event) + 1 :], event=event, keys=(key,))
        vital = len(events) == 1
        yield from self._filter(spec.get("where"), events, ("where",), vital=vital)
        yield from self._fields(spec, ("by",), events)
        yield from self._sections(spec, ("journey", "size", "segment"))

    def _model(self, spec: Mapping[str, Any]) -> Iterator[Use]:
        """A model or an experiment: what they share is enough to walk both."""
        for key in ("outcome", "exposure"):
            if isinstance(spec.get(key), str):
                yield Use("event", spec[key], keys=(key,))
                yield from self._filter(spec.get("where"), [spec[key]], ("where",), vital=True)
        yield from self._events(spec.get("events"), ("events",), vital=False)
        population = spec.get("population", {})
        for key in ("did", "did_not"):
            keys = ("population", key)
            yield from self._events(population.get(key), keys, vital=key == "did")
        keys_ = ("metric", "metrics", "guardrails", "journey", "segment")
        yield from self._sections(spec, keys_)

    def _events(self, value: Any, keys: Keys, *, vital: bool) -> Iterator[Use]:
        if value is not None:
            yield from self._step(value, keys, vital=vital)

    def _sections(
        self, spec: Mapping[str, Any], names: Sequence[str], keys: Keys = (), *, vital: bool = True
    ) -> Iterator[Use]:
        for key in names:
            for value in _several(spec.get(key)):
                if isinstance(value, str):
                    name = f"{_REFERENCES[key]}/{value}"
                    yield Use("section", name, vital=vital, keys=(*keys, key))
                elif isinstance(value, Mapping):
                    yield from self._rule(value, (*keys, key), vital=vital)

    def _filter(
        self, where: Any, events: Sequence[str], keys: Keys, *, vital: bool
    ) -> Iterator[Use]:
        for name, value, at, needed in _conditions(where, keys, vital=vital):
            yield from self._field(name, events, at, condition=value, vital=needed)

    def _traits(self, where: Any, keys: Keys, *, vital: bool) -> Iterator[Use]:
        for name, value, at, needed in _conditions(where, keys, vital=vital):
            bare = name.removeprefix("traits.")
            yield Use("trait", bare, condition=value, vital=needed, keys=at)

    def _fields(
        self, spec: Mapping[str, Any], keys: Sequence[str], events: Sequence[str]
    ) -> Iterator[Use]:
        for key in keys:
            for name in _several(spec.get(key)):
                if isinstance(name, str):
                    yield from self._field(name, events, (key,), condition=None, vital=False)

    def _field(
        self, name: str, events: Sequence[str], keys: Keys, *, condition: Any, vital: bool
    ) -> Iterator[Use]:
        scope, dot, rest = name.partition(".")
        if dot and scope in ("trait", "traits"):
            yield Use("trait", rest, condition=condition, vital=vital, keys=keys)
        elif dot and scope == "context":
            yield Use("context", rest, condition=condition, vital=vital, keys=keys)
        elif not (dot and scope == "message"):
            bare = rest if dot and scope in ("property", "properties") else name
            for event in events:
                # Of several events, it is enough that one of them has it.
                yield Use(
                    "property",
                    bare,
                    event=event,
                    condition=condition,
                    vital=vital and len(events) == 1,
                    keys=keys,
                )


def _several(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _conditions(where: Any, keys: Keys, *, vital: bool) -> Iterator[tuple[str, Any, Keys, bool]]:
    """Every name in a filter, with what it must be and whether the filter needs that."""
    for name, value in (where or {}).items():
        at = (*keys, name)
        if name in ("all", "any") and isinstance(value, list):
            for index, inner in enumerate(value):
                needed = vital and (name == "all" or len(value) == 1)
                yield from _conditions(inner, (*at, index), vital=needed)
        elif name == "not" and isinstance(value, Mapping):
            yield from _conditions(value, at, vital=False)
        else:
            yield name, value, at, vital

"""What each journey, segment, metric, model and experiment of a plan is built on.

A section is walked as plain data: every event it names, every property, trait and context value
it reads and on which condition, every other section it refers to. `plan check` asks whether these
can happen, `plan diff` whether a change takes them away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

import msgspec

from desirepath.plan.model import Plan, Property, Section

__all__ = ["CONSUMERS", "Consumer", "Use", "consumers", "lookup"]

CONSUMERS: Final = ("journeys", "segments", "metrics", "models", "experiments")

_SINGULAR: Final = {name: name.removesuffix("s") for name in CONSUMERS}
_EVENT_KEYS: Final = frozenset(
    {"event", "did", "did_not", "first", "last", "outcome", "exposure", "count", "unique", "of"}
    | {"start", "end", "return", "cohort", "stage", "target", "signal", "events", "steps"}
    | {"exclude", "without", "features", "per"}
)
_PERSON_KEYS: Final = ("trait", "traits")


class Use(msgspec.Struct, frozen=True):
    """One thing a section is built on.

    Parameters
    ----------
    kind
        What `name` is.
    event
        The event that a property belongs to; empty for the rest.
    condition
        The condition on a property, trait or context value, as written; None where it is only
        read.
    keys
        Where in the section: the keys and indexes that lead there.
    """

    kind: Literal["event", "property", "trait", "context", "section"]
    name: str
    event: str = ""
    condition: Any = None
    keys: tuple[str | int, ...] = ()

    def __str__(self) -> str:
        return f"{self.event}.{self.name}" if self.event else self.name


class Consumer(msgspec.Struct, frozen=True):
    """A section and everything it uses."""

    kind: str
    section: Section
    uses: tuple[Use, ...]

    @property
    def title(self) -> str:
        """What to call it: `journey 'purchase'`."""
        return f"{_SINGULAR[self.kind]} {self.section.name!r}"


def consumers(plan: Plan) -> tuple[Consumer, ...]:
    """Every section of the plan with its uses, in the plan's order."""
    return tuple(
        Consumer(kind, section, tuple(_Walk(plan).walk(section.spec)))
        for kind in CONSUMERS
        for section in getattr(plan, kind).values()
    )


def lookup(plan: Plan, use: Use) -> Property | None:
    """The property, trait or context value that a use is about; None if the plan has it not."""
    if use.kind == "property":
        event = plan.events.get(use.event)
        return event.properties.get(use.name) if event else None
    if use.kind == "trait":
        return plan.traits.get(use.name)
    return plan.context.get(use.name) if use.kind == "context" else None


class _Walk:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def walk(self, spec: Any, keys: tuple[str | int, ...] = ()) -> Iterator[Use]:
        if isinstance(spec, list):
            for index, item in enumerate(spec):
                yield from self._named("steps", item, (*keys, index))
            return
        if not isinstance(spec, Mapping):
            return
        named = [spec[key] for key in ("event", "did", "did_not", "of") if key in spec]
        event = next((name for name in named if isinstance(name, str)), "")
        for key, value in spec.items():
            here = (*keys, key)
            if key == "where" and isinstance(value, Mapping):
                yield from self._where(value, event, here)
            elif key in _PERSON_KEYS and isinstance(value, Mapping):
                for name, condition in value.items():
                    yield Use("trait", name, condition=condition, keys=(*here, name))
            elif key in _PERSON_KEYS and isinstance(value, str):
                yield Use("trait", value, keys=here)
            elif key in ("journey", "segment", "metric", "model") and isinstance(value, str):
                yield Use("section", f"{key}s/{value}", keys=here)
            else:
                yield from self._named(key, value, here)

    def _named(self, key: str, value: Any, keys: tuple[str | int, ...]) -> Iterator[Use]:
        if not isinstance(value, str):
            yield from self.walk(value, keys)
            return
        if key in _EVENT_KEYS and value in self._plan.events:
            yield Use("event", value, keys=keys)
            return
        # `sum: Order Completed.total`: names may hold dots, so every split is tried.
        for at, char in enumerate(value):
            event, name = value[:at], value[at + 1 :]
            if char == "." and event in self._plan.events:
                yield Use("event", event, keys=keys)
                yield Use("property", name, event=event, keys=keys)
                return

    def _where(
        self, where: Mapping[str, Any], event: str, keys: tuple[str | int, ...]
    ) -> Iterator[Use]:
        for name, condition in where.items():
            here = (*keys, name)
            if name.startswith("context."):
                yield Use("context", name[8:], condition=condition, keys=here)
            elif event:
                yield Use("property", name, event=event, condition=condition, keys=here)

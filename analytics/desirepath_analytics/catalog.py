"""Names of a plan and a warehouse: which exist, and which was probably meant.

A question is checked against a `Catalog` before it becomes SQL, so that a mistyped event answers
with its nearest name and not with zero people. The plan comes first; what it does not know is
looked for in the data itself, lazily, since most questions name nothing unknown.
"""

# ruff: noqa: S608 (every value is bound, see sql/build.py)
from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from desirepath.errors import QueryError
from desirepath_analytics.conditions import Field
from desirepath_analytics.names import did_you_mean

if TYPE_CHECKING:
    from desirepath.plan import Plan
    from desirepath_collector.warehouse import Warehouse

__all__ = ["Catalog", "OpenCatalog", "WarehouseCatalog"]


class Catalog:
    """What may be named. This one knows exactly what it is given."""

    def __init__(
        self,
        *,
        events: Mapping[str, Iterable[str]],
        traits: Iterable[str] = (),
        context: Iterable[str] = (),
        segments: Mapping[str, Any] | None = None,
        journeys: Mapping[str, Any] | None = None,
    ) -> None:
        self._events = {name: frozenset(properties) for name, properties in events.items()}
        self._traits = frozenset(traits)
        self._context = frozenset(context)
        self.segments: Mapping[str, Any] = dict(segments or {})
        self.journeys: Mapping[str, Any] = dict(journeys or {})

    @classmethod
    def of_plan(cls, plan: Plan) -> Catalog:
        """Only what the plan says."""
        return cls(**_plan_names(plan))

    def has_event(self, name: str) -> bool:
        """Whether events of this name may exist."""
        return name in self._events

    def event_names(self) -> frozenset[str]:
        """Every known event."""
        return frozenset(self._events)

    def property_names(self, events: Iterable[str]) -> frozenset[str]:
        """The known properties of these events; of all if `events` is empty."""
        wanted = list(events) or list(self._events)
        return frozenset().union(*(self._events.get(name, frozenset()) for name in wanted))

    def trait_names(self) -> frozenset[str]:
        """The known traits of people."""
        return self._traits

    def context_names(self) -> frozenset[str]:
        """The known context fields, flattened with dots."""
        return self._context

    def check_event(self, name: str, at: str) -> None:
        """Raise QueryError with the nearest name if there is no such event."""
        if not self.has_event(name):
            raise QueryError(
                f"{at}: no event {name!r} in the plan or the data",
                hint=did_you_mean(name, self.event_names()),
            )

    def resolve(self, field: Field, events: Iterable[str], at: str) -> Field:
        """Decide a bare name: a property of these events, else a trait, else context.

        Raises
        ------
        QueryError
            If nothing of that name exists, with the nearest names.
        """
        if field.kind == "message":
            return field
        places = {
            "property": lambda: self.property_names(events),
            "trait": self.trait_names,
            "context": self.context_names,
        }
        if field.kind is not None:
            known = places[field.kind]()
            if field.name in known:
                return field
            raise QueryError(
                f"{at}: no {field.kind} {field.name!r} in the plan or the data",
                hint=did_you_mean(field.name, known),
            )
        for kind, names in places.items():
            if field.name in names():
                return Field(field.name, kind)  # type: ignore[arg-type]
        everything = {name for names in places.values() for name in names()}
        raise QueryError(
            f"{at}: no property, trait or context field {field.name!r} in the plan or the data",
            hint=did_you_mean(field.name, everything),
        )


class OpenCatalog(Catalog):
    """Every name may exist; a bare name is a property. For compiling without a warehouse."""

    def __init__(self) -> None:
        super().__init__(events={})

    def has_event(self, name: str) -> bool:
        """Always."""
        return True

    def resolve(self, field: Field, events: Iterable[str], at: str) -> Field:
        """A bare name is a property."""
        return field if field.kind is not None else Field(field.name, "property")


class WarehouseCatalog(Catalog):
    """The live plan's names, and those found in the data where the plan knows none."""

    def __init__(self, warehouse: Warehouse) -> None:
        plan = warehouse.plan()
        names = _plan_names(plan) if plan is not None else {"events": {}}
        super().__init__(**names)
        self._warehouse = warehouse

    def has_event(self, name: str) -> bool:
        """Planned or seen."""
        return super().has_event(name) or name in self._seen_events

    def event_names(self) -> frozenset[str]:
        """Planned and seen."""
        return super().event_names() | self._seen_events

    def property_names(self, events: Iterable[str]) -> frozenset[str]:
        """Planned and seen."""
        wanted = list(events)
        seen = self._seen("properties", wanted)
        return super().property_names(wanted) | seen

    def trait_names(self) -> frozenset[str]:
        """Planned and seen."""
        return super().trait_names() | self._seen_traits

    def context_names(self) -> frozenset[str]:
        """Planned and seen."""
        return super().context_names() | self._seen("context", [])

    def resolve(self, field: Field, events: Iterable[str], at: str) -> Field:
        """As `Catalog.resolve`, asking the data only where the plan has no answer."""
        wanted = list(events)
        planned = Catalog(
            events={name: self._events.get(name, frozenset()) for name in wanted or self._events},
            traits=self._traits,
            context=self._context,
        )
        try:
            return planned.resolve(field, wanted, at)
        except QueryError:
            return super().resolve(field, wanted, at)

    @cached_property
    def _seen_events(self) -> frozenset[str]:
        return self._column("SELECT DISTINCT event FROM resolved_events WHERE event != ''")

    @cached_property
    def _seen_traits(self) -> frozenset[str]:
        return self._column("SELECT DISTINCT trait FROM resolved_traits")

    def _seen(self, column: str, events: list[str]) -> frozenset[str]:
        return self._column(
            f"SELECT DISTINCT arrayJoin(mapKeys({column})) FROM resolved_events"
            + (" WHERE event IN {events:Array(String)}" if events else ""),
            {"events": events} if events else {},
        )

    def _column(self, text: str, params: Mapping[str, Any] | None = None) -> frozenset[str]:
        from desirepath_collector.warehouse import Sql

        table = self._warehouse.query(Sql(text, params or {}))
        return frozenset(map(str, table.column(0).to_pylist()))


def _plan_names(plan: Plan) -> dict[str, Any]:
    return {
        "events": {name: tuple(event.properties) for name, event in plan.events.items()},
        "traits": tuple(plan.traits),
        "context": tuple(plan.context),
        "segments": {name: section.spec for name, section in plan.segments.items()},
        "journeys": {name: section.spec for name, section in plan.journeys.items()},
    }

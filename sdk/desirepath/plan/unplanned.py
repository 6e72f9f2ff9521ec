"""What is personal by its name, wherever nobody planned it.

A name that the plan marks anywhere, also inside an object, is personal everywhere else: in another
event, in an object that nobody planned, in another spelling (`Email`, `e_mail`). An app that sends
an address where no plan expects one has made a mistake, and mistakes are what the quarantine keeps.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from msgspec import UNSET

from desirepath.plan.model import Plan
from desirepath.plan.pii import Treatment

__all__ = ["CONTEXT_FIELDS", "PAGE_FIELDS", "Unplanned", "fold"]

Fields = Mapping[str, Collection[str]]
"""The names in an object, `""` for the payload itself, that are what they are by convention."""

PAGE_FIELDS: Final[Fields] = {
    "": frozenset(("category", "name", "path", "referrer", "search", "title", "url"))
}
"""The fields of every page call: of the page, whatever traits have the same name."""

_OF_THINGS: Final = frozenset(
    ("content", "id", "link", "medium", "model", "name", "path", "referrer", "search", "source")
) | {"term", "title", "type", "url", "version"}

CONTEXT_FIELDS: Final[Fields] = dict.fromkeys(
    ("app", "campaign", "device", "library", "network", "os", "page", "referrer", "screen"),
    _OF_THINGS,
)
"""What clients write of app, device and page: these have names too, and they are nobody's."""

_SEPARATORS: Final = str.maketrans("", "", " _-.")
_LONGEST: Final = 100
"""Longer names are folded each time: what an app sends must not fill the memory."""

_MANY: Final = 1024
"""How many harmless names are remembered."""


def fold(name: str) -> str:
    """A name without case and separators, to tell what somebody meant."""
    return _fold(name) if len(name) <= _LONGEST else _fold.__wrapped__(name)


@lru_cache(maxsize=4096)
def _fold(name: str) -> str:
    return name.lower().translate(_SEPARATORS)


class Unplanned:
    """The treatments of names that a plan marks `hash` or `drop` anywhere.

    Parameters
    ----------
    names
        The treatment of each name, folded.
    fields
        Names that are no person's where they stand.
    """

    __slots__ = ("_fields", "_harmless", "_names")

    def __init__(self, names: Mapping[str, Treatment], fields: Fields | None = None) -> None:
        self._names = names
        self._fields = fields or {}
        self._harmless: set[str] = set()

    @staticmethod
    def names_of(plan: Plan) -> dict[str, Treatment]:
        """What is personal in a plan, by its folded name: the strictest of its treatments."""
        found: dict[str, Treatment] = {}
        groups = [plan.traits, plan.groups, plan.context]
        for properties in [*groups, *(event.properties for event in plan.events.values())]:
            for prop in properties.values():
                for name, pii in ((prop.name, prop.pii), *_marked(prop.schema)):
                    if pii == "drop" or (pii == "hash" and fold(name) not in found):
                        found[fold(name)] = Treatment(pii)
        return found

    def __bool__(self) -> bool:
        return bool(self._names)

    def has(self, value: Mapping[str, Any]) -> bool:
        """Whether anything in a payload is personal by its name."""
        if not self._names:
            return False
        if self._harmless.issuperset(value):  # as the members of most payloads are
            for name, item in value.items():
                kind = type(item)
                if (kind is dict or kind is list) and self.is_in(name, item):
                    return True
            return False
        if any(self.is_in(name, item) for name, item in value.items()):
            return True
        if len(self._harmless) + len(value) <= _MANY:
            self._harmless.update(name for name in value if len(name) <= _LONGEST)
        return False

    def is_in(self, name: str, value: Any) -> bool:
        """Whether this member of a payload, or anything in it, is personal by its name."""
        return self._treatment(name, self._fields.get("", ())) is not None or (
            type(value) in (dict, list) and self._is_inside(value, self._fields.get(name, ()))
        )

    def is_inside(self, value: Any) -> bool:
        """Whether anything in the value of a planned property is personal by its name."""
        return self._is_inside(value, ())

    def treat(self, name: str, value: Any, key: bytes | None) -> Any:
        """What to keep of a member of a payload, `UNSET` for nothing; changed in place."""
        treatment = self._treatment(name, self._fields.get("", ()))
        if treatment is not None:
            return treatment.apply(value, key)
        self._treat_inside(value, key, self._fields.get(name, ()))
        return value

    def treat_inside(self, value: Any, key: bytes | None) -> None:
        """Treat what is personal by its name in the value of a planned property, in place."""
        self._treat_inside(value, key, ())

    def _treatment(self, name: str, fields: Collection[str]) -> Treatment | None:
        folded = fold(name)
        return None if folded in fields else self._names.get(folded)

    def _is_inside(self, value: Any, fields: Collection[str]) -> bool:
        if type(value) is dict:
            return any(
                self._treatment(name, fields) is not None or self._is_inside(item, ())
                for name, item in value.items()
            )
        return type(value) is list and any(self._is_inside(item, fields) for item in value)

    def _treat_inside(self, value: Any, key: bytes | None, fields: Collection[str]) -> None:
        if type(value) is list:
            for item in value:
                self._treat_inside(item, key, fields)
        elif type(value) is dict:
            for name in [*value]:
                treatment = self._treatment(name, fields)
                if treatment is None:
                    self._treat_inside(value[name], key, ())
                elif (kept := treatment.apply(value[name], key)) is UNSET:
                    del value[name]
                else:
                    value[name] = kept


def _marked(schema: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """The names within a schema, with their `pii`."""
    for name, child in schema.get("properties", {}).items():
        yield name, child.get("pii")
        yield from _marked(child)
    if "items" in schema:
        yield from _marked(schema["items"])

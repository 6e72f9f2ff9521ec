"""`where`: filters on events and people, checked against what is planned.

A filter is a mapping of names to what they must be; all of it must hold. A bare name is an
event's property, `traits.country` a trait, `context.page.url` a part of the context,
`message.user_id` a field of the message itself. What it must be is a value, a list of values or
a mapping of operators; `any`, `all` and `not` combine filters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from desirepath.plan.keywords import closest
from desirepath.plan.model import Event, Place, Plan, Property
from desirepath.plan.reader import Node, fail

__all__ = ["OPERATORS", "Conditions"]

OPERATORS: Final = (
    "==", "!=", "<", "<=", ">", ">=", "between", "in", "not_in", "contains", "not_contains",
    "starts_with", "ends_with", "matches", "exists",
)  # fmt: skip
"""What a filter may ask of a value."""

_LISTS: Final = ("between", "in", "not_in")


class Conditions:
    """Checks filters against one plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def where(self, node: Node, events: Sequence[Event]) -> None:
        """Refuse a filter of these events that names something unplanned."""
        for name, child in self._members(node):
            if name in ("all", "any") and isinstance(child.value, list):
                for one in child.value:
                    self.where(one, events)
            elif name == "not" and isinstance(child.value, dict):
                self.where(child, events)
            else:
                self.field(name, node.keys[name], events)
                _wanted(child)

    def traits(self, node: Node) -> None:
        """Refuse a filter of people that names an unplanned trait."""
        for name, child in self._members(node):
            if name in ("all", "any") and isinstance(child.value, list):
                for one in child.value:
                    self.traits(one)
            elif name == "not" and isinstance(child.value, dict):
                self.traits(child)
            else:
                self._trait(name.removeprefix("traits."), node.keys[name])
                _wanted(child)

    def field(self, name: Any, place: Place, events: Sequence[Event]) -> None:
        """Refuse the name of something that these events do not have."""
        if not isinstance(name, str) or not name:
            fail(place, "expected the name of a property")
        scope, dot, rest = name.partition(".")
        if dot and scope in ("context", "message"):
            return  # the context is open: libraries add to it
        if dot and scope in ("trait", "traits"):
            self._trait(rest, place)
        elif events:
            bare = rest if dot and scope in ("property", "properties") else name
            self._property(bare, place, events)

    def event_property(self, node: Node) -> Event:
        """The event of `Event Name.property`, whose property is planned."""
        if not isinstance(node.value, str):
            fail(node.place, "expected an event and a property, as in `Order Completed.total`")
        # Both names may have dots in them: the longest event's name that fits is meant.
        name, dot, rest = node.value.rpartition(".")
        while dot and name not in self._plan.events:
            name, dot, more = name.rpartition(".")
            rest = f"{more}.{rest}"
        if not dot:
            name = node.value.rpartition(".")[0] or node.value
            hint = closest(name, self._plan.events) or "write it as in `Order Completed.total`"
            fail(node.place, f"{node.value!r} names no planned event and property", hint)
        event = self._plan.events[name]
        self._property(rest, node.place, [event])
        return event

    def _members(self, node: Node) -> list[tuple[str, Node]]:
        if not isinstance(node.value, dict) or not node.value:
            fail(node.place, "expected a filter, such as `{total: {'>': 0}}`")
        return list(node.value.items())

    def _property(self, name: str, place: Place, events: Sequence[Event]) -> None:
        if any(
            event.unplanned_properties == "accept" or _has(event.properties, name)
            for event in events
        ):
            return
        known = [known for event in events for known in event.properties]
        which = " or ".join(dict.fromkeys(repr(event.name) for event in events[:3]))
        fail(place, f"the property {name!r} of {which} is not planned", closest(name, known))

    def _trait(self, name: str, place: Place) -> None:
        open_traits = self._plan.defaults.unplanned_properties == "accept"
        if not open_traits and not _has(self._plan.traits, name):
            fail(place, f"the trait {name!r} is not planned", closest(name, self._plan.traits))


def _has(properties: Mapping[str, Property], name: str) -> bool:
    """Whether a property is planned; `address.city` is a part of `address`."""
    return name in properties or name.partition(".")[0] in properties


def _wanted(node: Node) -> None:
    if not isinstance(node.value, dict):
        return
    for operator, operand in node.value.items():
        place = node.keys[operator]
        if operator not in OPERATORS:
            hint = closest(operator, OPERATORS) or f"operators are {', '.join(OPERATORS)}"
            fail(place, f"unknown operator {operator!r}", hint)
        if operator in _LISTS and not isinstance(operand.value, list):
            fail(operand.place, f"`{operator}` takes a list")

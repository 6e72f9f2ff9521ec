"""The shape of a typed event, as `desirepath plan codegen` generates one a planned event.

Any class of this shape can be tracked: `tracker.track(OrderCompleted(order_id="A1", total=42.5))`.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol, runtime_checkable

__all__ = ["TypedEvent"]


@runtime_checkable
class TypedEvent(Protocol):
    """One event with typed properties.

    Attributes
    ----------
    __event__
        The event's name in the plan.
    __plan__
        The plan it was generated from: its name and version, as in `shop 1.2.0`.
    """

    __event__: ClassVar[str]
    __plan__: ClassVar[str]

    def to_properties(self) -> dict[str, Any]:
        """The properties as they are sent: by their names in the plan, without what is not set."""

"""The shape of a typed event, as `desirepath plan codegen` generates one a planned event.

Any class of this shape can be tracked: `tracker.track(OrderCompleted(order_id="A1", total=42.5))`.
Generated classes also carry `__plan__`, the plan they were made from, as in `shop 1.2.0`.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

__all__ = ["TypedEvent"]


@runtime_checkable
class TypedEvent(Protocol):
    """One event with typed properties; `__event__` is its name in the plan."""

    # A property, not a variable, so that class variables and plain attributes both fit.
    @property
    def __event__(self) -> str: ...

    def to_properties(self) -> dict[str, Any]:
        """The properties as they are sent: by their names in the plan, without what is not set."""

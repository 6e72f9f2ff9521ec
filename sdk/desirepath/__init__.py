"""Desirepath: behavioural analytics from one tracking plan. This package is the SDK.

>>> from desirepath import Tracker
>>> tracker = Tracker("http://127.0.0.1:8000", write_key="dev")
>>> tracker.track("Order Completed", {"total": 42.5}, user_id="u1")
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from desirepath.plan import Plan, Violation
    from desirepath.tracker import Stats, Tracker
    from desirepath.typed import TypedEvent

__all__ = ["Plan", "Stats", "Tracker", "TypedEvent", "Violation"]

# Imported at first use: `import desirepath` itself costs an app next to nothing.
_HOMES = {
    "Plan": "desirepath.plan",
    "Stats": "desirepath.tracker",
    "Tracker": "desirepath.tracker",
    "TypedEvent": "desirepath.typed",
    "Violation": "desirepath.plan",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

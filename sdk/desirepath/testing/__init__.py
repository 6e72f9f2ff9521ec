"""Testing aid for apps that track: what the pytest plugin's `tracked` fixture gives.

pytest finds the plugin by itself once Desirepath is installed; docs/testing.md tells how to use
it. `Tracked` and `TrackedEvent` are here for type annotations.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from desirepath.testing._tracked import Tracked, TrackedEvent

__all__ = ["Tracked", "TrackedEvent"]


# Imported at first use: pytest loads the plugin in every run, also where nothing is tracked.
def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from desirepath.testing import _tracked

    return getattr(_tracked, name)

"""Questions to the warehouse, and their answers.

    from desirepath_analytics import connect, Funnel
    result = Funnel(["Product Viewed", "Order Completed"], within="7d").run(connect("./data"))

Names are imported when they are first used, so that a command line starts at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from desirepath_analytics.behaviour.funnel import Funnel
    from desirepath_analytics.behaviour.lifecycle import Lifecycle
    from desirepath_analytics.behaviour.paths import Paths
    from desirepath_analytics.behaviour.retention import Retention
    from desirepath_analytics.behaviour.rules import did, did_not, trait
    from desirepath_analytics.behaviour.segment import Segment
    from desirepath_analytics.behaviour.stickiness import Stickiness
    from desirepath_analytics.behaviour.trend import Trend
    from desirepath_analytics.predict.spec import Propensity
    from desirepath_analytics.question import read_question
    from desirepath_analytics.spec import Step
    from desirepath_collector.warehouse import connect

__all__ = [
    "Funnel",
    "Lifecycle",
    "Paths",
    "Propensity",
    "Retention",
    "Segment",
    "Step",
    "Stickiness",
    "Trend",
    "connect",
    "did",
    "did_not",
    "read_question",
    "trait",
]

_HOMES = {
    "Funnel": "desirepath_analytics.behaviour.funnel",
    "Lifecycle": "desirepath_analytics.behaviour.lifecycle",
    "Paths": "desirepath_analytics.behaviour.paths",
    "Propensity": "desirepath_analytics.predict.spec",
    "Retention": "desirepath_analytics.behaviour.retention",
    "Segment": "desirepath_analytics.behaviour.segment",
    "Step": "desirepath_analytics.spec",
    "Stickiness": "desirepath_analytics.behaviour.stickiness",
    "Trend": "desirepath_analytics.behaviour.trend",
    "connect": "desirepath_collector.warehouse",
    "did": "desirepath_analytics.behaviour.rules",
    "did_not": "desirepath_analytics.behaviour.rules",
    "read_question": "desirepath_analytics.question",
    "trait": "desirepath_analytics.behaviour.rules",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)

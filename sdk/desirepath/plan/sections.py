"""The parts that name other parts: journeys, segments, metrics, models and experiments."""

from __future__ import annotations

from desirepath.plan.keywords import closest
from desirepath.plan.model import Plan
from desirepath.plan.reader import Node, fail

__all__ = ["check"]


def check(plan: Plan, root: Node) -> None:
    """Refuse the first reference to something that the plan does not plan."""
    for node in (root.value["journeys"].value or {}).values() if "journeys" in root.value else ():
        for step in node.value["steps"].value if "steps" in node.value else ():
            name = step.value["event"] if isinstance(step.value, dict) else step
            if name.value not in plan.events:
                hint = closest(str(name.value), plan.events)
                fail(name.place, f"the event {name.value!r} is not planned", hint)

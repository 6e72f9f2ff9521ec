"""The tracking plan: one reviewed file that every room obeys.

`Plan.load` reads it strictly, `Plan.compile` makes a `Validator`, whose `check` gives each event
a `Verdict`. docs/plan.md is the language's reference.
"""

from desirepath.plan.compiler import Validator, Verdict
from desirepath.plan.model import Defaults, Event, Place, Plan, Property, Section
from desirepath.plan.violations import Violation

__all__ = [
    "Defaults",
    "Event",
    "Place",
    "Plan",
    "Property",
    "Section",
    "Validator",
    "Verdict",
    "Violation",
]

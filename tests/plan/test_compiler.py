"""The validator's verdicts."""

from __future__ import annotations

from desirepath.plan import Plan, Violation

PLAN = """
plan: t
version: 1.0.0
events:
  Order Completed: {properties: {total: {type: number, minimum: 0, required: true}}}
"""


def test_a_valid_event_is_accepted_and_a_wrong_one_quarantined_with_every_reason() -> None:
    validator = Plan.parse(PLAN).compile()
    good = validator.check("track", "Order Completed", b'{"total": 1}')
    assert (good.decision, good.payload) == ("accept", b'{"total":1}')
    bad = validator.check("track", "Order Completed", b'{"total": -1, "x": 1}')
    assert bad.decision == "quarantine"
    assert bad.violations == (
        Violation("range", "/properties/total", "at least 0", "-1"),
        Violation("unplanned_property", "/properties/x", "a planned property", "1"),
    )

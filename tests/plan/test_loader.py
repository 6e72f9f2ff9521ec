"""The strict loader: what a plan says comes out, and every mistake has its place."""

from __future__ import annotations

from pathlib import Path

from desirepath.plan import Plan

PLANS = Path(__file__).parents[2] / "tracking_plans"


def test_the_shop_plan_loads_and_its_source_makes_the_same_plan_again() -> None:
    plan = Plan.load(PLANS / "shop.yaml")
    again = Plan.parse(plan.source, path=plan.path)
    assert again == plan
    assert plan.events["Order Completed"].properties["total"].unit == "EUR"
    assert plan.journeys["purchase"].spec["within"] == "7d"

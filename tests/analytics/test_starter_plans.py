"""The journeys and segments of the starter plans are questions that can be asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from desirepath.plan import Plan
from desirepath_analytics import Funnel, Segment
from desirepath_analytics.catalog import Catalog

PLANS = sorted((Path(__file__).parents[2] / "tracking_plans").glob("*.yaml"))


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_every_journey_and_segment_compiles(path: Path) -> None:
    """Against the plan's own names; and its plain form is read back."""
    plan = Plan.load(str(path))
    catalog = Catalog.of_plan(plan)
    for journey in plan.journeys.values():
        funnel = Funnel.from_spec(journey.spec)
        assert Funnel.from_spec(funnel.to_spec()) == funnel
        assert funnel.compile(catalog).text.startswith("SELECT")
    for section in plan.segments.values():
        segment = Segment.from_spec(section.spec)
        assert Segment.from_spec(segment.to_spec()) == segment
        assert segment.compile(catalog).text.startswith("SELECT")

"""The question: one form everywhere, every mistake said at once, and the cut-offs it leads to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desirepath.errors import NotEstimable, QueryError
from desirepath_analytics.predict import Propensity
from desirepath_analytics.predict.cutoffs import schedule

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "spec",
    [
        {"kind": "propensity", "outcome": "Order Completed", "horizon": "14d"},
        {
            "kind": "propensity",
            "outcome": "Order Completed",
            "horizon": "12h",
            "where": {"total": {">": 50}},
            "population": {"active_within": "30d", "did": ["Sign Up"], "did_not": ["Left"]},
            "lookback": "60d",
            "features": ["activity", "events"],
            "events": ["Page Viewed"],
        },
    ],
)
def test_the_plan_form_comes_back_the_same(spec: dict[str, Any]) -> None:
    assert Propensity.from_spec(spec).to_spec() == spec
    assert Propensity.from_spec(Propensity.from_spec(spec).to_spec()) == Propensity.from_spec(spec)


def test_what_a_plan_says_to_people_is_no_setting() -> None:
    bare = {"kind": "propensity", "outcome": "Order Completed", "horizon": "14d"}
    noted = {**bare, "description": "Who to write to.", "owner": "growth"}
    assert Propensity.from_spec(noted) == Propensity.from_spec(bare)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"outcome": ""}, "outcome"),
        ({"horizon": "soon"}, "horizon: 'soon'"),
        ({"horizon": "0d"}, "horizon: '0d'"),
        ({"lookback": "5m"}, "lookback: '5m'"),
        ({"features": ["magic"]}, "magic"),
        ({"features": []}, "features"),
        ({"kind": "clustering"}, "clustering"),
        ({"where": {"total": {"~": 3}}}, "unknown operator"),
        ({"where": {"traits.country": "SE"}}, "traits.country"),
        ({"population": {"active": "3d"}}, "active"),
        ({"population": {"active_within": "x"}}, "population.active_within"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_mistake_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(QueryError, match=message):
        Propensity.from_spec({"outcome": "Order Completed", **change})


@given(horizon=st.integers(1, 60), days=st.integers(1, 800))
def test_labels_never_overlap_the_holdout(horizon: int, days: int) -> None:
    spec = Propensity("Order Completed", f"{horizon}d")
    length = timedelta(days=horizon)
    end = BEGIN + timedelta(days=days)
    if days < 3 * horizon:
        with pytest.raises(NotEstimable, match=f"needs {3 * horizon} days"):
            schedule(spec, BEGIN, end)
        return
    plan = schedule(spec, BEGIN, end)
    assert plan.holdout_cutoff + length == end
    assert 1 <= len(plan.training_cutoffs) <= 6
    assert len(set(plan.training_cutoffs)) == len(plan.training_cutoffs)
    assert max(plan.training_cutoffs) + length == plan.holdout_cutoff
    assert min(plan.training_cutoffs) >= BEGIN + length


def test_a_horizon_of_hours_counts_as_a_day_between_cutoffs() -> None:
    plan = schedule(Propensity("Order Completed", "6h"), BEGIN, BEGIN + timedelta(days=30))
    assert plan.holdout == 1
    assert plan.training[0] == 2


def test_the_refusal_says_what_would_do() -> None:
    with pytest.raises(NotEstimable) as refused:
        schedule(Propensity("Order Completed", "14d"), BEGIN, BEGIN + timedelta(days=20, hours=12))
    assert "needs 42 days of history" in refused.value.reason
    assert "there are 20.5 days" in refused.value.reason
    assert refused.value.hint == "wait 22 more days, or ask for a horizon of 6d or less"

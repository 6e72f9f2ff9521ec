"""The model against a world whose truth is known."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from desirepath.errors import NotEstimable
from desirepath_analytics.predict import Propensity, Report, TrainedModel, train
from desirepath_analytics.predict.measures import auc

if TYPE_CHECKING:
    from tests.analytics.predict.conftest import World

from .conftest import SPEC


def test_the_model_ranks_better_than_recency(model: TrainedModel) -> None:
    report = model.report
    assert report.model.auc.value > report.recency.auc.value + 0.02
    assert report.advantage.low > 0
    assert report.model.lift.value > 2
    assert report.model.brier_skill.low > 0
    assert report.base.auc.value == 0.5
    assert report.base.lift.value == pytest.approx(1)


def test_the_model_comes_near_the_truth(model: TrainedModel, world: World) -> None:
    # What a knower of every latent rate would reach is the ceiling.
    cutoff = model.report.holdout_cutoff
    scores = model.score(world.warehouse, at=cutoff)
    later = {
        row["person_id"]
        for row in world.warehouse.query(_buyers(cutoff, timedelta(days=14))).to_pylist()
    }
    persons = [row.person_id for row in scores.rows]
    bought = np.array([person in later for person in persons])
    said = np.array([row.probability for row in scores.rows])
    truth = world.truth(persons, cutoff, 14)
    assert model.report.holdout.outcomes == bought.sum()
    assert auc(bought, said) == pytest.approx(model.report.model.auc.value)
    assert auc(bought, said) > auc(bought, truth) - 0.08
    assert abs(said.mean() - truth.mean()) < 0.03


def test_probabilities_are_calibrated(model: TrainedModel) -> None:
    bins = model.report.calibration
    n = sum(part.n for part in bins)
    assert n == model.report.holdout.n
    off = sum(part.n * abs(part.predicted - part.observed.value) for part in bins) / n
    assert off < 0.03


def test_a_shuffled_outcome_cannot_be_predicted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Any way for an outcome to reach its own features would show as an AUC above a coin's.
    from desirepath_analytics.predict import model as module

    real = module.add_labels
    rng = np.random.default_rng(3)

    def shuffled(*args: object) -> object:
        rows = real(*args)  # type: ignore[arg-type]
        label = rows.label.copy()
        for k in np.unique(rows.k):
            label[rows.k == k] = rng.permutation(label[rows.k == k])
        return msgspec.structs.replace(rows, label=label)

    monkeypatch.setattr(module, "add_labels", shuffled)
    report = SPEC.run(world.warehouse, until=world.end)
    assert "not shown to rank better than the days since the last event" in report.notes
    assert report.model.auc.low < 0.5 < report.model.auc.high


def test_the_report_as_table_json_and_picture(model: TrainedModel) -> None:
    report = model.report
    assert list(report.frame.index) == ["model", "recency", "base"]
    assert report.frame.loc["model", "auc"] == report.model.auc.value
    assert msgspec.json.decode(report.to_json(), type=Report) == report
    figure = report.figure()
    assert {trace.name for trace in figure.data} >= {"model", "days since the last event", "chance"}
    assert "Order Completed within 14d" in figure.layout.title.text
    assert [one.drop for one in report.importance] == sorted(
        (one.drop for one in report.importance), reverse=True
    )


def test_the_same_seed_gives_the_same_report(model: TrainedModel, world: World) -> None:
    again = train(SPEC, world.warehouse, name="will_buy", until=world.end, seed=5).report
    assert msgspec.structs.replace(again, trained_at=model.report.trained_at) == model.report


def test_no_training_label_reaches_the_holdout(model: TrainedModel) -> None:
    report = model.report
    assert report.training_cutoffs[-1] + timedelta(days=14) <= report.holdout_cutoff
    assert report.holdout_cutoff + timedelta(days=14) <= report.end


def test_too_short_a_history_says_how_much_is_needed(world: World) -> None:
    with pytest.raises(NotEstimable, match=r"needs 180 days of history.* there are 119"):
        Propensity("Order Completed", "60d").train(world.warehouse, until=world.end)


def test_too_few_outcomes_are_refused(world: World) -> None:
    rare = Propensity("Order Completed", "14d", where={"total": {">": 10_000}})
    with pytest.raises(NotEstimable, match=r"0 persons with 'Order Completed'.*at least 50"):
        rare.train(world.warehouse, until=world.end)


def _buyers(cutoff: object, within: timedelta) -> object:
    from desirepath_collector.warehouse import Sql

    begin = round(cutoff.timestamp() * 1000)  # type: ignore[attr-defined]
    return Sql(
        "SELECT DISTINCT person_id FROM resolved_events WHERE event = 'Order Completed' "
        "AND toUnixTimestamp64Milli(timestamp) >= {a:Int64} "
        "AND toUnixTimestamp64Milli(timestamp) < {b:Int64}",
        {"a": begin, "b": begin + round(within.total_seconds() * 1000)},
    )

"""The measures agree with scikit-learn's, on ties and weights too."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from desirepath_analytics.predict import measures
from desirepath_analytics.predict.measures import Forecast

_cases = st.lists(
    st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 0.9])),
    min_size=2,
    max_size=60,
).filter(lambda rows: 0 < sum(row[0] for row in rows) < len(rows))


@given(_cases)
def test_auc_brier_and_log_loss_are_scikit_learns(rows: list[tuple[bool, float]]) -> None:
    truth = np.array([row[0] for row in rows])
    said = np.array([row[1] for row in rows])
    assert measures.auc(truth, said) == pytest.approx(metrics.roc_auc_score(truth, said))
    assert measures.brier(truth, said) == pytest.approx(metrics.brier_score_loss(truth, said))
    safe = np.clip(said, 1e-7, 1 - 1e-7)
    assert measures.log_loss(truth, said) == pytest.approx(metrics.log_loss(truth, safe))


def test_gain_cuts_a_group_of_ties_proportionally() -> None:
    truth = np.array([True, False, True, False])
    same = np.full(4, 0.3)
    assert measures.gain(truth, same, 0.1) == pytest.approx(0.1)
    best_first = np.array([0.9, 0.1, 0.8, 0.2])
    assert measures.gain(truth, best_first, 0.25) == pytest.approx(0.5)
    assert measures.gain(truth, best_first, 0.5) == pytest.approx(1.0)


def test_a_weighted_resample_is_the_resample_itself() -> None:
    rng = np.random.default_rng(1)
    truth, said = rng.random(200) < 0.3, rng.random(200).round(2)
    drawn = rng.integers(200, size=200)
    weight = np.bincount(drawn, minlength=200).astype(np.float64)
    weighted, _ = measures._Ranking(truth, said).measure(weight, np.zeros(1))
    assert weighted == pytest.approx(metrics.roc_auc_score(truth[drawn], said[drawn]))


def test_intervals_cover_and_the_advantage_is_paired() -> None:
    rng = np.random.default_rng(2)
    chance = rng.random(2000) * 0.5
    truth = rng.random(2000) < chance
    noise = rng.random(2000)
    forecasts = {"good": Forecast(chance, chance), "noise": Forecast(noise, np.full(2000, 0.25))}
    found, curves, advantage = measures.compare(truth, forecasts, rng)
    assert found["good"].auc.low < found["good"].auc.value < found["good"].auc.high
    assert found["noise"].auc.low < 0.5 < found["noise"].auc.high
    assert found["good"].brier_skill.low > 0
    assert advantage.value == pytest.approx(found["good"].auc.value - found["noise"].auc.value)
    assert advantage.low > 0
    assert curves["good"].gain[0] == 0
    assert curves["good"].gain[-1] == pytest.approx(1)
    assert list(curves["good"].gain) == sorted(curves["good"].gain)


def test_the_same_generator_gives_the_same_intervals() -> None:
    truth = np.arange(100) % 3 == 0
    said = np.linspace(0, 1, 100)
    both = {"a": Forecast(said, said), "b": Forecast(-said, said)}
    first = measures.compare(truth, both, np.random.default_rng(4))
    assert first == measures.compare(truth, both, np.random.default_rng(4))


def test_wilson_has_its_published_values() -> None:
    # Newcombe (1998), Statistics in Medicine 17, table I: 81/263 and 0/20.
    found = measures.wilson(81, 263)
    assert (round(found.low, 4), round(found.high, 4)) == (0.2553, 0.3662)
    assert round(measures.wilson(0, 20).high, 4) == 0.1611
    assert measures.wilson(0, 20).low == 0


def test_calibration_covers_everybody_once() -> None:
    truth = np.array([False] * 90 + [True] * 13)
    parts = measures.calibration(truth, np.linspace(0, 1, 103))
    assert [part.n for part in parts] == [11, 11, 11, 10, 10, 10, 10, 10, 10, 10]
    assert parts[-1].observed.value == 1
    assert parts[0].observed.value == 0

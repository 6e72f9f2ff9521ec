"""How good a forecast was: functions of (truth, prediction), each with an interval.

Intervals are 95 % percentile intervals of a bootstrap over persons. All measures of all forecasts
are taken on the same resamples, so a difference of two forecasts has an honest interval too. A
resample is a vector of whole weights; every measure here takes weights and treats ties exactly:
a tied group counts half in the AUC and is cut proportionally at the top tenth.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CalibrationBin",
    "Estimate",
    "Forecast",
    "GainCurve",
    "Measures",
    "auc",
    "brier",
    "calibration",
    "compare",
    "gain",
    "log_loss",
    "wilson",
]

_TOP_SHARE: Final = 0.1
_CURVE_POINTS: Final = 51
_RESAMPLES: Final = 300
_MANY: Final = 30_000
_RESAMPLES_OF_MANY: Final = 150
_TAILS_PERCENT: Final = (2.5, 97.5)
_Z95: Final = 1.959963984540054
# A forecast of 0 that comes true costs log(1 / 1e-7), not infinity.
_LEAST_PROBABILITY: Final = 1e-7

Floats = NDArray[np.float64]


class Estimate(msgspec.Struct, frozen=True):
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


class Measures(msgspec.Struct, frozen=True):
    """How good one forecast was.

    Parameters
    ----------
    auc
        Chance that a person with the outcome ranks above one without; 0.5 is a coin.
    lift
        Outcomes among the top 10 % against 10 % drawn at random; 1 is a coin.
    brier
        Mean squared error of the probability; less is better.
    brier_skill
        1 - brier / that of the base rate; 0 is the base rate, 1 is perfect.
    log_loss
        Mean negative log likelihood in nats; less is better.
    """

    auc: Estimate
    lift: Estimate
    brier: Estimate
    brier_skill: Estimate
    log_loss: Estimate


class GainCurve(msgspec.Struct, frozen=True):
    """Share of all outcomes found among the top share of persons, by rank.

    Parameters
    ----------
    share
        Shares of persons, 0 to 1.
    gain, low, high
        Share of outcomes found, with its interval.
    """

    share: tuple[float, ...]
    gain: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


class CalibrationBin(msgspec.Struct, frozen=True):
    """A tenth of the persons by predicted probability: what was said and what came.

    Parameters
    ----------
    n
        Persons.
    predicted
        Mean predicted probability.
    observed
        Share with the outcome, with its Wilson interval.
    """

    n: int
    predicted: float
    observed: Estimate


class Forecast(msgspec.Struct, frozen=True):
    """A ranking of persons, and the probabilities that go with it.

    Parameters
    ----------
    score
        The higher, the likelier.
    probability
        Between 0 and 1.
    """

    score: Floats
    probability: Floats


class _Ranking:
    """A score's order and its groups of ties, found once and used on every resample."""

    def __init__(self, truth: NDArray[np.bool_], score: Floats) -> None:
        self.order = np.argsort(-score, kind="stable")
        ranked = score[self.order]
        # Each group of ties ends where the next score differs.
        self.ends = np.flatnonzero(np.r_[ranked[1:] != ranked[:-1], True])
        self.truth = truth[self.order].astype(np.float64)

    def curve(self, weight: Floats) -> tuple[Floats, Floats]:
        """Weight of all persons and of the outcomes down to the end of each group, from 0."""
        ranked = weight[self.order]
        seen = np.cumsum(ranked)[self.ends]
        found = np.cumsum(ranked * self.truth)[self.ends]
        return np.r_[0.0, seen], np.r_[0.0, found]

    def measure(self, weight: Floats, shares: Floats) -> tuple[float, Floats]:
        """The AUC, and the gain at each share."""
        seen, found = self.curve(weight)
        missed = seen - found
        pairs = found[-1] * missed[-1]
        if not pairs:
            return float("nan"), np.full(len(shares), np.nan)
        # The ROC curve's area by trapezoids: a group of ties is a slanted piece, so counts half.
        area = float(np.diff(missed) @ (found[1:] + found[:-1])) / 2
        return area / pairs, np.interp(shares * seen[-1], seen, found) / found[-1]


def auc(truth: NDArray[np.bool_], score: Floats) -> float:
    """Area under the ROC curve, ties counting half."""
    return _Ranking(truth, score).measure(np.ones(len(truth)), np.zeros(1))[0]


def gain(truth: NDArray[np.bool_], score: Floats, share: float) -> float:
    """Share of all outcomes among the `share` of persons with the highest scores."""
    return float(_Ranking(truth, score).measure(np.ones(len(truth)), np.array([share]))[1][0])


def brier(truth: NDArray[np.bool_], probability: Floats) -> float:
    """Mean squared error of the probabilities (Brier, 1950)."""
    return float(_squared(truth, probability).mean())


def log_loss(truth: NDArray[np.bool_], probability: Floats) -> float:
    """Mean negative log likelihood, in nats."""
    return float(_surprise(truth, probability).mean())


def compare(
    truth: NDArray[np.bool_], forecasts: Mapping[str, Forecast], rng: np.random.Generator
) -> tuple[dict[str, Measures], dict[str, GainCurve], Estimate]:
    """Measure every forecast, and the first one's AUC less the second one's.

    Returns
    -------
    measures, curves, advantage
        By the forecast's name; the paired difference in AUC of the first two forecasts.
    """
    grid = np.linspace(0, 1, _CURVE_POINTS)
    shares = np.r_[_TOP_SHARE, grid]
    outcome = truth.astype(np.float64)
    rankings = {name: _Ranking(truth, forecast.score) for name, forecast in forecasts.items()}
    losses = {
        name: (_squared(truth, forecast.probability), _surprise(truth, forecast.probability))
        for name, forecast in forecasts.items()
    }

    def measure(weight: Floats) -> dict[str, Floats]:
        total = weight.sum()
        rate = float(weight @ outcome) / total
        found = {}
        for name, ranking in rankings.items():
            squared, surprise = losses[name]
            error = float(squared @ weight) / total
            spread = rate * (1 - rate)
            area, gains = ranking.measure(weight, shares)
            found[name] = np.r_[
                area,
                gains[0] / _TOP_SHARE,
                error,
                # A constant forecast would differ from its own error by a rounding only.
                np.round(1 - error / spread, 12) + 0.0 if spread else np.nan,
                float(surprise @ weight) / total,
                gains[1:],
            ]
        return found

    point = measure(np.ones(len(truth)))
    drawn: dict[str, list[Floats]] = {name: [] for name in forecasts}
    for weight in _resamples(len(truth), rng):
        for name, row in measure(weight).items():
            drawn[name].append(row)
    measures, curves = {}, {}
    first, second = list(forecasts)[:2]
    for name in forecasts:
        low, high = np.nanpercentile(np.array(drawn[name]), _TAILS_PERCENT, axis=0)
        estimates = [
            Estimate(float(v), float(a), float(b))
            for v, a, b in zip(point[name][:5], low[:5], high[:5], strict=True)
        ]
        measures[name] = Measures(*estimates)
        curves[name] = GainCurve(
            tuple(grid.tolist()),
            tuple(point[name][5:].tolist()),
            tuple(low[5:].tolist()),
            tuple(high[5:].tolist()),
        )
    gaps = np.array([a[0] - b[0] for a, b in zip(drawn[first], drawn[second], strict=True)])
    low, high = np.nanpercentile(gaps, _TAILS_PERCENT)
    advantage = Estimate(float(point[first][0] - point[second][0]), float(low), float(high))
    return measures, curves, advantage


def calibration(
    truth: NDArray[np.bool_], probability: Floats, bins: int = 10
) -> tuple[CalibrationBin, ...]:
    """What was predicted and what came, in equal parts by predicted probability, lowest first."""
    order = np.argsort(probability, kind="stable")
    return tuple(
        CalibrationBin(
            n=len(part),
            predicted=float(probability[part].mean()),
            observed=wilson(int(truth[part].sum()), len(part)),
        )
        for part in np.array_split(order, bins)
        if len(part)
    )


def wilson(hits: int, n: int) -> Estimate:
    """A share with its 95 % Wilson score interval (Wilson, 1927)."""
    share, square = hits / n, _Z95**2
    middle = (share + square / (2 * n)) / (1 + square / n)
    half = _Z95 / (1 + square / n) * np.sqrt(share * (1 - share) / n + square / (4 * n * n))
    return Estimate(share, max(float(middle - half), 0.0), min(float(middle + half), 1.0))


def _squared(truth: NDArray[np.bool_], probability: Floats) -> Floats:
    return np.asarray((probability - truth) ** 2)


def _surprise(truth: NDArray[np.bool_], probability: Floats) -> Floats:
    safe = np.clip(probability, _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
    return -np.log(np.where(truth, safe, 1 - safe))


def _resamples(n: int, rng: np.random.Generator) -> Iterator[Floats]:
    # Beyond some size intervals are narrow, and their ends need no more precision than this.
    for _ in range(_RESAMPLES if n < _MANY else _RESAMPLES_OF_MANY):
        yield np.bincount(rng.integers(n, size=n), minlength=n).astype(np.float64)

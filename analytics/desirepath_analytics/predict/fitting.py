"""Boosted trees with honest probabilities: fit, calibrate, and ask what matters.

A person's rows never stand on both sides of a split between fitting and calibrating. The number
of trees is found on persons the trees did not see; then each fold's trees are fitted anew and
calibrated on the persons left out, and a forecast is the mean of the folds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from desirepath_analytics.predict.measures import auc
from desirepath_analytics.predict.report import Importance

__all__ = ["Fit", "calibrated", "importance", "one_thread"]

_FOLDS: Final = 5
# From here on fewer splits do as well, and five models cost too much.
_MANY_ROWS: Final = 60_000
_SPLITS_OF_MANY: Final = 2
# Isotonic regression overfits on few outcomes (scikit-learn's guide: much less than 1,000).
_ISOTONIC_OUTCOMES: Final = 1_000
_MAX_ROUNDS: Final = 400
_PATIENCE_ROUNDS: Final = 15
_IMPORTANCE_ROWS: Final = 2_000
_IMPORTANCE_SHUFFLES: Final = 4
_IMPORTANCE_SHOWN: Final = 10

Matrix = NDArray[np.float32]
Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]


class Fit(msgspec.Struct, frozen=True):
    """A fitted and calibrated classifier.

    Parameters
    ----------
    classifier
        A fitted `CalibratedClassifierCV`.
    method
        `isotonic` or `sigmoid`.
    rounds
        Boosting rounds.
    floor
        No probability is below it or above 1 - it.
    """

    classifier: Any
    method: str
    rounds: int
    floor: float

    def probability(self, x: Matrix) -> Floats:
        """Each row's probability of the outcome."""
        raw = np.asarray(self.classifier.predict_proba(x)[:, 1], dtype=np.float64)
        return np.clip(raw, self.floor, 1 - self.floor)


def calibrated(
    x: Matrix,
    y: Flags,
    person: NDArray[np.int64],
    categorical: list[bool],
    rng: np.random.Generator,
) -> Fit:
    """Fit and calibrate on training rows.

    Parameters
    ----------
    x, y
        Features and outcomes.
    person
        Whose row each is.
    categorical
        Which columns are categories.
    rng
        What folds and trees are drawn from.
    """
    splits = _splits(y, person, rng)
    fit, check = splits[0]
    seed = int(rng.integers(2**31))
    stopping = _trees(categorical, seed, max_iter=_MAX_ROUNDS, early_stopping=True)
    stopping.fit(x[fit], y[fit], X_val=x[check], y_val=y[check])
    rounds = int(max(stopping.n_iter_ - _PATIENCE_ROUNDS, 1))
    used = splits if len(y) < _MANY_ROWS else splits[:_SPLITS_OF_MANY]
    method = (
        "isotonic"
        if min(int(y[held].sum()) for _, held in used) >= _ISOTONIC_OUTCOMES
        else "sigmoid"
    )
    classifier = CalibratedClassifierCV(
        _trees(categorical, seed, max_iter=rounds, early_stopping=False),
        method=method,
        cv=used,
        ensemble=True,
    )
    classifier.fit(x, y)
    # Isotonic regression says 0 and 1 where it saw no exception. Having seen none among n, the
    # rule of succession says 1 / (n + 2).
    return Fit(classifier, method, rounds, 1 / (min(len(held) for _, held in used) + 2))


def importance(
    fit: Fit, x: Matrix, y: Flags, names: Sequence[str], rng: np.random.Generator
) -> tuple[Importance, ...]:
    """The largest falls in the holdout's AUC; one shuffle finds the candidates."""
    if len(x) > _IMPORTANCE_ROWS:
        # As many outcomes as the limit allows: the AUC of a handful would be noise.
        hits, misses = np.flatnonzero(y), np.flatnonzero(~y)
        most = max(_IMPORTANCE_ROWS // 2, _IMPORTANCE_ROWS - len(misses))
        hits = rng.permutation(hits)[:most]
        misses = rng.permutation(misses)[: _IMPORTANCE_ROWS - len(hits)]
        chosen = np.sort(np.r_[hits, misses])
        x, y = x[chosen], y[chosen]
    work = x.copy()

    def fall(column: int, rule: Callable[[Matrix], Floats], whole: float) -> float:
        work[:, column] = rng.permutation(x[:, column])
        score = auc(y, rule(work))
        work[:, column] = x[:, column]
        return whole - score

    # One of the ensemble's members is enough to find the candidates ...
    member = fit.classifier.calibrated_classifiers_[0].estimator.decision_function
    reached = auc(y, member(x))
    first = [fall(column, member, reached) for column in range(x.shape[1])]
    best = sorted(range(len(first)), key=lambda column: -first[column])[:_IMPORTANCE_SHOWN]

    # ... and fresh shuffles measure them: the one that chose them is biased upwards.
    found, whole = [], auc(y, fit.probability(x))
    for column in best:
        drops = [fall(column, fit.probability, whole) for _ in range(_IMPORTANCE_SHUFFLES)]
        found.append(Importance(names[column], float(np.mean(drops)), float(np.std(drops, ddof=1))))
    return tuple(sorted((one for one in found if one.drop > 0), key=lambda one: -one.drop))


def one_thread() -> threadpool_limits:
    """One thread for OpenMP and BLAS, within a `with`.

    Two threads fit up to twice as fast on an idle machine, but their spinning made the same fit 70
    times slower on a busy one (measured); and one thread adds up in one order.
    """
    return threadpool_limits(1)


def _trees(
    categorical: list[bool], seed: int, *, max_iter: int, early_stopping: bool
) -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(
        learning_rate=0.08,
        max_iter=max_iter,
        max_leaf_nodes=8,
        min_samples_leaf=40,
        # Counts of the same thing in several windows are alike; each split sees half of them.
        max_features=0.5,
        l2_regularization=5.0,
        categorical_features=categorical if any(categorical) else None,
        early_stopping=early_stopping,
        n_iter_no_change=_PATIENCE_ROUNDS,
        random_state=seed,
    )


def _splits(
    y: Flags, person: NDArray[np.int64], rng: np.random.Generator
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """(fit, calibrate) rows: every person wholly on one side, buyers dealt out evenly."""
    persons, index = np.unique(person, return_inverse=True)
    ever = np.bincount(index, weights=y) > 0
    fold = np.empty(len(persons), dtype=np.int64)
    for group in (np.flatnonzero(ever), np.flatnonzero(~ever)):
        fold[rng.permutation(group)] = np.arange(len(group)) % _FOLDS
    of_row = fold[index]
    return [
        (np.flatnonzero(of_row != number), np.flatnonzero(of_row == number))
        for number in range(_FOLDS)
    ]

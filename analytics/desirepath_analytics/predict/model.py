"""Fitting, calibrating and judging a propensity model, and scoring with it.

What must always hold: the trees, their number, the calibrator and the levels of categories come
from training cut-offs only; a person's rows never stand on both sides of a split between fitting
and calibrating; the holdout is touched once, to be reported; the model that is saved is the very
one that was judged, not a refit. The report's numbers are the holdout's.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from datetime import datetime, timedelta
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.isotonic import IsotonicRegression

from desirepath.errors import NotEstimable
from desirepath.event import Clock, utc_now
from desirepath_analytics.predict.cutoffs import Schedule, moment, schedule
from desirepath_analytics.predict.features import Inventory, features
from desirepath_analytics.predict.inventory import bounds, take_inventory
from desirepath_analytics.predict.matrix import Encoder, Rows, add_labels, fetch, fit_encoder
from desirepath_analytics.predict.measures import Forecast, auc, calibration, compare, wilson
from desirepath_analytics.predict.report import Importance, Report, Sample
from desirepath_analytics.predict.scores import Scores
from desirepath_analytics.predict.spec import Propensity

if TYPE_CHECKING:
    from desirepath_collector.warehouse import Warehouse

__all__ = ["TrainedModel", "train"]

_FOLDS: Final = 5
# From here on fewer splits do as well, and five models cost too much.
_MANY_ROWS: Final = 60_000
_SPLITS_OF_MANY: Final = 2
_MAX_TRAINING_ROWS: Final = 200_000
# Isotonic regression overfits on few outcomes (scikit-learn's guide: much less than 1,000).
_ISOTONIC_OUTCOMES: Final = 1_000
_LEAST_TRAINING: Final = 50
_LEAST_HOLDOUT: Final = 25
_IMPORTANCE_ROWS: Final = 4_000
_IMPORTANCE_SHUFFLES: Final = 5
_IMPORTANCE_SHOWN: Final = 15
_MAX_ROUNDS: Final = 400
_PATIENCE_ROUNDS: Final = 15
_ONE_MS: Final = timedelta(milliseconds=1)

Matrix = NDArray[np.float32]
Flags = NDArray[np.bool_]


class TrainedModel(msgspec.Struct, frozen=True):
    """A fitted and calibrated model with its report.

    Parameters
    ----------
    spec, inventory
        The question and the names its features are made from.
    encoder
        The categories' levels.
    kept
        Positions of the features that vary in training; the classifier sees only these.
    classifier
        A fitted `CalibratedClassifierCV`.
    floor
        No probability is below it or above 1 - it.
    report
        How good it is.
    """

    spec: Propensity
    inventory: Inventory
    encoder: Encoder
    kept: tuple[int, ...]
    classifier: Any
    floor: float
    report: Report

    def probability(self, rows: Rows) -> NDArray[np.float64]:
        """Each row's probability of the outcome within the horizon."""
        return _probability(self.classifier, self.encoder(rows)[:, self.kept], self.floor)

    def score(
        self,
        warehouse: Warehouse,
        *,
        at: datetime | str | None = None,
        clock: Clock = utc_now,
    ) -> Scores:
        """Every person in the population at `at` (default: just after the last event).

        Raises
        ------
        NotEstimable
            If nobody is in the population then.
        """
        if at is None:
            at = bounds(warehouse, clock())[1] + _ONE_MS
        cutoff = moment(at, "at")
        rows = fetch(warehouse, self.spec, self.inventory, cutoff, (0,))
        if not len(rows):
            raise NotEstimable(
                f"nobody is in the population at {cutoff:%Y-%m-%d %H:%M}: no one did anything in "
                f"the {self.spec.active_days} days before"
            )
        persons = np.array(rows.persons.take(rows.person).to_pylist(), dtype=object)
        return Scores.ranked(self.report.name, self.spec, cutoff, persons, self.probability(rows))


def train(
    spec: Propensity,
    warehouse: Warehouse,
    *,
    name: str = "propensity",
    since: datetime | str | None = None,
    until: datetime | str | None = None,
    seed: int = 0,
    clock: Clock = utc_now,
) -> TrainedModel:
    """See `Propensity.train`; `name` is the report's, `clock` says what lies in the future."""
    now = clock()
    first, last = bounds(warehouse, now)
    begin = first if since is None else max(moment(since, "since"), first)
    # Whole days read better, and no more than a day is given away.
    midnight = last.replace(hour=0, minute=0, second=0, microsecond=0)
    end = midnight if until is None else min(moment(until, "until"), last + _ONE_MS)
    plan = schedule(spec, begin, end)
    inventory = take_inventory(warehouse, spec, warehouse.plan(), plan.holdout_cutoff)
    rows = add_labels(
        fetch(warehouse, spec, inventory, end, plan.all_days), warehouse, spec, end, plan.all_days
    )
    rng = np.random.default_rng(seed)
    return _fit(spec, inventory, plan, rows, name=name, rng=rng, seed=seed, now=now)


def _fit(
    spec: Propensity,
    inventory: Inventory,
    plan: Schedule,
    rows: Rows,
    *,
    name: str,
    rng: np.random.Generator,
    seed: int,
    now: datetime,
) -> TrainedModel:
    assert rows.label is not None  # noqa: S101 (train adds them)
    holdout = np.flatnonzero(rows.k == plan.holdout)
    training = np.flatnonzero(rows.k != plan.holdout)
    _refuse_too_little(spec, plan, rows, training, holdout)
    notes = []
    fitted = _sampled(rows, training, rng)
    if len(fitted) < len(training):
        notes.append(
            f"trained on {len(fitted)} of {len(training)} rows, all rows of persons drawn at random"
        )
    encoder = fit_encoder(rows, spec, inventory)
    x, y = encoder(rows, fitted), rows.label[fitted]
    kept = tuple(np.flatnonzero(_varies(x)).tolist())
    x = x[:, kept]
    categorical = [encoder.categorical[column] for column in kept]
    fit = _calibrated(x, y, rows.person[fitted], categorical, rng)

    x_out, y_out = encoder(rows, holdout)[:, kept], rows.label[holdout]
    probability = _probability(fit.classifier, x_out, fit.floor)
    recency = rows.recency_days
    isotonic = IsotonicRegression(increasing=False, out_of_bounds="clip")
    isotonic.fit(recency[training], rows.label[training])
    constant = np.full(len(holdout), y_out.mean())
    measures, curves, advantage = compare(
        y_out,
        {
            "model": Forecast(probability, probability),
            "recency": Forecast(-recency[holdout], isotonic.predict(recency[holdout])),
            "base": Forecast(constant, constant),
        },
        rng,
    )
    names = [feature.name for feature in features(spec, inventory)]
    importance = _importance(fit, x_out, y_out, [names[column] for column in kept], rng)
    seen = np.unique(rows.person[training])
    if len(plan.training) > 1 and plan.training[1] - plan.training[0] < plan.horizon_days:
        notes.append(
            "history is short: training cut-offs lie closer than a horizon and share labels"
        )
    if (plan.end - plan.begin).days < spec.lookback_days + plan.horizon_days:
        notes.append(
            "history is shorter than lookback and horizon: earlier cut-offs see less of the past "
            "than the holdout does"
        )
    if advantage.low <= 0:
        notes.append("not shown to rank better than the days since the last event")
    report = Report(
        name=name,
        spec=spec.to_spec(),
        trained_at=now,
        begin=plan.begin,
        end=plan.end,
        training_cutoffs=plan.training_cutoffs,
        holdout_cutoff=plan.holdout_cutoff,
        training=_sample(rows, training),
        holdout=_sample(rows, holdout),
        returning=int(np.isin(rows.person[holdout], seen).sum()),
        model=measures["model"],
        recency=measures["recency"],
        base=measures["base"],
        advantage=advantage,
        calibration=calibration(y_out, probability),
        importance=importance,
        gain_model=curves["model"],
        gain_recency=curves["recency"],
        calibrated_by=fit.method,
        iterations=fit.rounds,
        features=len(kept),
        seed=seed,
        versions=_versions(),
        notes=tuple(notes),
    )
    return TrainedModel(spec, inventory, encoder, kept, fit.classifier, fit.floor, report)


def _refuse_too_little(
    spec: Propensity,
    plan: Schedule,
    rows: Rows,
    training: NDArray[np.int64],
    holdout: NDArray[np.int64],
) -> None:
    """Say so where any number would be a guess."""
    assert rows.label is not None  # noqa: S101
    for where, chosen, least in (
        ("the training cut-offs", training, _LEAST_TRAINING),
        (f"the holdout ({plan.holdout_cutoff:%Y-%m-%d})", holdout, _LEAST_HOLDOUT),
    ):
        did = len(np.unique(rows.person[chosen][rows.label[chosen]]))
        did_not = len(np.unique(rows.person[chosen][~rows.label[chosen]]))
        for count, what in (
            (did, f"with {spec.outcome!r}"),
            (did_not, f"without {spec.outcome!r}"),
        ):
            if count < least:
                raise NotEstimable(
                    f"{where} have {count} persons {what} within {spec.horizon}; at least {least} "
                    "are needed",
                    hint="collect more, widen the population, or ask for another horizon",
                )


def _sampled(
    rows: Rows, training: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """The training rows, or those of so many persons as the limit allows."""
    if len(training) <= _MAX_TRAINING_ROWS:
        return training
    share = _MAX_TRAINING_ROWS / len(training)
    return training[(rng.random(len(rows.persons)) < share)[rows.person[training]]]


class _Fit(msgspec.Struct, frozen=True):
    """A fitted classifier, how it was calibrated, its boosting rounds, its least probability."""

    classifier: Any
    method: str
    rounds: int
    floor: float


def _calibrated(
    x: Matrix,
    y: Flags,
    person: NDArray[np.int64],
    categorical: list[bool],
    rng: np.random.Generator,
) -> _Fit:
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
    return _Fit(classifier, method, rounds, 1 / (min(len(held) for _, held in used) + 2))


def _trees(
    categorical: list[bool], seed: int, *, max_iter: int, early_stopping: bool
) -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(
        learning_rate=0.06,
        max_iter=max_iter,
        max_leaf_nodes=15,
        min_samples_leaf=40,
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


def _importance(
    fit: _Fit, x: Matrix, y: Flags, names: Sequence[str], rng: np.random.Generator
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
    whole = auc(y, _probability(fit.classifier, x, fit.floor))
    work = x.copy()

    def fall(column: int) -> float:
        work[:, column] = rng.permutation(x[:, column])
        score = auc(y, _probability(fit.classifier, work, fit.floor))
        work[:, column] = x[:, column]
        return whole - score

    falls = [[fall(column)] for column in range(x.shape[1])]
    best = sorted(range(len(falls)), key=lambda column: -falls[column][0])[:_IMPORTANCE_SHOWN]
    found = []
    for column in best:
        # Fresh shuffles only: the one that chose it is biased upwards.
        drops = [fall(column) for _ in range(_IMPORTANCE_SHUFFLES)]
        found.append(Importance(names[column], float(np.mean(drops)), float(np.std(drops, ddof=1))))
    return tuple(sorted((one for one in found if one.drop > 0), key=lambda one: -one.drop))


def _probability(classifier: Any, x: Matrix, floor: float) -> NDArray[np.float64]:
    raw = np.asarray(classifier.predict_proba(x)[:, 1], dtype=np.float64)
    return np.clip(raw, floor, 1 - floor)


def _varies(x: Matrix) -> Flags:
    with np.errstate(invalid="ignore"):
        first = x[:1]
        same = (x == first) | (np.isnan(x) & np.isnan(first))
    return np.asarray(~same.all(axis=0))


def _sample(rows: Rows, chosen: NDArray[np.int64]) -> Sample:
    assert rows.label is not None  # noqa: S101
    outcomes = int(rows.label[chosen].sum())
    return Sample(
        n=len(chosen),
        persons=len(np.unique(rows.person[chosen])),
        outcomes=outcomes,
        base_rate=wilson(outcomes, len(chosen)),
    )


def _versions() -> dict[str, str]:
    libraries = ("desirepath", "numpy", "scikit-learn")
    return {"python": platform.python_version(), **{name: version(name) for name in libraries}}

"""Fitting, calibrating and judging a propensity model, and scoring with it.

What must always hold: the trees, their number, the calibrator and the levels of categories come
from training cut-offs only; a person's rows never stand on both sides of a split between fitting
and calibrating; the holdout is touched once, to be reported; the model that is saved is the very
one that was judged, not a refit. The report's numbers are the holdout's.
"""

from __future__ import annotations

import platform
from datetime import datetime, timedelta
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression

from desirepath.errors import NotEstimable
from desirepath.event import Clock, utc_now
from desirepath_analytics.predict.cutoffs import Schedule, schedule
from desirepath_analytics.predict.features import Inventory, features
from desirepath_analytics.predict.fitting import Fit, calibrated, importance, one_thread
from desirepath_analytics.predict.inventory import bounds, joined_later, take_inventory
from desirepath_analytics.predict.matrix import (
    Encoder,
    Rows,
    add_labels,
    fetch,
    fit_encoder,
    person_ids,
)
from desirepath_analytics.predict.measures import Forecast, calibration, compare, wilson
from desirepath_analytics.predict.report import Report, Sample
from desirepath_analytics.predict.scores import Scores
from desirepath_analytics.predict.spec import Propensity
from desirepath_analytics.spec import Period, moment

if TYPE_CHECKING:
    from desirepath_collector.warehouse import Warehouse

__all__ = ["TrainedModel", "train"]

_MAX_TRAINING_ROWS: Final = 100_000
_LEAST_TRAINING: Final = 50
_LEAST_HOLDOUT: Final = 25
_ONE_MS: Final = timedelta(milliseconds=1)

# A share of persons joined after the cut-off that is worth a word.
_JOINED: Final = 0.02
# A change of the base rate that is worth a word.
_DRIFT: Final = 0.15


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
    fit
        What turns features into a probability.
    report
        How good it is.
    """

    spec: Propensity
    inventory: Inventory
    encoder: Encoder
    kept: tuple[int, ...]
    fit: Fit
    report: Report

    def probability(self, rows: Rows) -> NDArray[np.float64]:
        """Each row's probability of the outcome within the horizon."""
        with one_thread():
            return self.fit.probability(self.encoder(rows)[:, self.kept])

    def score(
        self,
        warehouse: Warehouse,
        *,
        at: object = None,
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
        cutoff = moment(at, "at", now=clock())
        rows = fetch(warehouse, self.spec, self.inventory, cutoff, (0,))
        if not len(rows):
            raise NotEstimable(
                f"nobody is in the population at {cutoff:%Y-%m-%d %H:%M}: no one did anything in "
                f"the {self.spec.active_days} days before"
            )
        persons = person_ids(warehouse, rows, cutoff)
        return Scores.ranked(self.report.name, self.spec, cutoff, persons, self.probability(rows))


def train(
    spec: Propensity,
    warehouse: Warehouse,
    *,
    name: str = "propensity",
    since: object = None,
    until: object = None,
    seed: int = 0,
    clock: Clock = utc_now,
) -> TrainedModel:
    """See `Propensity.train`; `name` is the report's, `clock` says what lies in the future."""
    now = clock()
    first, last = bounds(warehouse, now)
    period = Period.of(since, until)
    begin = max(period.since or first, first)
    # Whole days read better, and no more than a day is given away.
    midnight = last.replace(hour=0, minute=0, second=0, microsecond=0)
    end = min(period.until, last + _ONE_MS) if period.until else midnight
    plan = schedule(spec, begin, end)
    inventory = take_inventory(warehouse, spec, warehouse.plan(), plan.holdout_cutoff)
    rows = add_labels(
        fetch(warehouse, spec, inventory, end, plan.all_days), warehouse, spec, end, plan.all_days
    )
    joined = joined_later(warehouse, spec, plan.holdout_cutoff)
    rng = np.random.default_rng(seed)
    with one_thread():
        return _fit(
            spec, inventory, plan, rows, name=name, joined=joined, rng=rng, seed=seed, now=now
        )


def _fit(
    spec: Propensity,
    inventory: Inventory,
    plan: Schedule,
    rows: Rows,
    *,
    name: str,
    joined: int,
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
    encoder = fit_encoder(rows, fitted, spec, inventory)
    x, y = encoder(rows, fitted), rows.label[fitted]
    kept = tuple(np.flatnonzero(_varies(x)).tolist())
    x = x[:, kept]
    categorical = [encoder.categorical[column] for column in kept]
    fit = calibrated(x, y, rows.person[fitted], categorical, rng)

    x_out, y_out = encoder(rows, holdout)[:, kept], rows.label[holdout]
    probability = fit.probability(x_out)
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
    matters = importance(fit, x_out, y_out, [names[column] for column in kept], rng)
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
    before, after = _sample(rows, training).base_rate, _sample(rows, holdout).base_rate
    apart = after.low > before.high or after.high < before.low
    if apart and abs(after.value / before.value - 1) > _DRIFT:
        notes.append(
            f"people changed: {before.value:.1%} did it in training, {after.value:.1%} in the "
            "holdout; later probabilities may be off by as much"
        )
    if joined > _JOINED * len(holdout):
        notes.append(
            f"{joined} of the holdout's persons were known as one only later: what their features "
            "add up was then several persons'"
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
        joined_later=joined,
        model=measures["model"],
        recency=measures["recency"],
        base=measures["base"],
        advantage=advantage,
        calibration=calibration(y_out, probability),
        importance=matters,
        gain_model=curves["model"],
        gain_recency=curves["recency"],
        calibrated_by=fit.method,
        iterations=fit.rounds,
        features=len(kept),
        seed=seed,
        versions=_versions(),
        notes=tuple(notes),
    )
    return TrainedModel(spec, inventory, encoder, kept, fit, report)


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
                    f"there are {count} persons {what} within {spec.horizon} at {where}; "
                    f"at least {least} are needed",
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


def _varies(x: NDArray[np.float32]) -> NDArray[np.bool_]:
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

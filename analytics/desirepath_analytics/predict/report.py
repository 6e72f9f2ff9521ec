"""What is said about a model: the report, a frozen value that travels as JSON with the model.

It answers four questions in order: what was asked of whom, how good the answer is beside doing
nothing clever (the base rate, and ranking by the days since the last event), whether the
probabilities mean what they say, and what the model looks at.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from desirepath_analytics.predict.measures import (
    CalibrationBin,
    Estimate,
    GainCurve,
    Measures,
)

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

__all__ = ["Importance", "Report", "Sample"]


class Sample(msgspec.Struct, frozen=True):
    """Persons at cut-offs.

    Parameters
    ----------
    n
        Rows: a person counts once at each cut-off where they are in the population.
    persons
        Different persons.
    outcomes
        Rows with the outcome within the horizon.
    base_rate
        outcomes / n, with its Wilson interval (which for training, where persons recur, is too
        narrow).
    """

    n: int
    persons: int
    outcomes: int
    base_rate: Estimate


class Importance(msgspec.Struct, frozen=True):
    """How much the holdout's AUC falls when one feature's values are shuffled among persons.

    Parameters
    ----------
    feature
        Its name.
    drop
        The mean fall in AUC over the shuffles.
    sd
        Its standard deviation over the shuffles.
    """

    feature: str
    drop: float
    sd: float


class Report(msgspec.Struct, frozen=True):
    """How a model was made and how good it is on the holdout.

    Parameters
    ----------
    name
        The model's name.
    spec
        The question, in the plan's form.
    trained_at
        When, UTC.
    begin, end
        The history it was made from.
    training_cutoffs, holdout_cutoff
        The moments it learnt from, and the later one it was judged at.
    training, holdout
        The persons of each; `returning` of the holdout's persons were in training too, earlier.
    returning
        See above.
    joined_later
        Active persons whose ids were, at the holdout cut-off, not yet known to be one person's.
    model, recency, base
        The model's measures; those of ranking by days since the last event (probabilities by
        isotonic regression on the training rows); those of giving everybody the holdout's own
        base rate, the best constant there is.
    advantage
        The model's AUC less the recency rule's, paired.
    calibration
        Predicted and observed by tenths of the persons.
    importance
        The features that matter most, first to last.
    gain_model, gain_recency
        The curves `figure` draws.
    calibrated_by
        `isotonic` or `sigmoid`.
    iterations
        Boosting rounds.
    features
        How many features it uses.
    seed
        What everything random followed from.
    versions
        Of the libraries.
    notes
        What a reader should know before trusting the numbers.
    """

    name: str
    spec: dict[str, Any]
    trained_at: datetime
    begin: datetime
    end: datetime
    training_cutoffs: tuple[datetime, ...]
    holdout_cutoff: datetime
    training: Sample
    holdout: Sample
    returning: int
    joined_later: int
    model: Measures
    recency: Measures
    base: Measures
    advantage: Estimate
    calibration: tuple[CalibrationBin, ...]
    importance: tuple[Importance, ...]
    gain_model: GainCurve
    gain_recency: GainCurve
    calibrated_by: str
    iterations: int
    features: int
    seed: int
    versions: dict[str, str]
    notes: tuple[str, ...] = ()

    @property
    def frame(self) -> pd.DataFrame:
        """The measures: a row a forecast, value and interval a column."""
        import pandas as pd

        rows = {}
        for name in ("model", "recency", "base"):
            measures: Measures = getattr(self, name)
            rows[name] = {
                f"{field}{suffix}": getattr(getattr(measures, field), part)
                for field in Measures.__struct_fields__
                for part, suffix in (("value", ""), ("low", "_low"), ("high", "_high"))
            }
        return pd.DataFrame.from_dict(rows, orient="index")

    def to_json(self) -> str:
        """The whole report as JSON."""
        return msgspec.json.encode(self).decode()

    def figure(self) -> go.Figure:
        """The gain curve beside recency and chance, and what was predicted beside what came."""
        from desirepath_analytics.predict.figure import figure

        return figure(self)

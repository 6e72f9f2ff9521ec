"""The propensity question: how likely is each person to do an event within a horizon?

A `Propensity` is a frozen value; it has one form in Python, in the plan
(`will_buy: {kind: propensity, outcome: Order Completed, horizon: 14d}`), in JSON and on the
command line. Everything wrong with it is said when it is made, before any data is read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import msgspec

from desirepath.errors import QueryError

if TYPE_CHECKING:
    from desirepath_analytics.predict.model import TrainedModel
    from desirepath_collector.warehouse import Warehouse

__all__ = ["FAMILIES", "Family", "Population", "Propensity", "duration"]

Family = Literal["activity", "events", "properties", "first_touch", "traits"]
"""The groups of features, see `desirepath_analytics.predict.features`."""

FAMILIES: Final[tuple[Family, ...]] = get_args(Family)

_DURATION: Final = re.compile(r"(\d{1,6})\s*(m|h|d|w)")
_UNITS: Final = {
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
_MAX_DURATION: Final = timedelta(days=3660)


def duration(text: str, field: str) -> timedelta:
    """The length of time that `"14d"`, `"12h"`, `"2w"` or `"30m"` says.

    Raises
    ------
    QueryError
        If `text` is none of these, zero, or above ten years; the message names `field`.
    """
    found = _DURATION.fullmatch(text.strip()) if isinstance(text, str) else None
    if found is None:
        raise QueryError(
            f"{field}: {text!r} is not a length of time", hint='write it like "14d", "12h" or "2w"'
        )
    length = int(found[1]) * _UNITS[found[2]]
    if not timedelta(0) < length <= _MAX_DURATION:
        raise QueryError(f"{field}: {text!r} is not between one minute and ten years")
    return length


class Population(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Whom the question is asked about, judged at each cut-off by what came before it.

    Parameters
    ----------
    active_within
        Persons with any event in this length of time before the cut-off. Default: the lookback.
    did
        Persons who did every one of these events before the cut-off.
    did_not
        Persons who did none of these events before the cut-off.
    """

    active_within: str | None = None
    did: tuple[str, ...] = ()
    did_not: tuple[str, ...] = ()


class Propensity(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How likely each person is to do `outcome` within `horizon` after a cut-off.

    Parameters
    ----------
    outcome
        The event that is to be predicted.
    horizon
        How far ahead, like `"14d"`. The window is `[cut-off, cut-off + horizon)`.
    where
        Only outcomes whose properties fit, like `{"total": {">": 50}}`.
    population
        Whom to ask about; default everyone with an event in the lookback before the cut-off.
    lookback
        How far back counts and sums reach, like `"90d"`. First-touch, traits and tenure reach
        back to the beginning.
    features
        Which families of features to use; default all of `FAMILIES`.
    events
        Which events are counted one by one; default the most widespread ones.

    Examples
    --------
    >>> Propensity("Order Completed", "14d").to_spec()
    {'outcome': 'Order Completed', 'horizon': '14d', 'kind': 'propensity'}
    """

    outcome: str
    horizon: str = msgspec.field(default="14d")
    where: dict[str, Any] | None = None
    population: Population = Population()
    lookback: str = "90d"
    features: tuple[Family, ...] = FAMILIES
    events: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not self.outcome:
            raise QueryError("outcome: the name of an event is missing")
        duration(self.horizon, "horizon")
        if duration(self.lookback, "lookback") < timedelta(days=1):
            raise QueryError(f"lookback: {self.lookback!r} is shorter than a day")
        if self.population.active_within is not None:
            duration(self.population.active_within, "population.active_within")
        if not self.features:
            raise QueryError("features: name at least one family", hint=", ".join(FAMILIES))

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Propensity:
        """The question that a plan's model section or a JSON object says.

        Raises
        ------
        QueryError
            If a key is unknown, a value has the wrong type, or `kind` is another model's.
        """
        fields = dict(spec)
        kind = fields.pop("kind", "propensity")
        if kind != "propensity":
            raise QueryError(f"kind: {kind!r} is no model known here", hint="use kind: propensity")
        try:
            return msgspec.convert(fields, cls)
        except msgspec.ValidationError as error:
            raise QueryError(f"propensity: {error}") from error

    def to_spec(self) -> dict[str, Any]:
        """The plan form; `from_spec` takes it back."""
        fields: dict[str, Any] = msgspec.to_builtins(self)
        # The horizon is said even where it is the default: a plan is read by people.
        return {"outcome": self.outcome, "horizon": self.horizon, **fields, "kind": "propensity"}

    @property
    def horizon_length(self) -> timedelta:
        """The horizon."""
        return duration(self.horizon, "horizon")

    @property
    def horizon_days(self) -> int:
        """The horizon in whole days, rounded up: cut-offs lie whole days apart."""
        return math.ceil(self.horizon_length / timedelta(days=1))

    @property
    def lookback_days(self) -> int:
        """The lookback in whole days."""
        return duration(self.lookback, "lookback") // timedelta(days=1)

    @property
    def active_days(self) -> int:
        """Within how many days before a cut-off a person must have done something."""
        if self.population.active_within is None:
            return self.lookback_days
        length = duration(self.population.active_within, "population.active_within")
        return math.ceil(length / timedelta(days=1))

    def train(
        self,
        warehouse: Warehouse,
        *,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        seed: int = 0,
    ) -> TrainedModel:
        """Fit, calibrate and measure a model on what lies between `since` and `until`.

        Parameters
        ----------
        warehouse
            What `connect` gives.
        since, until
            The history to use; default from the first event to the start of the last day.
        seed
            Everything drawn at random (folds, resamples, permutations) follows from it.

        Raises
        ------
        NotEstimable
            If history, persons or outcomes are too few; the message says how many are needed.
        """
        from desirepath_analytics.predict.model import train

        return train(self, warehouse, since=since, until=until, seed=seed)

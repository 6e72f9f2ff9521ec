"""The propensity question: how likely is each person to do an event within a horizon?

A `Propensity` is a frozen value; it has one form in Python, in the plan
(`will_buy: {kind: propensity, outcome: Order Completed, horizon: 14d}`), in JSON and on the
command line. Everything wrong with it is said when it is made, before any data is read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import msgspec

from desirepath.errors import QueryError
from desirepath_analytics.conditions import Condition, Test, parse_where
from desirepath_analytics.spec import duration_ms, without_notes

if TYPE_CHECKING:
    from desirepath_analytics.predict.model import TrainedModel
    from desirepath_analytics.predict.report import Report
    from desirepath_collector.warehouse import Warehouse

__all__ = ["FAMILIES", "Family", "Population", "Propensity"]

Family = Literal["activity", "events", "properties", "first_touch", "traits"]
"""The groups of features, see `desirepath_analytics.predict.features`."""

FAMILIES: Final[tuple[Family, ...]] = get_args(Family)

_DAY: Final = timedelta(days=1)
_MOST_DAYS: Final = 3660


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
    {'kind': 'propensity', 'horizon': '14d', 'outcome': 'Order Completed'}
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
        _span(self.horizon, "horizon", timedelta(minutes=1))
        _span(self.lookback, "lookback", _DAY)
        if self.population.active_within is not None:
            _span(self.population.active_within, "population.active_within", _DAY)
        for test in _tests(parse_where(self.where)):
            if test.field.kind == "trait":
                # Traits in the warehouse are today's: they would tell what came after.
                raise QueryError(f"where: {test.field} is a person's, not the outcome's, property")
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
        fields = without_notes(spec)
        kind = fields.pop("kind", "propensity")
        if kind != "propensity":
            raise QueryError(f"kind: {kind!r} is no model known here", hint="use kind: propensity")
        try:
            return msgspec.convert(fields, cls)
        except msgspec.ValidationError as error:
            raise QueryError(f"propensity: {error}") from error

    def to_spec(self) -> dict[str, Any]:
        """The plan form; `from_spec` takes it back."""
        # By way of JSON: tuples become lists, as YAML and JSON have them.
        fields: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        # The horizon is said even where it is the default: a plan is read by people.
        return {"kind": "propensity", "horizon": self.horizon, **fields}

    @property
    def horizon_length(self) -> timedelta:
        """The horizon."""
        return _span(self.horizon, "horizon", timedelta(minutes=1))

    @property
    def horizon_days(self) -> int:
        """The horizon in whole days, rounded up: cut-offs lie whole days apart."""
        return math.ceil(self.horizon_length / _DAY)

    @property
    def lookback_days(self) -> int:
        """The lookback in whole days."""
        return _span(self.lookback, "lookback", _DAY) // _DAY

    @property
    def active_days(self) -> int:
        """Within how many days before a cut-off a person must have done something."""
        if self.population.active_within is None:
            return self.lookback_days
        return math.ceil(
            _span(self.population.active_within, "population.active_within", _DAY) / _DAY
        )

    def train(
        self,
        warehouse: Warehouse,
        *,
        since: object = None,
        until: object = None,
        seed: int = 0,
    ) -> TrainedModel:
        """Fit, calibrate and measure a model on what lies between `since` and `until`.

        Parameters
        ----------
        warehouse
            What `connect` gives.
        since, until
            Between which moments cut-offs and their horizons lie; default from the first event to
            the start of the last day. Features may look back before `since`.
        seed
            Everything drawn at random (folds, resamples, permutations) follows from it.

        Raises
        ------
        NotEstimable
            If history, persons or outcomes are too few; the message says how many are needed.
        """
        from desirepath_analytics.predict.model import train

        return train(self, warehouse, since=since, until=until, seed=seed)

    def run(self, warehouse: Warehouse, since: object = None, until: object = None) -> Report:
        """Train and give the report, without keeping the model; like every question's `run`."""
        return self.train(warehouse, since=since, until=until).report


def _span(text: str, at: str, least: timedelta) -> timedelta:
    least_ms = round(least / timedelta(milliseconds=1))
    return timedelta(milliseconds=duration_ms(text, at, least_ms=least_ms, most_days=_MOST_DAYS))


def _tests(condition: Condition | None) -> Iterator[Test]:
    if isinstance(condition, Test):
        yield condition
    elif condition is not None:
        for part in condition.parts:
            yield from _tests(part)

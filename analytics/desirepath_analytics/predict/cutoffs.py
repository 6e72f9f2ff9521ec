"""Which moments a model learns from and which one it is judged at.

Time runs `history -> training cut-offs -> holdout cut-off -> end`. The holdout cut-off is the last
one whose horizon has fully elapsed; the last training cut-off lies one whole horizon before it, so
no training label reaches past the holdout's cut-off. That is also exactly how the model is used:
at any moment, the freshest label one can have is a horizon old. Cut-offs lie whole days before the
end, so one daily aggregation serves all of them.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Final

import msgspec

from desirepath.errors import NotEstimable
from desirepath_analytics.predict.spec import Propensity

__all__ = ["Schedule", "days_needed", "schedule"]

_MAX_TRAINING_CUTOFFS: Final = 6
_DAY: Final = timedelta(days=1)


class Schedule(msgspec.Struct, frozen=True):
    """The cut-offs of one training, as days before `end`.

    Parameters
    ----------
    begin, end
        The history that is used, `[begin, end)`, UTC.
    holdout
        Days from the holdout cut-off to `end`.
    training
        Days from each training cut-off to `end`, the latest first.
    horizon_days
        The horizon, rounded up to days.
    """

    begin: datetime
    end: datetime
    holdout: int
    training: tuple[int, ...]
    horizon_days: int

    def at(self, days: int) -> datetime:
        """The cut-off so many days before the end."""
        return self.end - days * _DAY

    @property
    def holdout_cutoff(self) -> datetime:
        """The moment the model is judged at."""
        return self.at(self.holdout)

    @property
    def training_cutoffs(self) -> tuple[datetime, ...]:
        """The moments the model learns from, the earliest first."""
        return tuple(self.at(days) for days in reversed(self.training))

    @property
    def all_days(self) -> tuple[int, ...]:
        """The holdout's and the training cut-offs' days before the end."""
        return (self.holdout, *self.training)


def days_needed(horizon_days: int) -> int:
    """How many days of history a horizon needs: three horizons.

    One to look back on, one for the first training label, one for the holdout's label.
    """
    return 3 * horizon_days


def schedule(spec: Propensity, begin: datetime, end: datetime) -> Schedule:
    """Lay out the cut-offs between `begin` and `end`.

    Up to six training cut-offs, a horizon apart where history allows; closer where it does not,
    and then their label windows overlap each other, though never the holdout's.

    Raises
    ------
    NotEstimable
        If there is less history than `days_needed`; the message says both.
    """
    horizon = spec.horizon_days
    have = (end - begin) / _DAY
    needed = days_needed(horizon)
    if have < needed:
        raise NotEstimable(
            f"a horizon of {spec.horizon} needs {needed} days of history (three horizons: one to "
            f"look back on, one for training labels, one for the holdout); there are "
            f"{math.floor(have * 10) / 10:g} days, {begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}",
            hint=f"wait {math.ceil(needed - have)} more days, or ask for a horizon of "
            f"{max(math.floor(have / 3), 1)}d or less",
        )
    latest = 2 * horizon
    room = math.floor(have) - horizon - latest
    step = min(max(room // (_MAX_TRAINING_CUTOFFS - 1), 1), horizon)
    count = min(1 + room // step, _MAX_TRAINING_CUTOFFS)
    return Schedule(
        begin=begin,
        end=end,
        holdout=horizon,
        training=tuple(latest + step * number for number in range(count)),
        horizon_days=horizon,
    )

"""Scores: every person with the probability of the outcome, the likeliest first."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from desirepath_analytics.predict.spec import Propensity

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Score", "Scores"]


class Score(msgspec.Struct, frozen=True):
    """One person.

    Parameters
    ----------
    person_id
        As in the warehouse.
    probability
        Of the outcome within the horizon.
    decile
        1 is the likeliest tenth of the persons, 10 the least likely.
    """

    person_id: str
    probability: float
    decile: int


class Scores(msgspec.Struct, frozen=True):
    """All persons of the population at one moment, the likeliest first.

    Parameters
    ----------
    name
        The model's name.
    spec
        The question, in the plan's form.
    at
        The moment, UTC; the horizon begins there.
    rows
        The persons.
    """

    name: str
    spec: dict[str, Any]
    at: datetime
    rows: tuple[Score, ...]

    @classmethod
    def ranked(
        cls,
        name: str,
        spec: Propensity,
        at: datetime,
        persons: Sequence[str],
        probability: NDArray[np.float64],
    ) -> Scores:
        """Rank persons by probability; equal ones by id, so the order is always the same."""
        order = np.lexsort((np.array(persons, dtype=str), -probability))
        n = len(order)
        rows = tuple(
            Score(persons[place], float(probability[place]), rank * 10 // n + 1)
            for rank, place in enumerate(order.tolist())
        )
        return cls(name, spec.to_spec(), at, rows)

    @property
    def frame(self) -> pd.DataFrame:
        """`person_id`, `probability`, `decile`."""
        import pandas as pd

        return pd.DataFrame(
            [msgspec.structs.astuple(row) for row in self.rows], columns=Score.__struct_fields__
        )

    def top(self, n: int | None) -> Scores:
        """The first `n` only; deciles stay those of everybody."""
        return msgspec.structs.replace(self, rows=self.rows[:n])

    def to_json(self) -> str:
        """As JSON."""
        return msgspec.json.encode(self).decode()

    def to_csv(self) -> str:
        """As CSV with a header line."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(Score.__struct_fields__)
        writer.writerows(msgspec.structs.astuple(row) for row in self.rows)
        return text.getvalue()

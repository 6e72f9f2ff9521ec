"""From the warehouse's answers to what the model eats: rows of persons at cut-offs, and labels.

A category becomes the number of its level; the levels are those seen in training by at least
`_MIN_LEVEL_ROWS` rows, so a model holds no value that would single out a person. Anything else is
one further level, and no value at all is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from desirepath_analytics.predict.features import (
    Inventory,
    activity_sql,
    features,
    first_touch_sql,
    labels_sql,
    traits_sql,
)
from desirepath_analytics.predict.spec import Propensity
from desirepath_analytics.predict.sql import sql_text
from desirepath_collector.warehouse import Sql

if TYPE_CHECKING:
    from desirepath_collector.warehouse import Warehouse

__all__ = ["Encoder", "Rows", "add_labels", "fetch", "fit_encoder", "person_ids"]

_MAX_LEVELS: Final = 40
_MIN_LEVEL_ROWS: Final = 20


class Rows(msgspec.Struct, frozen=True):
    """Persons at cut-offs, ordered by cut-off (`k`, days before the end), then person.

    Parameters
    ----------
    persons
        The persons' hashes, sorted.
    person
        Each row's index in `persons`.
    k
        Each row's cut-off as days before the end.
    recency_days
        Days since each person's last event, at the cut-off.
    values
        A column a feature: float32, or an arrow array of texts.
    label
        Whether the outcome followed; None where that was not asked.
    """

    persons: NDArray[np.uint64]
    person: NDArray[np.int64]
    k: NDArray[np.int64]
    recency_days: NDArray[np.float64]
    values: tuple[Any, ...]
    label: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.k)


class Encoder(msgspec.Struct, frozen=True):
    """The levels of each category, by the feature's position."""

    levels: dict[int, tuple[str, ...]]
    width: int

    @property
    def categorical(self) -> list[bool]:
        """For each column, whether it is a category."""
        return [number in self.levels for number in range(self.width)]

    def __call__(self, rows: Rows, chosen: NDArray[Any] | None = None) -> NDArray[np.float32]:
        """The matrix of all rows, or of the chosen ones."""
        columns = []
        for number, values in enumerate(rows.values):
            known = self.levels.get(number)
            column = values if known is None else _codes(values, known)
            columns.append(column if chosen is None else column[chosen])
        return np.column_stack(columns).astype(np.float32, copy=False)


def fetch(
    warehouse: Warehouse,
    spec: Propensity,
    inventory: Inventory,
    end: datetime,
    days: Sequence[int],
) -> Rows:
    """Everybody in the population at each cut-off, with their features."""
    table = warehouse.query(activity_sql(spec, inventory, end, days))
    hashes, cutoffs = _numpy(table["person"]), _numpy(table["k"])
    rank = np.lexsort((hashes, cutoffs))
    persons, person = np.unique(hashes[rank], return_inverse=True)
    k = cutoffs[rank].astype(np.int64)
    tables = {"activity": table}
    order: dict[str, NDArray[np.int64]] = {}
    for source, sql in (
        ("first_touch", first_touch_sql(inventory, end, days)),
        ("traits", traits_sql(inventory, end, days)),
    ):
        if sql is not None and source in spec.features:
            tables[source] = warehouse.query(sql)
            order[source] = _places(tables[source], persons, person, k)
    values = []
    for feature in features(spec, inventory):
        column: Any = tables[feature.source][feature.column]
        if feature.source == "activity":
            values.append(_numpy(column.cast(pa.float64())).astype(np.float32)[rank])
            continue
        places = order[feature.source]
        column = column.take(pa.array(places, mask=places < 0))
        if feature.kind == "category":
            values.append(column.combine_chunks())
        else:
            values.append(_numpy(column.cast(pa.float64())).astype(np.float32))
    recency = _numpy(table["recency_days"]).astype(np.float64)[rank]
    return Rows(persons, person, k, recency, tuple(values))


def add_labels(
    rows: Rows, warehouse: Warehouse, spec: Propensity, end: datetime, days: Sequence[int]
) -> Rows:
    """The same rows, with whether the outcome followed each cut-off."""
    table = warehouse.query(labels_sql(spec, end, days))
    places = _places(table, rows.persons, rows.person, rows.k)
    return msgspec.structs.replace(rows, label=places >= 0)


def person_ids(warehouse: Warehouse, rows: Rows, end: datetime) -> list[str]:
    """Each row's person, by the id that people know."""
    params = {"end_ms": round(end.timestamp() * 1000)}
    table = warehouse.query(Sql(sql_text("ids"), params))
    hashes = _numpy(table["person"])
    order = np.argsort(hashes)
    places = order[np.searchsorted(hashes, rows.persons[rows.person], sorter=order)]
    ids: list[str] = table["person_id"].take(pa.array(places)).to_pylist()
    return ids


def fit_encoder(
    rows: Rows, chosen: NDArray[np.int64], spec: Propensity, inventory: Inventory
) -> Encoder:
    """The levels to know, from the chosen rows alone."""
    levels = {}
    columns = features(spec, inventory)
    for number, feature in enumerate(columns):
        if feature.kind == "category":
            counted = pc.value_counts(
                rows.values[number].take(pa.array(chosen)).drop_null()
            ).to_pylist()
            known = [
                (-int(pair["counts"]), str(pair["values"]))
                for pair in counted
                if pair["counts"] >= _MIN_LEVEL_ROWS and pair["values"]
            ]
            levels[number] = tuple(value for _, value in sorted(known)[:_MAX_LEVELS])
    return Encoder(levels, len(columns))


def _codes(values: Any, levels: tuple[str, ...]) -> NDArray[np.float32]:
    found = pc.index_in(values, value_set=pa.array(levels, pa.string()))
    codes = _numpy(found.fill_null(len(levels))).astype(np.float32)
    empty = _numpy(pc.equal(values, "").fill_null(True))
    codes[empty.astype(bool)] = np.nan
    return codes


def _places(
    table: pa.Table, persons: NDArray[np.uint64], person: NDArray[np.int64], k: NDArray[np.int64]
) -> NDArray[np.int64]:
    """For each (person, cut-off) its row in `table`, or -1."""
    if not (len(persons) and table.num_rows):
        return np.full(len(person), -1, dtype=np.int64)
    hashes = _numpy(table["person"])
    other = np.minimum(np.searchsorted(persons, hashes), len(persons) - 1)
    stride = np.int64(len(persons) + 1)
    keys = _numpy(table["k"]).astype(np.int64) * stride + other
    theirs = np.where(persons[other] == hashes, keys, -1)
    ours = k * stride + person
    order = np.argsort(theirs, kind="stable")
    at = np.searchsorted(theirs, ours, sorter=order)
    places = order[np.minimum(at, len(order) - 1)]
    return np.where(theirs[places] == ours, places, -1).astype(np.int64)


def _numpy(column: Any) -> NDArray[Any]:
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    return np.asarray(column.to_numpy(zero_copy_only=False))

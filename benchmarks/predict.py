"""How long one propensity model takes: features in ClickHouse, fit, report; then scoring.

    python benchmarks/predict.py [--persons 100000] [--events 2000000] [--folder FOLDER]

Makes a folder of synthetic visits (up to eight events a visit, a heavy-tailed number of visits a
person, 140 days), trains `Order Completed` within 14 days at six training cut-offs and the
holdout, and scores everybody. Prints wall and CPU seconds by stage, and the peak of memory.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import numpy as np

from desirepath_analytics.predict import Propensity
from desirepath_analytics.predict import model as stages
from desirepath_collector.warehouse import EventRow, Sql, Warehouse

_EVENTS = (
    *("Page Viewed", "Product Viewed", "Product Viewed", "Search", "Product Viewed"),
    *("Product Added", "Checkout Started", "Order Completed"),
)
_START_MS = 1_767_225_600_000
_STAGES = ("take_inventory", "fetch", "add_labels", "calibrated", "compare", "importance")
_BATCH = 100_000
_NOTHING = msgspec.Raw(b"{}")
_VISIT = len(_EVENTS)


def _batch(number: int, persons: int, rng: np.random.Generator) -> list[EventRow]:
    """Visits of up to eight events; the square of a uniform number: few come often."""
    rows = []
    for visit in range(_BATCH // _VISIT):
        person = int(persons * rng.random() ** 2)
        at = _START_MS + int(rng.random() * 140 * 86_400_000)
        source = ("search", "news", "direct")[person % 3]
        context = b'{"campaign.source": "%s", "device.type": "%s"}' % (
            source.encode(),
            (b"phone", b"desktop")[person % 2],
        )
        for step, event in enumerate(_EVENTS[: 1 + int(rng.random() ** 2 * _VISIT)]):
            ms = at + step * 60_000
            name = f"{number}-{visit}-{step}"
            total = msgspec.Raw(b'{"total": %d}' % (ms % 100)) if step > 1 else _NOTHING
            rows.append(
                EventRow(
                    name,
                    "track",
                    event,
                    f"u{person}",
                    "",
                    "",
                    "",
                    "",
                    ms,
                    ms,
                    ms,
                    ms,
                    "web",
                    "",
                    "",
                    total,
                    msgspec.Raw(context),
                )
            )
    return rows


def main() -> None:
    """Fill, train, score, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--persons", type=int, default=100_000)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--folder", help="keep the data here and use it again")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, Warehouse.open(args.folder or scratch) as wh:
        if not wh.query(Sql("SELECT count() AS n FROM events"))["n"][0].as_py():
            with _timed("fill (not part of the model)"):
                rng = np.random.default_rng(1)
                filled = number = 0
                while filled < args.events:
                    rows = _batch(number, args.persons, rng)
                    wh.insert_events(rows, f"batch-{number}")
                    filled, number = filled + len(rows), number + 1
        for name in (
            "take_inventory",
            "fetch",
            "add_labels",
            "calibrated",
            "compare",
            "importance",
        ):
            _watch(name)
        with _timed("train, in all"):
            model = Propensity("Order Completed", "14d").train(wh)
        with _timed("score, in all"):
            scores = model.score(wh)
    report = model.report
    print(f"{report.training.n:,} training rows at {len(report.training_cutoffs)} cut-offs, "
          f"{report.holdout.n:,} holdout persons, {len(scores.rows):,} scored, "
          f"{report.features} features, {report.iterations} rounds")  # fmt: skip
    print(f"AUC {report.model.auc}, recency {report.recency.auc}")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")


def _watch(name: str) -> None:
    real = getattr(stages, name)

    def watched(*args: object, **options: object) -> object:
        with _timed(f"  {name}"):
            return real(*args, **options)

    setattr(stages, name, watched)


@contextmanager
def _timed(what: str) -> Iterator[None]:
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{what:32} {wall:7.2f} s wall {cpu:7.2f} s CPU")


if __name__ == "__main__":
    main()

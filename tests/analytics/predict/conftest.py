"""A seeded world whose truth is known: every person's latent rates are drawn, then their events."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from desirepath_analytics.predict.spec import Propensity

if TYPE_CHECKING:
    from desirepath_analytics.predict import TrainedModel
    from desirepath_collector.warehouse import EventRow, Warehouse

SPEC = Propensity("Order Completed", horizon="14d")
START = datetime(2026, 1, 1, tzinfo=UTC)
_numbers = itertools.count(1)


@dataclass(frozen=True)
class World:
    """The warehouse, and what really drives the persons in it."""

    warehouse: Warehouse
    end: datetime
    visits_a_day: NDArray[np.float64]
    buys_a_visit: NDArray[np.float64]
    gone_ms: NDArray[np.float64]

    def truth(self, persons: list[str], at: datetime, days: float) -> NDArray[np.float64]:
        """Each person's real probability to buy within so many days, if still there at `at`."""
        index = np.array([int(person[1:]) for person in persons])
        rate = self.visits_a_day[index] * self.buys_a_visit[index]
        here = self.gone_ms[index] > at.timestamp() * 1000
        return np.where(here, 1 - np.exp(-rate * days), 0.0)


def event(
    person: str,
    at: datetime,
    name: str = "Page Viewed",
    properties: dict[str, Any] | None = None,
    context: dict[str, Any] | None = None,
    kind: str = "track",
    anonymous_id: str = "",
) -> EventRow:
    """One row as admission would make it."""
    from desirepath_collector.warehouse import EventRow

    ms = round(at.timestamp() * 1000)
    return EventRow(
        message_id=f"m{next(_numbers)}",
        kind=kind,
        event="" if kind == "identify" else name,
        user_id=person,
        anonymous_id=anonymous_id,
        previous_id="",
        group_id="",
        session_id="",
        timestamp=ms,
        original_timestamp=ms,
        sent_at=ms,
        received_at=ms,
        source="web",
        plan="",
        plan_version="",
        properties=msgspec.Raw(msgspec.json.encode(properties or {})),
        context=msgspec.Raw(msgspec.json.encode(context or {})),
    )


def life(
    person: str, rng: np.random.Generator, *, first: float, gone: float, visits: float, buys: float
) -> Iterator[EventRow]:
    """A person's visits from day `first` to day `gone`, some of which end in a purchase."""
    source = ("search", "news", "friends")[int(buys * 997) % 3]
    context = {"campaign.source": source}
    yield event(
        person,
        START + timedelta(days=first),
        kind="identify",
        properties={"country": "SE" if visits > 0.2 else "NL", "age": int(20 + visits * 100)},
    )
    day = first
    while day < gone:
        at = START + timedelta(days=day)
        yield event(person, at, context=context)
        yield event(person, at + timedelta(seconds=30), "Product Viewed", {"price": 10.5}, context)
        if rng.random() < buys:
            total = round(float(rng.gamma(2.0, 20.0)), 2)
            yield event(person, at + timedelta(minutes=2), "Order Completed", {"total": total})
        day += float(rng.exponential(1 / visits)) + 0.01


def fill(warehouse: Warehouse, persons: int, days: int, seed: int) -> World:
    """Let `persons` live for `days`."""
    rng = np.random.default_rng(seed)
    visits = rng.gamma(1.2, 0.15, persons) + 0.01
    buys = rng.beta(1.0, 5.0, persons)
    first = rng.uniform(0, days * 0.5, persons)
    gone = first + rng.exponential(120, persons)
    rows = [
        row
        for i in range(persons)
        for row in life(
            f"u{i}",
            rng,
            first=first[i],
            gone=min(gone[i], days),
            visits=visits[i],
            buys=buys[i],
        )
    ]
    warehouse.insert_events(rows, f"world-{seed}")
    end = START + timedelta(days=days)
    return World(warehouse, end, visits, buys, START.timestamp() * 1000 + gone * 86_400_000)


@pytest.fixture(scope="session")
def world(engine: str) -> Iterator[World]:
    """Three thousand persons over 120 days; shared and only read."""
    from desirepath_collector.warehouse import Sql, Warehouse

    with Warehouse.open(engine, database="predict_world") as opened:
        yield fill(opened, persons=3000, days=120, seed=11)
        opened.command(Sql("DROP DATABASE IF EXISTS predict_world"))


@pytest.fixture(scope="session")
def model(world: World) -> TrainedModel:
    """Trained once on the world; frozen."""
    from desirepath_analytics.predict import train

    return train(SPEC, world.warehouse, name="will_buy", until=world.end, seed=5)

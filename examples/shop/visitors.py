"""The people of the sample shop: a seeded model of how they behave.

Every visitor has a source, a country, a device, and two hidden tempers drawn once: how often they
come (a gamma-distributed rate) and how ready they are to buy. They come back at that rate until
they lose interest (a constant hazard), so there are repeat buyers, one-time buyers and churn: the
Pareto/NBD picture of Schmittlein, Morrison and Colombo (1987). In a visit they walk down the
funnel and may leave at each step; phones leave more often, newsletter readers less, and a good
last order brings people back. The same seed and the same end give the same history to the letter.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

__all__ = ["CATALOGUE", "Action", "Product", "Visitor", "history", "visitors"]


@dataclass(frozen=True)
class Product:
    """One thing on sale; the price is in euros."""

    product_id: str
    name: str
    category: str
    price: Decimal


@dataclass(frozen=True)
class Visitor:
    """One person; rates are per day, readiness is a factor around 1."""

    number: int
    anonymous_id: str
    user_id: str
    email: str
    source: str
    country: str
    device: str
    app_version: str
    first_seen: datetime
    visits_a_day: float
    leaving_a_day: float
    readiness: float


@dataclass(frozen=True)
class Action:
    """One thing a visitor does in the shop at a moment; `what` names a method of `Shop`."""

    at: datetime
    visitor: Visitor
    session: str
    what: str
    products: tuple[Product, ...] = ()
    order_id: str = ""
    score: int = 0


def _product(number: int, name: str, category: str, price: str) -> Product:
    return Product(f"P{number:03d}", name, category, Decimal(price))


CATALOGUE: Final = (
    _product(1, "Walking shoes", "outdoor", "89.00"),
    _product(2, "Trail map", "outdoor", "12.50"),
    _product(3, "Rain jacket", "outdoor", "129.00"),
    _product(4, "Compass", "outdoor", "24.90"),
    _product(5, "Coffee beans", "kitchen", "14.80"),
    _product(6, "Moka pot", "kitchen", "39.95"),
    _product(7, "Oak board", "kitchen", "45.00"),
    _product(8, "Field notebook", "paper", "9.90"),
    _product(9, "Fountain pen", "paper", "34.00"),
    _product(10, "Wall calendar", "paper", "19.50"),
)

_SOURCES: Final = {"search": 38, "direct": 24, "newsletter": 14, "social": 16, "partner": 8}
_COUNTRIES: Final = {"DE": 30, "NL": 22, "SE": 18, "FR": 17, "ES": 13}
_DEVICES: Final = {"mobile": 55, "desktop": 38, "tablet": 7}
_VERSIONS: Final = {"2.1.0": 70, "2.0.3": 26, "1.9.0": 4}

_SOURCE_PULL: Final = {
    "search": 1.0,
    "direct": 1.15,
    "newsletter": 1.45,
    "social": 0.7,
    "partner": 0.9,
}
_DEVICE_PULL: Final = {"mobile": 0.75, "desktop": 1.25, "tablet": 1.0}


def visitors(count: int, *, seed: int, start: datetime, end: datetime) -> list[Visitor]:
    """Draw `count` people who first come between `start` and `end`."""
    rng = random.Random(seed)
    span = (end - start).total_seconds()
    return [_visitor(number, rng, start, span) for number in range(count)]


def history(people: list[Visitor], *, seed: int, end: datetime) -> list[Action]:
    """All they do until `end`, in order of time."""
    actions: list[Action] = []
    for person in people:
        # A generator of its own for each: one person more changes nobody else's life.
        rng = random.Random(f"{seed}/{person.number}")
        actions.extend(action for action in _life(person, rng, end) if action.at < end)
    actions.sort(key=lambda action: (action.at, action.visitor.number))
    return actions


def _visitor(number: int, rng: random.Random, start: datetime, span_s: float) -> Visitor:
    return Visitor(
        number=number,
        anonymous_id=str(UUID(int=rng.getrandbits(128), version=4)),
        user_id=f"user-{number:05d}",
        email=f"visitor{number:05d}@example.com",
        source=_draw(rng, _SOURCES),
        country=_draw(rng, _COUNTRIES),
        device=_draw(rng, _DEVICES),
        app_version=_draw(rng, _VERSIONS),
        first_seen=start + timedelta(seconds=rng.random() * span_s),
        visits_a_day=rng.gammavariate(0.8, 0.1),
        leaving_a_day=rng.gammavariate(1.2, 0.012),
        readiness=rng.lognormvariate(0.0, 0.7),
    )


def _life(person: Visitor, rng: random.Random, end: datetime) -> Iterator[Action]:
    """Visit after visit, until the visitor loses interest."""
    at = person.first_seen
    gone = at + timedelta(days=rng.expovariate(max(person.leaving_a_day, 1e-4)))
    past = _Past()
    while at < end and (past.visits == 0 or at < gone):
        yield from _visit(person, rng, at, past)
        past.visits += 1
        # A satisfied buyer comes back sooner.
        rate = max(person.visits_a_day, 1e-3) * (1.6 if past.orders else 1.0)
        at += timedelta(days=rng.expovariate(rate), minutes=40)


@dataclass
class _Past:
    """What a visitor has done before."""

    visits: int = 0
    orders: int = 0
    signed_up: bool = False


def _visit(person: Visitor, rng: random.Random, at: datetime, past: _Past) -> Iterator[Action]:
    """One walk down the funnel."""
    session = f"{person.number:05d}-{past.visits:04d}"
    pull = person.readiness * _SOURCE_PULL[person.source] * _DEVICE_PULL[person.device]
    pull *= 1.3 if past.orders else 1.0

    def act(what: str, **more: object) -> Action:
        return Action(at, person, session, what, **more)  # type: ignore[arg-type]

    def later(least_s: float, mean_s: float) -> datetime:
        return at + timedelta(seconds=round(least_s + rng.expovariate(1 / mean_s), 3))

    yield act("view_page")
    if rng.random() > 0.82:
        return
    seen: list[Product] = []
    for _ in range(1 + min(int(rng.expovariate(0.55)), 7)):
        at = later(4, 25)
        seen.append(rng.choice(CATALOGUE))
        yield act("view_product", products=(seen[-1],))
    cart: list[Product] = []
    for product in seen:
        if rng.random() < _chance(0.17, pull):
            at = later(3, 20)
            cart.append(product)
            yield act("add_to_cart", products=(product,))
    if not cart or rng.random() > _chance(0.55, pull):
        return
    at = later(8, 60)
    if not past.signed_up:
        past.signed_up = True
        yield act("sign_up")
        at = later(2, 5)
    yield act("start_checkout", products=tuple(cart))
    if rng.random() > _chance(0.62, pull):
        return
    at = later(15, 90)
    past.orders += 1
    yield act("pay", products=tuple(cart), order_id=f"A{person.number:05d}{past.orders:03d}")
    if rng.random() < 0.25:
        at = later(60, 600)
        yield act("answer_survey", score=_score(rng, person))


def _chance(base: float, pull: float) -> float:
    """A probability moved by `pull` on the scale of odds."""
    odds = base / (1 - base) * pull
    return odds / (1 + odds)


def _score(rng: random.Random, person: Visitor) -> int:
    return max(0, min(10, round(rng.gauss(7.2 + 0.8 * (person.device == "desktop"), 1.9))))


def _draw(rng: random.Random, weights: dict[str, int]) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]

"""Random people for the comparisons with the references, drawn once.

Short alphabets and coarse times, so that equal times, repeated steps and events that match several
steps are the rule. Messages are duplicated, some arrive late, one person has a huge history.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from hypothesis import HealthCheck, Phase, settings
from tests.analytics.kit import HOUR, MINUTE, START_MS, event, identify, insert
from tests.reference.events import Event

from desirepath_collector.warehouse import Sql, Warehouse

EXAMPLES = int(os.environ.get("DESIREPATH_EXAMPLES", "25"))
"""How many questions each comparison draws."""

# Each example is a query or two: shrinking would take minutes, and the question says it all.
thorough = settings(
    max_examples=EXAMPLES,
    deadline=None,
    phases=(Phase.reuse, Phase.generate),
    suppress_health_check=list(HealthCheck),
)

NAMES = ("a", "b", "c", "d")
TRAITS = {f"p{i}": {"tier": ("gold", "tin")[i % 2]} for i in range(0, 60, 3)}


def history(rng: random.Random, person: str, length: int, span: int) -> list[Event]:
    """What one person did; minutes from 0 to `span`, many of them equal."""
    return [
        Event(
            person=person,
            name=rng.choice(NAMES),
            at=START_MS + rng.randrange(span) * MINUTE,
            properties={
                k: v
                for k, v in (("v", rng.choice((1, 2, None))), ("w", rng.choice(("x", "y", None))))
                if v is not None
            },
            session=rng.choice(("", "s1", "s2")),
            group=rng.choice(("", "g1", "g2", "g3")),
            message_id=f"{person}-{i}",
        )
        for i in range(length)
    ]


def histories() -> list[Event]:
    """Short lives, and one long one."""
    rng = random.Random(20260101)
    events = []
    for i in range(60):
        events += history(rng, f"p{i}", rng.randrange(0, 14), rng.choice((6, 20, 60)))
    return events + history(rng, "huge", 150, 100)


class Crowd:
    """A warehouse and what is in it."""

    def __init__(self, warehouse: Warehouse, events: list[Event]) -> None:
        self.warehouse = warehouse
        self.events = events

    def __repr__(self) -> str:
        return f"<{len(self.events)} events>"


@contextmanager
def crowd(engine: str, database: str, events: list[Event]) -> Iterator[Crowd]:
    """The events in a warehouse of their own, late and duplicated ones included."""
    rows = [
        event(
            e.person,
            e.name,
            e.at - START_MS,
            e.properties,
            message_id=e.message_id,
            session=e.session,
            group=e.group,
        )
        for e in events
    ]
    late = rows[::7]
    with Warehouse.open(engine, database=database) as warehouse:
        insert(warehouse, [identify(person, traits) for person, traits in TRAITS.items()])
        insert(warehouse, [row for i, row in enumerate(rows) if i % 7])
        insert(warehouse, [*late, *rows[::5]])
        yield Crowd(warehouse, events)
        warehouse.command(Sql(f"DROP DATABASE {database}"))


def long_histories() -> list[Event]:
    """Lives of weeks: what happens at random hours of two months."""
    rng = random.Random(20260202)
    events = []
    for i in range(50):
        begin, length = rng.randrange(40 * 24), rng.randrange(0, 30)
        span = rng.choice((24, 24 * 7, 24 * 20))
        for event_ in history(rng, f"p{i}", length, span):
            hour = (event_.at - START_MS) // MINUTE + begin
            events.append(replace(event_, at=START_MS + hour * HOUR + rng.choice((0, 30)) * MINUTE))
    return events

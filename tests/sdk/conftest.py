"""A capturing collector, and trackers whose queues live and die with the test."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from capturing import Capture, collector

from desirepath import Tracker

MakeTracker = Callable[..., Tracker]


@pytest.fixture
def server() -> Iterator[Capture]:
    """A running collector that remembers."""
    with collector() as capture:
        yield capture


@pytest.fixture
def make_tracker(server: Capture, tmp_path: Path) -> Iterator[MakeTracker]:
    """Make trackers that send to `server`; whatever is open at the end is closed."""
    made: list[Tracker] = []

    def make(*args: Any, **settings: Any) -> Tracker:
        settings.setdefault("queue_dir", tmp_path / "queue")
        settings.setdefault("flush_interval_s", 0.05)
        tracker = Tracker(*(args or (server.url,)), **settings)
        made.append(tracker)
        return tracker

    yield make
    for tracker in made:
        tracker.close(timeout=0.0)

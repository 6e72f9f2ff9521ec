"""The capturing collector, and apps as processes of their own that can be killed."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "sdk"))

from capturing import Capture, collector

from desirepath import Tracker

PREAMBLE = """
import json, os, signal, sys, threading, time
from desirepath import Tracker

def make(**settings):
    settings.setdefault("flush_interval_s", 0.05)
    return Tracker(sys.argv[1], queue_dir=sys.argv[2], **settings)
"""


@pytest.fixture
def server() -> Iterator[Capture]:
    """A running collector that remembers."""
    with collector() as capture:
        yield capture


@pytest.fixture
def make_tracker(server: Capture, tmp_path: Path) -> Iterator[Callable[..., Tracker]]:
    """Make trackers that send to `server`; whatever is open at the end is closed."""
    made: list[Tracker] = []

    def make(**settings: Any) -> Tracker:
        settings.setdefault("queue_dir", tmp_path / "queue")
        settings.setdefault("flush_interval_s", 0.05)
        tracker = Tracker(server.url, **settings)
        made.append(tracker)
        return tracker

    yield make
    for tracker in made:
        tracker.close(timeout=0.0)


@pytest.fixture
def app(server: Capture, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Run a script as an app: it gets `make(...)`, a tracker of `server` on a shared queue."""
    running: list[subprocess.Popen[str]] = []

    def start(script: str, *words: str) -> subprocess.Popen[str]:
        path = tmp_path / f"app{len(running)}.py"
        path.write_text(PREAMBLE + textwrap.dedent(script))
        environment = {k: v for k, v in os.environ.items() if not k.startswith("DESIREPATH_")}
        process = subprocess.Popen(
            [sys.executable, str(path), server.url, str(tmp_path / "queue"), *words],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()

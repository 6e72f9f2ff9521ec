"""A collector in this process, on a real spool, with a warehouse that only remembers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from tests.collector.kit import PLAN, MemoryStore

from desirepath_collector.app import Collector, running
from desirepath_collector.settings import Settings


@pytest.fixture
def store() -> MemoryStore:
    """Where the rows end up."""
    return MemoryStore()


@pytest.fixture
def plan_file(tmp_path: Path) -> Path:
    """A small plan on disk."""
    path = tmp_path / "little.yaml"
    path.write_text(PLAN)
    return path


Start = Callable[..., Awaitable[Collector]]


@pytest.fixture
async def start(tmp_path: Path, store: MemoryStore) -> AsyncIterator[Start]:
    """Start a collector with these settings; stopped at the end of the test."""
    async with AsyncExitStack() as stack:

        async def begin(**settings: Any) -> Collector:
            defaults = {
                "data": str(tmp_path / "data"), "port": 0, "clickhouse_port": 0,
                "load_interval_s": 0.02, "stop_timeout_s": 5.0,
            }  # fmt: skip
            made = msgspec.convert({**defaults, **settings}, Settings)
            return await stack.enter_async_context(running(made, store))

        yield begin


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client that never reuses a connection by accident of another test."""
    async with aiohttp.ClientSession() as session:
        yield session

"""A collector in this process, on a real spool, with a warehouse that only remembers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
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


class Server:
    """`desirepath serve` as a process of its own, with the embedded ClickHouse."""

    def __init__(self, words: tuple[str, ...], environment: dict[str, str]) -> None:
        base = {k: v for k, v in os.environ.items() if not k.startswith("DESIREPATH_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "desirepath", "serve", "--json", "--port", "0", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**base, **environment},
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(self.process.communicate()[1])
        self.facts = json.loads(line)
        self.pid = self.process.pid
        self.url: str = self.facts["intake"]
        self.clickhouse: str = self.facts["clickhouse"]

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Signal it; its exit code and what it wrote to standard error."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors


Serve = Callable[..., Server]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start `desirepath serve` with these words; killed at the end of the test."""
    servers: list[Server] = []

    def begin(*words: str, **environment: str) -> Server:
        defaults = ["--data", str(tmp_path / "data"), "--clickhouse-port", "0"]
        server = Server((*defaults, *words), environment)
        servers.append(server)
        return server

    yield begin
    for server in servers:
        server.stop(signal.SIGKILL)

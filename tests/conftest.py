"""Fixtures that more than one room's tests use."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from desirepath_collector.warehouse import Warehouse

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real data sets, which are not part of the repository; skips where they are absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the real data sets are not at {folder}")
    return folder


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where this session's warehouses live: one folder, since chDB allows one a process.

    `DESIREPATH_TEST_CLICKHOUSE=http://user:password@host:8123` runs the same tests on a server.
    """
    from desirepath_collector.warehouse import Warehouse

    url = os.environ.get("DESIREPATH_TEST_CLICKHOUSE")
    target = url or str(tmp_path_factory.mktemp("engine"))
    # Keeps the engine running between tests; starting it takes most of a second.
    with Warehouse.open(target, database=f"test_{os.getpid()}"):
        yield target


@pytest.fixture
def database() -> str:
    """A name that no other test has."""
    return f"test_{os.getpid()}_{next(_numbers)}"


@pytest.fixture
def warehouse(engine: str, database: str) -> Iterator[Warehouse]:
    """An empty warehouse of its own, open for writing."""
    from desirepath_collector.warehouse import Sql, Warehouse

    with Warehouse.open(engine, database=database) as opened:
        yield opened
        opened.command(Sql(f"DROP DATABASE IF EXISTS {database}"))

"""A door in a thread of its own, so that blocking clients can use it."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from desirepath_collector.clickhouse_http import Door, Limits, start
from desirepath_collector.warehouse import Sql, Warehouse, connect


@contextmanager
def serving(warehouse: Warehouse, **options: Any) -> Iterator[Door]:
    """A running door; `options` go to `start`."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def call(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(30)

    settings = {"host": "127.0.0.1", "port": 0, "users": {"reader": "se cret"}} | options
    door = call(start(warehouse, **settings))
    try:
        yield door
    finally:
        call(door.close())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def door(engine: str, warehouse: Warehouse) -> Iterator[Door]:
    """The door of `warehouse`, user `reader`, password `se cret`."""
    if engine.startswith("http"):
        pytest.skip("a server has a port of its own")
    with serving(warehouse) as opened:
        yield opened


@pytest.fixture
def limited(engine: str, warehouse: Warehouse) -> Callable[[Limits], Any]:
    """Makes doors with other limits."""
    if engine.startswith("http"):
        pytest.skip("a server has a port of its own")
    return lambda limits: serving(warehouse, limits=limits)


@pytest.fixture
def ask(engine: str, warehouse: Warehouse) -> Iterator[Callable[..., list[tuple[object, ...]]]]:
    """Asks `warehouse`; rows as tuples. With DESIREPATH_TEST_DOOR=1, through its door."""
    with ExitStack() as stack:
        reader = warehouse
        if os.environ.get("DESIREPATH_TEST_DOOR") and not engine.startswith("http"):
            port = stack.enter_context(serving(warehouse)).port
            url = f"http://reader:se%20cret@127.0.0.1:{port}/{warehouse.database}"
            reader = stack.enter_context(connect(url))

        def run(text: str, **params: object) -> list[tuple[object, ...]]:
            table = reader.query(Sql(text, params))
            return list(zip(*table.to_pydict().values(), strict=True))

        yield run

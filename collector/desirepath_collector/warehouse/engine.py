"""Handles to the engine, in process or over HTTP, behind one small pool.

clickhouse-connect speaks to both with the same client, so the same SQL runs in a folder and on a
server. A client serves one call at a time (in process it holds a lock while a query runs), so each
call borrows a client of its own and parallel calls run in parallel. Every failure leaves here as a
`WarehouseError` that says whether the same call may succeed later.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import (
    ClickHouseError,
    OperationalError,
    StreamFailureError,
)
from urllib3.exceptions import ConnectTimeoutError, MaxRetryError

from desirepath.errors import SettingsError, WarehouseError
from desirepath_collector.warehouse.sql import literal

__all__ = [
    "Handles",
    "dictionary_credentials",
    "embedded",
    "is_url",
    "over_http",
    "require_features",
    "settings_of",
    "warehouse_error",
]

OLDEST: Final = (25, 8)
"""The oldest ClickHouse that is let in. The tests run on 26.9."""

CONNECT_TIMEOUT_S: Final = 10
QUERY_TIMEOUT_S: Final = 600

# ClickHouse error codes after which the same statement may succeed: timeouts, too many parts or
# queries, memory, network, keeper, read-only replicas, tables that are being dropped.
_RETRYABLE_CODES: Final = frozenset(
    {3, 159, 164, 173, 198, 201, 202, 203, 209, 210, 225, 241, 242, 243, 244, 252, 279, 285}
    | {286, 290, 305, 307, 319, 341, 364, 425, 439, 473, 519, 574, 700, 733, 994, 999}
)


class Handles:
    """A pool of clients of one target and one default database."""

    def __init__(self, make: Callable[[], Client], *, max_idle: int = 4) -> None:
        self._make = make
        self._max_idle = max_idle
        self._idle: list[Client] = []
        self._guard = threading.Lock()
        self._closed = False

    @contextmanager
    def borrow(self) -> Iterator[Client]:
        """A client for one call; failures inside become `WarehouseError`."""
        with self._guard:
            if self._closed:
                raise WarehouseError("the warehouse is closed")
            client = self._idle.pop() if self._idle else None
        try:
            client = client or self._make()
            yield client
        except BaseException as error:
            if isinstance(error, ClickHouseError):
                self._put_back(client)
                raise warehouse_error(error) from error
            # Nothing is known about the state it was left in.
            _close(client)
            if isinstance(error, OSError):
                raise WarehouseError(
                    f"ClickHouse cannot be reached: {error}", retryable=True
                ) from (error)
            raise
        self._put_back(client)

    def close(self) -> None:
        """Close the idle clients; borrowed ones close as they come back."""
        with self._guard:
            self._closed = True
            idle, self._idle = self._idle, []
        for client in idle:
            _close(client)

    def _put_back(self, client: Client | None) -> None:
        if client is None:
            return
        with self._guard:
            if not self._closed and len(self._idle) < self._max_idle:
                self._idle.append(client)
                return
        _close(client)


def is_url(target: str) -> bool:
    """Whether `target` names a ClickHouse server; otherwise it is a folder."""
    return target.startswith(("http://", "https://"))


def embedded(path: str, database: str, *, read_only: bool) -> Callable[[], Client]:
    """A maker of clients of the engine in this process, on the folder `path`."""

    def make() -> Client:
        client = clickhouse_connect.get_client(interface="chdb", path=path, database=database)
        if read_only:
            # On a handle of its own: it can never be taken back. 2 still allows other settings.
            client.command("SET readonly = 2")
        return client

    return make


def over_http(url: str, database: str, *, read_only: bool) -> Callable[[], Client]:
    """A maker of clients of the server at `http(s)://user:password@host:port`."""
    # It warns of each connection that fails; that leaves here as an error anyway.
    logging.getLogger("clickhouse_connect.driver._backend.http_sync").setLevel(logging.ERROR)
    parts = urlsplit(url)
    if not parts.hostname:
        raise SettingsError(
            f"{_masked(url)} is not the URL of a ClickHouse server",
            hint="it looks like http://user:password@host:8123/database",
        )
    options: dict[str, Any] = {
        "interface": parts.scheme,
        "host": parts.hostname,
        "port": parts.port or (8443 if parts.scheme == "https" else 8123),
        "username": unquote(parts.username or "default"),
        "password": unquote(parts.password or ""),
        "database": database,
        "connect_timeout": CONNECT_TIMEOUT_S,
        "send_receive_timeout": QUERY_TIMEOUT_S,
        "autogenerate_session_id": False,
        "query_limit": 0,
    }

    def make() -> Client:
        client = clickhouse_connect.get_client(**options)
        if read_only:
            readonly = client.server_settings.get("readonly")
            if readonly is not None and readonly.value == "0":
                client.set_client_setting("readonly", 2)
        return client

    return make


def dictionary_credentials(url: str) -> str:
    """What a dictionary's source on that server needs to read the server's own tables."""
    parts = urlsplit(url)
    if not parts.username:
        return ""
    user, password = (literal(unquote(part or "")) for part in (parts.username, parts.password))
    return f"USER {user} PASSWORD {password} "


def require_features(client: Client) -> None:
    """Refuse an engine that is too old for the schema, before anything is made.

    Raises
    ------
    WarehouseError
        If it is.
    """
    version = tuple(int(part) for part in str(client.server_version).split(".")[:2])
    if version < OLDEST:
        raise WarehouseError(
            f"ClickHouse {client.server_version} is too old",
            hint=f"Desirepath needs ClickHouse {OLDEST[0]}.{OLDEST[1]} or later",
        )


def warehouse_error(error: Exception) -> WarehouseError:
    """What ClickHouse said, as our error: first line, without its version and stack."""
    lost = error.__cause__
    if isinstance(lost, MaxRetryError) and isinstance(lost.reason, ConnectTimeoutError):
        # Refused and unknown hosts are connect timeouts to urllib3 too.
        pool = lost.pool
        return WarehouseError(
            f"nothing answers at {pool.scheme}://{pool.host}:{pool.port}",
            retryable=True,
            hint="is ClickHouse running, and is the URL right?",
        )
    code = getattr(error, "code", None)
    text = str(error).strip()
    marker = text.find("DB::Exception: ")
    if marker >= 0:
        text = text[marker + len("DB::Exception: ") :]
    text = text.split(" (version ")[0].splitlines()[0] if text else type(error).__name__
    # Without a code ClickHouse did not answer, or the client refused what it was asked.
    unanswered = isinstance(error, OperationalError) and not isinstance(error, StreamFailureError)
    retryable = code in _RETRYABLE_CODES if isinstance(code, int) else unanswered
    return WarehouseError(f"ClickHouse: {text}", retryable=retryable)


def settings_of(settings: Mapping[str, str | int | float]) -> dict[str, Any]:
    """A mutable copy, as clickhouse-connect wants it."""
    return dict(settings)


def _close(client: Client | None) -> None:
    if client is not None:
        client.close()


def _masked(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()

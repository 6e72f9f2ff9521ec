"""The port itself: requests in ClickHouse's HTTP protocol, answers as ClickHouse gives them.

Understood: `/ping`, `/?query=`, a POST body, `database`, `default_format`, `param_*`, settings,
`user`/`password`, `X-ClickHouse-User`/`-Key`, Basic. Results of streamable formats leave as the
engine makes them; an error after the first byte is written as ClickHouse writes it, and the
connection is cut. Engine calls run on a few threads, so a slow query never holds the collector.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import logging
import secrets
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, TypeVar

import chdb
import msgspec
from aiohttp import web

from desirepath.errors import WarehouseError
from desirepath_collector.clickhouse_http.errors import (
    DoorError,
    error_body,
    from_engine,
    status_of,
)
from desirepath_collector.clickhouse_http.guard import Guard, Statement
from desirepath_collector.clickhouse_http.limits import Limits
from desirepath_collector.warehouse import Warehouse, identifier, literal

__all__ = ["Door", "start"]

MAX_QUERY_BYTES: Final = 4 * 1024 * 1024

_log: Final = logging.getLogger(__name__)
_T = TypeVar("_T")

# Parameters of the protocol, not settings of the query. Sessions are accepted and not kept:
# nothing that a reader may do needs one.
_PROTOCOL: Final = frozenset(
    {"add_http_cors_header", "buffer_size", "client_protocol_version", "compress", "database"}
    | {"decompress", "default_format", "enable_http_compression", "password", "query", "query_id"}
    | {"http_headers_progress_interval_ms", "quota_key", "role", "send_progress_in_http_headers"}
    | {"session_check", "session_id", "session_timeout", "user", "wait_end_of_query"}
    | {"stacktrace", "log_comment", "cancel_http_readonly_queries_on_client_close"}
)


class _Request(msgspec.Struct, frozen=True):
    """One query as it came in."""

    text: str
    database: str
    output: str
    params: dict[str, str]
    settings: dict[str, str]


class Door:
    """A running port. Close it before the warehouse."""

    def __init__(self, warehouse: Warehouse, users: Mapping[str, str], limits: Limits) -> None:
        if warehouse.path is None:
            raise WarehouseError("only an embedded warehouse needs a ClickHouse port of its own")
        self.port = 0
        self._path = str(warehouse.path.resolve())
        self._database = warehouse.database
        self._users = dict(users)
        self._limits = limits
        self._running = 0
        self._pool = ThreadPoolExecutor(limits.parallel, thread_name_prefix="clickhouse-http")
        # Holds the engine open, and answers what every query's check needs.
        self._base = _connect(self._path)
        self._guard = Guard(self._base)
        self._version, self._timezone = (
            bytes(self._base.query("SELECT version(), timezone()", "TSV").bytes()).decode().split()
        )
        self._runner: web.AppRunner | None = None

    async def open(self, host: str, port: int) -> None:
        """Start to listen; `port` 0 takes any free one."""
        app = web.Application(client_max_size=MAX_QUERY_BYTES)
        app.router.add_get("/ping", self._ping)
        app.router.add_get("/replicas_status", self._ping)
        app.router.add_route("*", "/", self._query)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        try:
            await site.start()
        except OSError as error:
            await self.close()
            raise WarehouseError(
                f"the ClickHouse port {host}:{port} cannot be opened: {error.strerror}",
                hint="choose another one, or stop what listens there",
            ) from error
        self.port = self._runner.addresses[0][1]

    def use(self, users: Mapping[str, str]) -> None:
        """Let these users in from now on, and nobody else; what runs already may end."""
        self._users = dict(users)

    async def close(self) -> None:
        """Stop listening, let running queries end, let go of the engine."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        await asyncio.get_running_loop().run_in_executor(None, self._pool.shutdown)
        self._base.close()

    async def _ping(self, _: web.Request) -> web.Response:
        return web.Response(text="Ok.\n", headers=self._headers())

    async def _query(self, request: web.Request) -> web.StreamResponse:
        query_id = request.query.get("query_id") or str(uuid.uuid4())
        headers = self._headers() | {"X-ClickHouse-Query-Id": _header(query_id)}
        try:
            if request.method in ("GET", "HEAD") and not request.query_string:
                return web.Response(text="Ok.\n", headers=headers)
            if request.method not in ("GET", "HEAD", "POST"):
                raise DoorError(344, f"HTTP method {request.method} is not supported")
            self._authenticate(request)
            asked = await self._read(request)
            if self._running >= self._limits.parallel:
                raise DoorError(202, f"Too many simultaneous queries: {self._running} are running")
            self._running += 1
            try:
                return await self._answer(request, asked, headers)
            finally:
                self._running -= 1
        except DoorError as error:
            headers["X-ClickHouse-Exception-Code"] = str(error.code)
            if error.code == 194:
                headers["WWW-Authenticate"] = 'Basic realm="ClickHouse server HTTP API"'
            return web.Response(
                text=error_body(error, self._version), status=status_of(error), headers=headers
            )

    async def _answer(
        self, request: web.Request, asked: _Request, headers: dict[str, str]
    ) -> web.StreamResponse:
        connection, statement = await self._in_thread(lambda: self._prepare(asked))
        try:
            output = statement.output or asked.output
            headers |= {"X-ClickHouse-Format": output, "Content-Type": _content_type(output)}
            if not statement.streamable(output):
                result = await self._in_thread(lambda: self._whole(connection, asked, output))
                headers["X-ClickHouse-Summary"] = _summary(result)
                return web.Response(body=bytes(result.bytes()), headers=headers)
            return await self._stream(request, connection, asked, output, headers)
        finally:
            await self._in_thread(connection.close)

    def _prepare(self, asked: _Request) -> tuple[Any, Statement]:
        """A handle of this query's own, set up and locked, and the statement it may run."""
        connection = _connect(self._path)
        try:
            statement = self._guard.check(connection, asked.text, asked.params)
            self._limits.check_text(statement.formatted)
            settings = self._limits.apply(asked.settings)
            try:
                connection.query(f"USE {identifier(asked.database)}", "Null")
                pairs = ", ".join(f"{name} = {literal(v)}" for name, v in settings.items())
                connection.query(f"SET {pairs}", "Null")
                # Last, and for good: 2 allows a query's own settings and nothing that writes.
                connection.query("SET readonly = 2", "Null")
            except Exception as error:
                raise from_engine(error) from error
        except BaseException:
            connection.close()
            raise
        return connection, statement

    @staticmethod
    def _whole(connection: Any, asked: _Request, output: str) -> Any:
        try:
            return connection.query(asked.text, output, params=asked.params)
        except Exception as error:
            raise from_engine(error) from error

    async def _stream(
        self,
        request: web.Request,
        connection: Any,
        asked: _Request,
        output: str,
        headers: dict[str, str],
    ) -> web.StreamResponse:
        def first() -> tuple[Any, bytes | None]:
            try:
                opened = connection.send_query(asked.text, output, params=asked.params)
                return opened, _next_chunk(opened)
            except Exception as error:
                raise from_engine(error) from error

        stream, chunk = await self._in_thread(first)
        tag = secrets.token_hex(8)
        response = web.StreamResponse(headers=headers | {"X-ClickHouse-Exception-Tag": tag})
        try:
            await response.prepare(request)
            while chunk is not None:
                await response.write(chunk)
                chunk = await self._in_thread(lambda: _next_chunk(stream))
            await response.write_eof()
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception as error:
            text = error_body(from_engine(error), self._version)
            closing = f"{len(text.encode())} {tag}\r\n__exception__\r\n"
            with suppress(ConnectionError):
                await response.write(f"\r\n__exception__\r\n{tag}\r\n{text}{closing}".encode())
            if request.transport is not None:
                # Without the final chunk, so that no client takes it for a whole answer.
                request.transport.close()
        finally:
            await self._in_thread(stream.close)
        return response

    async def _read(self, request: web.Request) -> _Request:
        fields: dict[str, str] = dict(request.query)
        body = ""
        if request.method == "POST":
            if request.content_type == "multipart/form-data":
                for name, value in (await request.post()).items():
                    if not isinstance(value, str):
                        raise DoorError(344, "External tables are not supported here")
                    fields[name] = value
            else:
                try:
                    body = (await request.read()).decode()
                except UnicodeDecodeError as error:
                    raise DoorError(62, "Syntax error: the query is not UTF-8") from error
        text = "\n".join(part for part in (fields.get("query", ""), body) if part).strip()
        if not text:
            raise DoorError(62, "Syntax error: empty query")
        header = request.headers.get
        return _Request(
            text=text,
            database=fields.get("database") or header("X-ClickHouse-Database") or self._database,
            output=fields.get("default_format") or header("X-ClickHouse-Format") or "TabSeparated",
            params={n[6:]: v for n, v in fields.items() if n.startswith("param_")},
            settings={
                name: value
                for name, value in fields.items()
                if name not in _PROTOCOL and not name.startswith("param_")
            },
        )

    def _authenticate(self, request: web.Request) -> None:
        header = request.headers.get
        user, password = header("X-ClickHouse-User"), header("X-ClickHouse-Key", "")
        scheme, _, credentials = header("Authorization", "").partition(" ")
        if scheme.lower() == "basic":
            with suppress(binascii.Error, UnicodeDecodeError):
                user, _, password = base64.b64decode(credentials).decode().partition(":")
        elif user is None:
            user, password = request.query.get("user"), request.query.get("password", "")
        expected = self._users.get(user or "default")
        # Compared also when there is no such user, so that both take the same time.
        same = hmac.compare_digest(password.encode(), (expected or secrets.token_hex()).encode())
        if expected is None or not same:
            raise DoorError(
                516,
                f"{user or 'default'}: Authentication failed: password is incorrect, or there is "
                "no user with such name",
            )

    def _headers(self) -> dict[str, str]:
        return {
            "X-ClickHouse-Server-Display-Name": "desirepath",
            "X-ClickHouse-Timezone": self._timezone,
        }

    async def _in_thread(self, call: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)


async def start(
    warehouse: Warehouse,
    *,
    host: str,
    port: int,
    users: Mapping[str, str],
    limits: Limits | None = None,
) -> Door:
    """Open the door of an embedded warehouse.

    Parameters
    ----------
    warehouse
        The owner's warehouse, embedded; stays the caller's to close, after the door.
    host, port
        Where to listen; port 0 takes any free one, told by `Door.port`.
    users
        Password by user name. There is no way in without one.
    limits
        Bounds of each query.

    Raises
    ------
    WarehouseError
        If the port cannot be opened, or the warehouse is not embedded.
    """
    door = Door(warehouse, users, limits or Limits())
    await door.open(host, port)
    return door


def _connect(path: str) -> Any:
    return chdb.connect(path)  # type: ignore[no-untyped-call]


def _next_chunk(stream: Any) -> bytes | None:
    for block in stream:
        if payload := bytes(block.bytes()):
            return payload
    return None


def _summary(result: Any) -> str:
    summary = {
        "read_rows": str(result.rows_read()),
        "read_bytes": str(result.bytes_read()),
        "elapsed_ns": str(int(result.elapsed() * 1_000_000_000)),
    }
    return msgspec.json.encode(summary).decode()


def _content_type(output: str) -> str:
    if output.startswith("JSON"):
        return "application/json; charset=UTF-8"
    if output.startswith(("TabSeparated", "TSV")):
        return "text/tab-separated-values; charset=UTF-8"
    if output.startswith("CSV"):
        return "text/csv; charset=UTF-8; header=absent"
    if output.startswith(("Pretty", "Values", "Vertical", "Markdown")):
        return "text/plain; charset=UTF-8"
    return "application/octet-stream"


def _header(text: str) -> str:
    """`text` as a header may carry it."""
    return "".join(c for c in text if c.isascii() and c.isprintable())[:200]

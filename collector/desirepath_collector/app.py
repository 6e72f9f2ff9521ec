"""The collector, put together: what starts in which order, and stops in the other.

Start: data folder, plan, warehouse, spool, loader, then the ports. So a request is only ever
taken when it can be made durable. Stop: new requests are turned away with 503, those in flight
end, the spool is loaded as far as the time allows and sealed, then the ports close. A ClickHouse
server that is away does not keep the collector from starting: events wait in the spool.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import unquote, urlsplit, urlunsplit

import msgspec
from aiohttp import web

from desirepath.errors import DesirepathError, SettingsError
from desirepath.plan import Plan
from desirepath_collector.admit import Admitter
from desirepath_collector.clickhouse_http import Door
from desirepath_collector.clickhouse_http import start as open_door
from desirepath_collector.http.fastlane import Lane
from desirepath_collector.http.intake import Intake
from desirepath_collector.http.routes import make_app
from desirepath_collector.loader import Loader
from desirepath_collector.plans import Plans, load_plan, load_source_plans, pii_key
from desirepath_collector.quarantine import Repairs, Replay, Selection, replay
from desirepath_collector.reload import FIXED
from desirepath_collector.settings import Settings
from desirepath_collector.spool import Spool
from desirepath_collector.store import WarehouseStore
from desirepath_collector.telemetry import Telemetry
from desirepath_collector.warehouse import ServerFile, remove_server_file, write_server_file
from desirepath_collector.warehouse.folder import make_folder

__all__ = ["Collector", "running"]

log = logging.getLogger("desirepath")

_READER: Final = "desirepath"
"""ClickHouse user of other processes on this machine, its password made anew at each start."""


class Collector:
    """A collector in this process.

    Parameters
    ----------
    settings
        All of it.
    store
        The warehouse, where it is not the one of the settings.

    Attributes
    ----------
    url, clickhouse_url
        Where it listens, once started; the second is empty if ClickHouse is a server of its own.
    """

    def __init__(self, settings: Settings, store: WarehouseStore | None = None) -> None:
        self.settings = settings
        self.folder = Path(settings.data)
        self.telemetry = Telemetry()
        self.url = ""
        self.lane: Lane
        self.clickhouse_url = ""
        self.store = store or WarehouseStore(
            settings.clickhouse or settings.data, settings.database
        )
        self.plans: Plans
        self.intake: Intake
        self._loader: Loader
        self._spool: Spool
        self._readers: dict[str, str] = {}
        self._door: Door | None = None
        self._password = secrets.token_urlsafe(24)
        self._replaying = asyncio.Lock()
        self._exit = contextlib.AsyncExitStack()

    async def start(self) -> None:
        """Start all parts; on a failure those that had started are stopped again.

        Raises
        ------
        DesirepathError
            One message that says what is in the way: the plan, the folder, a port.
        """
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        settings = self.settings
        loop = asyncio.get_running_loop()
        plan = load_plan(settings.plan) if settings.plan else None
        try:
            make_folder(self.folder)
        except OSError as error:
            raise SettingsError(
                f"the data folder {self.folder} cannot be made: {error.strerror}",
                hint="choose another one with --data",
            ) from None
        self.plans = Plans(pii_key(settings.pii_key, self.folder))
        self.plans.assign(load_source_plans(settings))

        self._exit.callback(self.store.close)
        await loop.run_in_executor(None, self.store.open)
        for published in await loop.run_in_executor(None, self.store.published):
            self.plans.remember(published)
        if plan is not None:
            self.plans.go_live(plan)
            self.store.publish(plan)
        elif (live := await loop.run_in_executor(None, self.store.plan)) is not None:
            self.plans.go_live(live)

        spool_folder = self.folder / "spool"
        spool_folder.mkdir(exist_ok=True)
        self._spool = Spool.open(
            spool_folder / "0",
            max_bytes=settings.spool_max_bytes,
            on_commit=lambda: self._loader.notify(),
        )
        self._exit.push_async_callback(self._spool.close)
        self._loader = Loader(
            self._spool.journal, self.store, spool_folder / "0.frozen", settings, self.telemetry
        )
        self._loader.start()
        self._exit.push_async_callback(
            lambda: loop.run_in_executor(None, self._loader.stop, settings.stop_timeout_s)
        )
        journal = self._spool.journal
        gauge = self.telemetry.gauge
        gauge("desirepath_spool_bytes", "Waiting in the spool.", lambda: journal.pending_bytes)
        gauge("desirepath_spool_records", "Waiting requests.", lambda: journal.pending_records)
        gauge("desirepath_spool_damaged", "Damaged stretches set aside.", lambda: journal.damaged)

        self._readers = _readers(settings, self._password)
        admitter = Admitter(self.plans, settings)
        self.intake = Intake(settings, admitter, self._spool, self.telemetry)
        await self._listen()

    async def _listen(self) -> None:
        settings = self.settings
        runner = web.AppRunner(
            make_app(self),
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=settings.idle_timeout_s,
            shutdown_timeout=settings.stop_timeout_s,
            lingering_time=2.0,
            handle_signals=False,
            # Or a listener that went away would be served until its next event.
            handler_cancellation=True,
        )
        await runner.setup()
        self._exit.push_async_callback(runner.cleanup)
        self.lane = lane = Lane(
            self.intake, settings, cast("Callable[[], asyncio.Protocol]", runner.server)
        )
        with _port_message(settings.host, settings.port, "--port"):
            server = await asyncio.get_running_loop().create_server(
                lane, settings.host, settings.port, backlog=1024, reuse_address=True
            )

        async def close() -> None:
            server.close()
            await lane.close(settings.stop_timeout_s)

        self._exit.push_async_callback(close)
        self.url = _url(settings.host, server.sockets[0].getsockname()[1])
        if self.store.embedded:
            door = await self._open_clickhouse_door()
            self.clickhouse_url = _url(settings.clickhouse_host, door.port)
        clickhouse, user = self.clickhouse_url, _READER
        if not self.store.embedded:
            clickhouse, user, self._password = _taken_apart(settings.clickhouse)
            self._readers = _readers(settings, self._password)
        write_server_file(
            self.folder,
            ServerFile(os.getpid(), self.url, clickhouse, user, self._password),
        )
        self._exit.callback(remove_server_file, self.folder)

    async def _open_clickhouse_door(self) -> Door:
        settings = self.settings
        users = _users(settings, self._password)
        self._door = door = await open_door(
            self.store.warehouse,
            host=settings.clickhouse_host,
            port=settings.clickhouse_port,
            users=users,
        )
        self._exit.push_async_callback(door.close)
        return door

    async def stop(self) -> None:
        """Stop all parts, in the order that loses nothing. Stopping twice is no mistake."""
        if hasattr(self, "intake"):
            self.intake.stopping = True
            self.intake.live.close()
        await self._exit.aclose()

    async def publish(self, plan: Plan) -> None:
        """Store a plan, and check events by it from then on."""
        # Once it is stored it must go live too, even if whoever asked hangs up in between.
        await asyncio.shield(self._publish(plan))

    def use(self, settings: Settings, special: Mapping[str, Plan]) -> None:
        """Take over sources, readers and limits of other settings; the rest needs a restart."""
        kept = {name: getattr(self.settings, name) for name in FIXED}
        self.settings = msgspec.structs.replace(settings, **kept)
        self._readers = _readers(self.settings, self._password)
        if self._door is not None:
            self._door.use(_users(self.settings, self._password))
        self.plans.assign(special)
        self.intake.use(self.settings)
        self.lane.settings = self.settings

    async def _publish(self, plan: Plan) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self.store.publish_now, plan)
        self.plans.go_live(plan)

    async def replay(
        self, selection: Selection, repairs: Repairs, *, by: str, dry_run: bool
    ) -> Replay:
        """Replay rows of the quarantine; one replay at a time."""

        def work() -> Replay:
            # An admitter of its own: it runs beside the event loop.
            admitter = Admitter(self.plans, self.settings)
            return replay(
                self.store.warehouse, admitter, selection, repairs, by=by, dry_run=dry_run
            )

        async with self._replaying:
            return await asyncio.get_running_loop().run_in_executor(None, work)

    def is_owner(self, authorization: str) -> bool:
        """Whether this comes from who can read the data folder."""
        wanted = f"Bearer {self._password}".encode()
        return bool(self._password) and secrets.compare_digest(authorization.encode(), wanted)

    def reader(self, authorization: str) -> str | None:
        """The name of the reader whose token this is."""
        return self._readers.get(authorization)

    def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Whether events are taken, and what waits or fails."""
        journal = self._spool.journal
        free = self.settings.spool_max_bytes - journal.pending_bytes
        ready = not self.intake.stopping and free > 0
        return ready, {
            "ready": ready,
            "stopping": self.intake.stopping,
            "spool_bytes": journal.pending_bytes,
            "spool_free_bytes": max(0, free),
            "warehouse": self._loader.failure or "ok",
        }


@contextlib.asynccontextmanager
async def running(
    settings: Settings, store: WarehouseStore | None = None
) -> AsyncIterator[Collector]:
    """A collector that runs as long as the block."""
    collector = Collector(settings, store)
    await collector.start()
    try:
        yield collector
    finally:
        await collector.stop()


@contextlib.contextmanager
def _port_message(host: str, port: int, option: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise SettingsError(
                f"port {port} of {host} is in use",
                hint=f"stop the other server, or choose another port with {option}",
            ) from None
        raise DesirepathError(f"cannot listen on {host}:{port}: {error.strerror}") from None


def _users(settings: Settings, password: str) -> dict[str, str]:
    return {**settings.effective_readers(), _READER: password}


def _readers(settings: Settings, password: str) -> dict[str, str]:
    users = _users(settings, password)
    return {f"Bearer {token}": name for name, token in users.items() if token}


def _taken_apart(url: str) -> tuple[str, str, str]:
    """A ClickHouse server's URL without credentials, the user, the password."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    user, password = unquote(parts.username or "default"), unquote(parts.password or "")
    return urlunsplit((parts.scheme, host, parts.path, parts.query, "")), user, password


def _url(host: str, port: int) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104
    return f"http://{f'[{shown}]' if ':' in shown and '[' not in shown else shown}:{port}"

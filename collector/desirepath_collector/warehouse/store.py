"""The warehouse: what the rest of Desirepath calls.

One object for an embedded folder and for a ClickHouse server. The owner opens it with
`Warehouse.open`, which brings the schema up to date and may write; everybody else uses `connect`,
which cannot. Inserts carry a token: the same token inserts once, whatever was answered before.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote, urlsplit

import msgspec
import pyarrow as pa
from clickhouse_connect.driver.binding import quote_identifier

from desirepath.errors import SettingsError, WarehouseError
from desirepath_collector.warehouse import encode
from desirepath_collector.warehouse.engine import (
    Handles,
    dictionary_credentials,
    embedded,
    is_url,
    over_http,
    require_features,
    settings_of,
)
from desirepath_collector.warehouse.erasure import Receipt, Tombstones, erase, export
from desirepath_collector.warehouse.folder import (
    OWNER_WAIT_S,
    WAREHOUSE_NAME,
    FolderLock,
    make_folder,
    read_server_file,
)
from desirepath_collector.warehouse.people import People
from desirepath_collector.warehouse.repeats import Repeats
from desirepath_collector.warehouse.retention import retention
from desirepath_collector.warehouse.rows import EventRow, QuarantineRow
from desirepath_collector.warehouse.schema import migrate
from desirepath_collector.warehouse.sql import Sql
from desirepath_collector.warehouse.views import publish_views

if TYPE_CHECKING:
    import pandas as pd

    from desirepath.plan import Plan
    from desirepath_collector.warehouse.registered import Report

__all__ = ["DEFAULT_DATABASE", "Warehouse", "connect"]

DEFAULT_DATABASE: Final = "desirepath"

_RowT = TypeVar("_RowT", EventRow, QuarantineRow)
_DATABASE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_INSERT_SETTINGS: Final[dict[str, str | int]] = {
    # A batch of clients with broken clocks, or an import of history, spans many months.
    "throw_on_max_partitions_per_insert_block": 0,
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    # One block an insert, so that the token covers all of it or nothing.
    "max_insert_block_size": 10_000_000,
    "min_insert_block_size_rows": 0,
    "min_insert_block_size_bytes": 0,
    "async_insert": 0,
    # On a cluster: the answer comes when the shards have the rows.
    "distributed_foreground_insert": 1,
    # Removing duplicates inside a block is what FINAL does anyway; here it doubles the cost.
    "optimize_on_insert": 0,
}


class Warehouse:
    """Tables of events, people and plans in ClickHouse. Make one with `open` or `connect`.

    Attributes
    ----------
    database
        The database whose tables statements name without a prefix.
    """

    def __init__(
        self,
        handles: Handles,
        *,
        database: str,
        lock: FolderLock | None,
        path: Path | None = None,
        cluster: str | None = None,
    ) -> None:
        self.database = database
        self._cluster = cluster
        self.path = path
        self._handles = handles
        self._lock = lock
        self._writing = threading.Lock()
        self._people = People(handles)
        self._tombstones = Tombstones(handles)
        self._repeats = Repeats(handles)

    @classmethod
    def open(
        cls,
        target: str | os.PathLike[str],
        database: str = DEFAULT_DATABASE,
        *,
        cluster: str | None = None,
    ) -> Warehouse:
        """Open as the owner: make what is missing, bring the schema up to date, allow writing.

        Parameters
        ----------
        target
            A data folder (the engine then runs in this process), or the URL of a server.
        database
            The database; a server URL's path goes before it.
        cluster
            Make the tables on all nodes of this cluster of the server.

        Raises
        ------
        WarehouseHeldError
            If another living process holds the folder: a server, or for some seconds a reader.
        WarehouseError
            If ClickHouse cannot be reached, refuses, or has a newer schema.
        """
        text = os.fspath(target)
        lock = path = None
        credentials = ""
        if is_url(text):
            database = urlsplit(text).path.strip("/") or database
            credentials = dictionary_credentials(text)
            bootstrap = Handles(over_http(text, "default", read_only=False))
            handles = Handles(over_http(text, database, read_only=False))
        else:
            folder = Path(text)
            path = folder / WAREHOUSE_NAME
            try:
                make_folder(folder)
                make_folder(path)
            except OSError as error:
                raise WarehouseError(
                    f"the data folder {folder} cannot be made: {error.strerror}",
                    hint="choose another one with --data",
                ) from error
            lock = FolderLock(folder, wait_s=OWNER_WAIT_S)
            bootstrap = Handles(embedded(str(path), "default", read_only=False))
            handles = Handles(embedded(str(path), database, read_only=False))
        try:
            if not _DATABASE.fullmatch(database):
                raise SettingsError(
                    f"{database!r} cannot be the database's name",
                    hint="letters, digits and underscores, not beginning with a digit",
                )
            with bootstrap.borrow() as client:
                require_features(client)
                everywhere = f" ON CLUSTER {quote_identifier(cluster)}" if cluster else ""
                name = quote_identifier(database)
                client.command(f"CREATE DATABASE IF NOT EXISTS {name}{everywhere}")
            with handles.borrow() as client:
                migrate(client, database, credentials=credentials, cluster=cluster)
        except BaseException:
            handles.close()
            if lock:
                lock.release()
            raise
        finally:
            bootstrap.close()
        return cls(handles, database=database, lock=lock, path=path, cluster=cluster)

    def query(self, sql: Sql) -> pa.Table:
        """Run one reading statement; its result as an Arrow table."""
        with self._handles.borrow() as client:
            return client.query_arrow(
                sql.text, parameters=dict(sql.params), settings=settings_of(sql.settings)
            )

    def query_df(self, sql: Sql) -> pd.DataFrame:
        """Run one reading statement; its result as a pandas frame."""
        frame: pd.DataFrame = self.query(sql).to_pandas()
        return frame

    def command(self, sql: Sql) -> Any:
        """Run one statement that returns nothing, or a single value."""
        with self._handles.borrow() as client:
            return client.command(
                sql.text, parameters=dict(sql.params), settings=settings_of(sql.settings)
            )

    def insert_events(self, rows: Sequence[EventRow], token: str) -> None:
        """Insert `rows`, once for each `token`, and attribute the people they introduce.

        The caller freezes a batch before the first attempt and repeats it whole: the same token
        always goes with the same rows. Rows of people who were erased are dropped, and repeats
        of messages without a time of their own from before this warehouse was opened.
        """
        rows = self._repeats.fresh(self._tombstones.living(rows))
        if not rows:
            return
        self._insert("events", encode.EVENT_COLUMNS, rows, encode.events, token)
        self._people.learn(rows)

    def insert_quarantine(self, rows: Sequence[QuarantineRow], token: str) -> None:
        """Insert `rows` into the quarantine, once for each `token`."""
        rows = self._tombstones.living(rows)
        if rows:
            self._insert("quarantine", encode.QUARANTINE_COLUMNS, rows, encode.quarantine, token)

    def publish(self, plan: Plan) -> None:
        """Make `plan` the live plan, and a view for each of its events.

        Publishing what is live already changes nothing.
        """
        with self._writing, self._handles.borrow() as client:
            live = client.query(_LIVE_PLAN).result_rows
            if live and live[0][1] == plan.digest:
                return
            publish_views(client, plan, cluster=self._cluster)
            # Strictly later than the last, whatever the clock says.
            newest = live[0][2] if live else 0
            at = max(time.time_ns() // 1_000_000, newest + 1)
            client.insert(
                "plans",
                [[plan.name, plan.version, plan.digest, plan.source.decode(), at]],
                column_names=["name", "version", "digest", "source", "published_at"],
                column_type_names=["String", "String", "String", "String", "DateTime64(3, 'UTC')"],
            )

    def plan(self) -> Plan | None:
        """The live plan: the one that was published last; None before the first."""
        from desirepath.plan import Plan

        with self._handles.borrow() as client:
            live = client.query(_LIVE_PLAN).result_rows
        return Plan.parse(live[0][0], path="the published plan") if live else None

    def erase(self, person: str, *, wait: bool = True) -> Receipt:
        """Remove a person, named by any of their ids, and keep what comes late from coming back.

        Parameters
        ----------
        person
            Any id of theirs.
        wait
            Wait until the last file that held them is gone, which the receipt then says.

        Raises
        ------
        InputError
            If nobody is known by that id.
        """
        with self._writing, self._handles.borrow() as client:
            receipt = erase(client, person, wait=wait)
        self._tombstones.forget()
        self._people.forget()
        self._people.reload()
        return receipt

    def export(self, person: str) -> dict[str, Any]:
        """Everything that is kept about a person, named by any of their ids.

        Raises
        ------
        InputError
            If nobody is known by that id.
        """
        with self._handles.borrow() as client:
            return export(client, person)

    def register(self, report: Report, *, kind: str, path: str) -> None:
        """Remember an import of registered data."""
        with self._handles.borrow() as client:
            client.insert(
                "registered_sources",
                [[report.name, kind, path, report.rows, report.added, report.refused]],
                column_names=["name", "kind", "path", "rows", "added", "refused"],
            )

    def retain(
        self,
        days: int | None,
        by_event: Mapping[str, int] | None = None,
        quarantine_days: int | None = None,
    ) -> None:
        """Keep events for so many days, by the client's clock, and then delete them.

        Parameters
        ----------
        days
            For all events that `by_event` does not name; None keeps them for ever.
        by_event
            Days by event name.
        quarantine_days
            For quarantined events; None keeps them for ever.
        """
        with self._writing, self._handles.borrow() as client:
            for statement in retention(days, by_event, quarantine_days):
                table = statement.split()[2]
                has_ttl = "TTL toDateTime(" in str(client.command(f"SHOW CREATE TABLE {table}"))
                if "REMOVE TTL" not in statement or has_ttl:
                    client.command(statement)

    def close(self) -> None:
        """Let go of the engine and of the folder."""
        self._people.close()
        self._handles.close()
        if self._lock:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Warehouse:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _insert(
        self,
        table: str,
        columns: Sequence[str],
        rows: Sequence[_RowT],
        to_arrow: Callable[[Sequence[_RowT]], pa.Table],
        token: str,
    ) -> None:
        try:
            block = encode.arrow_stream(to_arrow(rows))
        except (ValueError, TypeError, msgspec.MsgspecError, RecursionError) as error:
            # Arrow's errors are ValueErrors. Some row cannot be written, now or later.
            raise WarehouseError(f"a row cannot be written: {error}", retryable=False) from error
        with self._handles.borrow() as client:
            client.raw_insert(
                table,
                column_names=columns,
                insert_block=block,
                fmt="ArrowStream",
                settings={**_INSERT_SETTINGS, "insert_deduplication_token": token},
            )


_LIVE_PLAN: Final = """
SELECT source, digest, toUnixTimestamp64Milli(published_at)
FROM plans
ORDER BY published_at DESC, name, version
LIMIT 1
"""


def connect(target: str | os.PathLike[str], database: str = DEFAULT_DATABASE) -> Warehouse:
    """Open for reading.

    Parameters
    ----------
    target
        A data folder, also while a server holds it (its ClickHouse port is used then), or
        `http(s)://user:password@host:8123/database`.
    database
        The database; a server URL's path goes before it.

    Raises
    ------
    WarehouseError
        If there is no warehouse, or it cannot be reached.
    """
    text = os.fspath(target)
    if is_url(text):
        database = urlsplit(text).path.strip("/") or database
        return _probed(Handles(over_http(text, database, read_only=True)), database)
    folder = Path(text)
    path = folder / WAREHOUSE_NAME
    if not path.is_dir():
        raise WarehouseError(
            f"no warehouse at {folder}", hint=f"run `desirepath serve --data {folder}`"
        )
    if not FolderLock.held_here(folder) and (server := read_server_file(folder)):
        user, password = quote(server.user, safe=""), quote(server.password, safe="")
        url = server.clickhouse.replace("://", f"://{user}:{password}@", 1)
        database = urlsplit(url).path.strip("/") or database
        return _probed(Handles(over_http(url, database, read_only=True)), database)
    lock = FolderLock(folder)
    try:
        return _probed(Handles(embedded(str(path), database, read_only=True)), database, lock, path)
    except BaseException:
        lock.release()
        raise


def _probed(
    handles: Handles, database: str, lock: FolderLock | None = None, path: Path | None = None
) -> Warehouse:
    warehouse = Warehouse(handles, database=database, lock=lock, path=path)
    try:
        warehouse.query(Sql("SELECT 1 FROM migrations LIMIT 1"))
    except BaseException:
        handles.close()
        raise
    return warehouse

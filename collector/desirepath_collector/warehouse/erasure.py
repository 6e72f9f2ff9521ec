"""Erasing a person, and giving a person their data.

A person is all ids that resolve to them. Erasing first writes tombstones (keyed digests of the
ids, so the list of the erased names nobody), then deletes every row that carries one of the ids
from every table that could: a lightweight delete hides them at once, a mutation then rewrites the
parts, and the receipt tells when the last old file is gone. Whatever is inserted afterwards and
happened, or arrived, before the erasure is dropped: replays, spools, late phones.
A row of somebody else that carries one of the ids (a shared device) goes too.
"""

from __future__ import annotations

import hmac
import secrets
import threading
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import msgspec
from clickhouse_connect.driver.client import Client

from desirepath.errors import InputError, WarehouseError
from desirepath_collector.warehouse.engine import Handles
from desirepath_collector.warehouse.rows import EventRow, QuarantineRow
from desirepath_collector.warehouse.sql import identifier

__all__ = ["Receipt", "Tombstones", "erase", "export", "ids_of"]

ID_COLUMNS: Final = (
    "anonymous_id", "distinct_id", "id", "other", "person_id", "previous_id", "user_id",
)  # fmt: skip
"""Stored columns that hold a person's id, whatever table they are in."""

REFRESH_S: Final = 5.0
"""Another process's erasure is obeyed after at most this long."""

_POLL_S: Final = 0.2
_RowT = TypeVar("_RowT", EventRow, QuarantineRow)

_TABLES: Final = """
SELECT c.table AS table, groupArray(c.name) AS columns
FROM system.columns AS c
INNER JOIN system.tables AS t ON t.database = c.database AND t.name = c.table
WHERE c.database = currentDatabase() AND c.name IN {names:Array(String)} AND c.type LIKE '%String%'
    AND c.default_kind != 'ALIAS' AND t.engine LIKE '%MergeTree' AND t.name NOT LIKE '.inner%'
GROUP BY table
ORDER BY table
"""

_IDS: Final = """
SELECT DISTINCT id FROM identities FINAL
WHERE person_id = (
    SELECT coalesce(anyOrNull(person_id), {person:String})
    FROM identities FINAL WHERE id = {person:String}
)
"""


class Receipt(msgspec.Struct, frozen=True):
    """What an erasure did.

    Parameters
    ----------
    receipt
        Its id, which the tombstones carry too.
    ids
        How many ids the person had.
    rows
        Rows removed, by table.
    hidden_at
        From then on no query returns them.
    bytes_gone_at
        When the last file that held them was removed; None where it was not waited for.
    note
        What remains to be said about that.
    """

    receipt: str
    ids: int
    rows: dict[str, int]
    hidden_at: datetime
    bytes_gone_at: datetime | None
    note: str


class Tombstones:
    """Drops the rows of erased people before they are inserted."""

    def __init__(self, handles: Handles) -> None:
        self._handles = handles
        self._guard = threading.Lock()
        self._key = b""
        self._erased: dict[str, int] = {}
        self._known: dict[str, int] = {}
        self._checked = float("-inf")

    def forget(self) -> None:
        """Look again before the next insert."""
        with self._guard:
            self._checked = float("-inf")

    def living(self, rows: Sequence[_RowT]) -> Sequence[_RowT]:
        """`rows` without those of erased people."""
        with self._guard:
            if time.monotonic() - self._checked > REFRESH_S:
                self._refresh()
            if not self._erased:
                return rows
            return [row for row in rows if not self._is_erased(row)]

    def _is_erased(self, row: EventRow | QuarantineRow) -> bool:
        happened = min(getattr(row, "original_timestamp", row.received_at), row.received_at)
        ids = (row.user_id, row.anonymous_id, getattr(row, "previous_id", ""))
        return any(happened <= self._erased_at(one) for one in ids if one)

    def _erased_at(self, one: str) -> int:
        at = self._known.get(one)
        if at is None:
            if len(self._known) > 100_000:
                self._known.clear()
            at = self._known[one] = self._erased.get(digest(self._key, one), -(2**63))
        return at

    def _refresh(self) -> None:
        with self._handles.borrow() as client:
            found = client.query(
                "SELECT digest, toUnixTimestamp64Milli(erased_at) FROM erasures FINAL"
            ).result_rows
            erased = {row[0]: int(row[1]) for row in found}
            if erased != self._erased:
                self._erased = erased
                self._known.clear()
                self._key = _key(client)
        self._checked = time.monotonic()


def digest(key: bytes, one: str) -> str:
    """The tombstone of one id."""
    return hmac.new(key, one.encode(), "sha256").hexdigest()


def ids_of(client: Client, person: str) -> list[str]:
    """Every id of the person whom `person`, any id of theirs, names; that one included."""
    rows = client.query(_IDS, parameters={"person": person}).result_rows
    owner = client.query(
        "SELECT person_id FROM identities FINAL WHERE id = {person:String}",
        parameters={"person": person},
    ).result_rows
    return sorted({person, *(row[0] for row in rows), *(row[0] for row in owner)})


def erase(client: Client, person: str, *, wait: bool, timeout_s: float = 600) -> Receipt:
    """Remove a person; the dictionary and the caches are the caller's to refresh.

    Raises
    ------
    InputError
        If no table knows the id.
    """
    ids = ids_of(client, person)
    hashed = client.query(
        "SELECT cityHash64(arrayJoin({ids:Array(String)}))", parameters={"ids": ids}
    ).result_rows
    hashes = ", ".join(str(int(row[0])) for row in hashed)
    found: dict[str, tuple[str, int]] = {}
    for table, columns in client.query(_TABLES, parameters={"names": list(ID_COLUMNS)}).result_rows:
        # By hash, because ClickHouse keeps the text of a mutation in a file for a while. Table
        # and columns come from the system's own list.
        condition = " OR ".join(f"cityHash64({identifier(c)}) IN ({hashes})" for c in columns)
        counted = client.query(
            f"SELECT count() FROM {identifier(table)} WHERE {condition}"  # noqa: S608
        ).result_rows[0][0]
        if counted:
            found[table] = (condition, int(counted))
    if not found:
        raise InputError(f"nobody is known by the id {person!r}", hint="nothing was erased")
    receipt = str(uuid.uuid4())
    _bury(client, ids, receipt)
    for table, (condition, _) in found.items():
        client.command(
            f"DELETE FROM {identifier(table)} WHERE {condition}",  # noqa: S608
            settings={"lightweight_deletes_sync": 2, "mutations_sync": 2},
        )
    hidden = datetime.now(UTC)
    for table in found:
        client.command(f"ALTER TABLE {identifier(table)} APPLY DELETED MASK")
    gone = _wait(client, list(found), timeout_s) if wait else None
    note = "every file that held them is gone"
    if gone is None:
        by = hidden + timedelta(minutes=10)
        note = f"the files that held them are rewritten in the background, by about {by:%H:%M} UTC"
    rows = {table: count for table, (_, count) in found.items()}
    return Receipt(receipt, len(ids), rows, hidden, gone, note)


def export(client: Client, person: str) -> dict[str, Any]:
    """Everything that is kept about a person, as plain JSON-like data.

    Raises
    ------
    InputError
        If no table knows the id.
    """
    ids = ids_of(client, person)
    parameters = {"ids": ids}
    questions = {
        "events": (
            "SELECT * EXCEPT (person) FROM resolved_events WHERE person IN "
            "(SELECT cityHash64(arrayJoin({ids:Array(String)}))) ORDER BY timestamp"
        ),
        "traits": (
            "SELECT trait, value, timestamp, distinct_id FROM traits FINAL WHERE actor IN "
            "(SELECT cityHash64(arrayJoin({ids:Array(String)}))) ORDER BY trait, timestamp"
        ),
        "quarantine": (
            "SELECT * FROM quarantine FINAL WHERE user_id IN {ids:Array(String)} "
            "OR anonymous_id IN {ids:Array(String)} ORDER BY received_at"
        ),
    }
    answer: dict[str, Any] = {"person": person, "ids": ids}
    for name, text in questions.items():
        table = client.query_arrow(text, parameters=parameters)
        answer[name] = table.to_pylist(maps_as_pydicts="lossy")
    if not any(answer[name] for name in questions):
        raise InputError(f"nobody is known by the id {person!r}")
    return answer


def _bury(client: Client, ids: Sequence[str], receipt: str) -> None:
    key = _key(client)
    if not key:
        client.insert("erasure_key", [[secrets.token_hex(32)]], column_names=["key"])
        key = _key(client)
    now = time.time_ns() // 1_000_000
    client.insert(
        "erasures",
        [[digest(key, one), receipt, now] for one in ids],
        column_names=["digest", "receipt", "erased_at"],
        column_type_names=["String", "String", "DateTime64(3, 'UTC')"],
    )


def _key(client: Client) -> bytes:
    rows = client.query("SELECT key FROM erasure_key ORDER BY made_at, key LIMIT 1").result_rows
    return bytes.fromhex(rows[0][0]) if rows else b""


def _wait(client: Client, tables: Sequence[str], timeout_s: float) -> datetime:
    """Until no part, active or old, holds deleted rows."""
    deadline = time.monotonic() + timeout_s
    for table in tables:
        client.command(f"ALTER TABLE {identifier(table)} MODIFY SETTING old_parts_lifetime = 1")
    try:
        while True:
            left = client.query(
                "SELECT (SELECT count() FROM system.mutations WHERE database = currentDatabase() "
                "AND table IN {tables:Array(String)} AND NOT is_done) + (SELECT count() FROM "
                "system.parts WHERE database = currentDatabase() AND table IN "
                "{tables:Array(String)} AND (NOT active OR has_lightweight_delete))",
                parameters={"tables": list(tables)},
            ).result_rows[0][0]
            if not left:
                return datetime.now(UTC)
            if time.monotonic() > deadline:
                raise WarehouseError(
                    f"the rows are hidden, but {left} files that held them are still there after "
                    f"{timeout_s:.0f} s",
                    retryable=True,
                    hint="they go in the background; nothing more needs to be done",
                )
            time.sleep(_POLL_S)
    finally:
        for table in tables:
            client.command(f"ALTER TABLE {identifier(table)} RESET SETTING old_parts_lifetime")

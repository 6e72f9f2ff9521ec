"""Registered data: rows of a file as traits of people, or as events, in the same tables.

A row becomes an identify (`traits`) or a track (`events`) with a message id made from the source's
name and the row itself, and it is checked by the live plan as if it had come over HTTP. So an
import can be repeated: rows that are there already are left alone, and what a plan refuses is
reported with its line and its reasons, never half written. Rows are inserted in batches; an import
that dies is simply run again.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from desirepath._rows import Row, RowFile
from desirepath.errors import InputError
from desirepath_collector.warehouse.rows import EventRow
from desirepath_collector.warehouse.sql import Sql

if TYPE_CHECKING:
    from desirepath.plan import Plan, Property
    from desirepath_collector.warehouse.store import Warehouse

__all__ = ["FIELDS", "Import", "Report", "modified_ms", "read_rows"]

FIELDS: Final = ("user_id", "anonymous_id", "event", "timestamp")
"""What a mapping may name the columns of; every other column is a trait or a property."""

BATCH_ROWS: Final = 10_000
SHOWN_PROBLEMS: Final = 20

_encode: Final = msgspec.json.Encoder(enc_hook=str, decimal_format="number").encode


class Report(msgspec.Struct, frozen=True):
    """How an import went. `problems` are the first refused rows: line and reason."""

    name: str
    rows: int
    added: int
    known: int
    refused: int
    problems: tuple[tuple[int, str], ...]


class Import(msgspec.Struct, frozen=True):
    """What to make of a file's rows.

    Parameters
    ----------
    name
        Of the source.
    kind
        `traits` of a person, or `events`.
    columns
        Field -> column, for the fields in `FIELDS`.
    event
        The name of all events, where no column holds it.
    at_ms
        The time of rows that have none, in milliseconds since 1970.
    pii_key
        Key for hashing what the plan marks as personal.
    """

    name: str
    kind: Literal["traits", "events"]
    columns: Mapping[str, str]
    event: str
    at_ms: int
    pii_key: bytes

    def run(
        self,
        warehouse: Warehouse,
        path: str,
        rows: Iterator[Row],
        progress: Callable[[int], None] = lambda _: None,
    ) -> Report:
        """Import `rows` of the file `path`."""
        plan = warehouse.plan()
        validator = plan.compile(pii_key=self.pii_key) if plan else None
        counts = {"rows": 0, "added": 0, "known": 0, "refused": 0}
        problems: list[tuple[int, str]] = []
        batch: dict[str, EventRow] = {}

        def flush() -> None:
            if batch:
                new = _unknown(warehouse, batch)
                counts["known"] += len(batch) - len(new)
                token = hashlib.sha256("".join(sorted(batch)).encode()).hexdigest()
                warehouse.insert_events(new, f"import-{token}")
                counts["added"] += len(new)
                batch.clear()
            progress(counts["rows"])

        for row in rows:
            counts["rows"] += 1
            made = self._row(row, plan)
            if isinstance(made, EventRow) and validator is not None:
                kind: Any = made.kind
                verdict = validator.check(kind, made.event, bytes(made.properties))
                if verdict.decision == "accept":
                    made.properties = msgspec.Raw(verdict.payload)
                    made.violations = verdict.violations
                else:
                    made = "; ".join(map(str, verdict.violations))
            if isinstance(made, str):
                counts["refused"] += 1
                if len(problems) < SHOWN_PROBLEMS:
                    problems.append((row.line, made))
                continue
            if made.message_id in batch:
                counts["known"] += 1
            batch[made.message_id] = made
            if len(batch) >= BATCH_ROWS:
                flush()
        flush()
        report = Report(self.name, problems=tuple(problems), **counts)
        warehouse.register(report, kind=self.kind, path=path)
        return report

    def _row(self, row: Row, plan: Plan | None) -> EventRow | str:
        """The row, or why it cannot be one."""
        if row.values is None:
            return row.error
        used = set(self.columns.values())
        field = {name: row.values.get(column) for name, column in self.columns.items()}
        user, anonymous = (_text(field.get(name)) for name in ("user_id", "anonymous_id"))
        if not user and not anonymous:
            return f"no {' or '.join(sorted(used & set(row.values)) or ['id'])}"
        event = "" if self.kind == "traits" else self.event or _text(field.get("event"))
        if self.kind == "events" and not event:
            return "no name of an event"
        at = self.at_ms
        if field.get("timestamp") not in (None, ""):
            told = _milliseconds(field["timestamp"])
            if told is None:
                return f"{field['timestamp']!r} is not a time"
            at = told
        planned: Mapping[str, Property] = {}
        if plan is not None:
            entry = plan.events.get(event)
            planned = plan.traits if self.kind == "traits" else entry.properties if entry else {}
        values = {
            name: _typed(value, planned.get(name))
            for name, value in row.values.items()
            if name not in used and value not in (None, "")
        }
        content = _encode([self.name, self.kind, user, anonymous, event, field, values])
        message = str(uuid.UUID(bytes=hashlib.sha256(content).digest()[:16]))
        return EventRow(
            message_id=message,
            kind="identify" if self.kind == "traits" else "track",
            event=event,
            user_id=user,
            anonymous_id=anonymous,
            previous_id="",
            group_id="",
            session_id="",
            timestamp=at,
            original_timestamp=at,
            sent_at=at,
            received_at=at,
            source=self.name,
            plan=plan.name if plan else "",
            plan_version=str(plan.version) if plan else "",
            properties=msgspec.Raw(_encode(values)),
            context=msgspec.Raw(b"{}"),
        )


def read_rows(path: str) -> Iterator[Row]:
    """The rows of a CSV, JSON Lines or Parquet file, also gzipped (not Parquet).

    Raises
    ------
    InputError
        If there is no such file, or it is nothing of the kind.
    """
    if not path.endswith(".parquet"):
        return _closing(RowFile(path))
    import pyarrow as pa
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} cannot be read as Parquet: {reason}") from error
    return _parquet_rows(file)


def _closing(file: RowFile) -> Iterator[Row]:
    try:
        yield from file.rows()
    finally:
        file.close()


def _parquet_rows(file: Any) -> Iterator[Row]:
    line = 0
    with file:
        for batch in file.iter_batches(BATCH_ROWS):
            for values in batch.to_pylist():
                line += 1
                yield Row(line, values)


def modified_ms(path: str) -> int:
    """When the file last changed: the time of rows that have none, the same for every repeat."""
    return Path(path).stat().st_mtime_ns // 1_000_000


def _unknown(warehouse: Warehouse, batch: Mapping[str, EventRow]) -> list[EventRow]:
    found = warehouse.query(
        Sql(
            "SELECT toString(message_uuid) AS id FROM events "
            "WHERE message_uuid IN {ids:Array(UUID)}",
            {"ids": list(batch)},
        )
    )
    known = set(found.column("id").to_pylist())
    return [row for message, row in batch.items() if message not in known]


def _text(value: object) -> str:
    return "" if value is None else str(value).strip()


def _milliseconds(value: object) -> int | None:
    if isinstance(value, str):
        text = value.strip()
        if text.isdigit():
            value = int(text)
        else:
            try:
                value = datetime.fromisoformat(text)
            except ValueError:
                return None
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        return int(aware.timestamp() * 1000)
    if isinstance(value, int | float):
        # Seconds until the year 5138, milliseconds from 1973 on.
        return int(value if abs(value) > 100_000_000_000 else value * 1000)
    return None


def _typed(value: object, planned: Property | None) -> object:
    """A CSV cell as the type that the plan gives it; left as text where that does not fit."""
    if not isinstance(value, str) or planned is None:
        return value
    said = planned.schema.get("type")
    types = {said} if isinstance(said, str) else set(said or ())
    if "string" in types:
        return value
    if "boolean" in types and value.lower() in ("true", "false"):
        return value.lower() == "true"
    for name, convert in (("integer", int), ("number", float)):
        if name in types:
            try:
                return convert(value)
            except ValueError:
                continue
    return value

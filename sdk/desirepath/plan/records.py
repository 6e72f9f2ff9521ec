"""Reads recorded events from files, whatever made them.

JSON Lines or one JSON document (Segment calls, batches of them, captured HTTP requests, bare
objects with an event name in some field) and CSV with a header. A record that cannot be an event
is never dropped in silence: it comes back as `Skipped`, with its place and the reason.
"""

from __future__ import annotations

import csv
import math
import re
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from desirepath.errors import InputError
from desirepath.event import KINDS, PAGE_EVENT, SCREEN_EVENT, Kind

__all__ = ["EVENT_FIELDS", "Call", "Skipped", "read_calls"]

EVENT_FIELDS: Final = ("event", "event_name", "event_type", "eventName", "name")
"""Where a bare record's event name is looked for, in this order."""

_PROPERTY_FIELDS: Final = ("properties", "event_properties")

_ENVELOPE: Final = frozenset(
    {
        "type",
        "event",
        "event_name",
        "event_type",
        "eventName",
        "userId",
        "user_id",
        "anonymousId",
        "anonymous_id",
        "distinct_id",
        "device_id",
        "groupId",
        "group_id",
        "previousId",
        "timestamp",
        "time",
        "ts",
        "originalTimestamp",
        "receivedAt",
        "sentAt",
        "sent_at",
        "messageId",
        "message_id",
        "insert_id",
        "uuid",
        "context",
        "integrations",
        "writeKey",
        "channel",
        "_metadata",
        "user_properties",
    }
)
"""Fields of a bare record that say who, when and how; they are no properties."""

_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?")
_BOOLEANS: Final = {"true": True, "false": False, "True": True, "False": False}


class Call(msgspec.Struct, frozen=True):
    """One recorded call, in the terms of a plan.

    Parameters
    ----------
    kind
        Which of Segment's six calls.
    event
        The event's name; `Page Viewed`, `Screen Viewed` for pages and screens; else empty.
    payload
        Its properties, or the traits of an identify or group call.
    context
        Its context.
    place
        Where it was read: `file:line`.
    """

    kind: Kind
    event: str
    payload: dict[str, Any]
    context: dict[str, Any]
    place: str


class Skipped(msgspec.Struct, frozen=True):
    """A record that is no event, where it stands, and why."""

    place: str
    reason: str


def read_calls(
    paths: Sequence[str | Path], *, event_field: str | None = None, ignore: Sequence[str] = ()
) -> Iterator[Call | Skipped]:
    """Read every record of the files, one after the other.

    Parameters
    ----------
    paths
        `.csv` and `.tsv` files are read as tables, all others as JSON.
    event_field
        The field or column that names a bare record's event; default: the first of
        `EVENT_FIELDS` that it has.
    ignore
        Fields of bare records that are no properties, besides the usual ones for ids and times.

    Raises
    ------
    InputError
        A file cannot be read, or a table lacks the column `event_field`.
    """
    options = _Options(event_field, frozenset(ignore) | _ENVELOPE | {event_field or "event"})
    for path in map(Path, paths):
        try:
            if path.suffix.lower() in (".csv", ".tsv"):
                yield from _table(path, options)
            else:
                yield from _json(path, options)
        except OSError as error:
            raise InputError(f"{path}: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: not UTF-8 text (byte {error.start})") from error


class _Options(msgspec.Struct, frozen=True):
    event_field: str | None
    ignore: frozenset[str]


def _json(path: Path, options: _Options) -> Iterator[Call | Skipped]:
    with path.open("rb") as file:
        # Some tools of Windows put a byte order mark before the first record.
        skipped = len(BOM_UTF8) if file.read(len(BOM_UTF8)) == BOM_UTF8 else 0
        file.seek(skipped)
        start = file.read(1)
        file.seek(skipped)
        if start == b"[":
            yield from _document(path, file.read(), options)
            return
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            place = f"{path}:{number}"
            try:
                record = msgspec.json.decode(line)
            except (msgspec.DecodeError, RecursionError) as error:
                if number == 1 and (pretty := _decoded(path)) is not None:
                    # One indented document, not a record a line.
                    yield from _record(pretty, str(path), options)
                    return
                yield Skipped(place, f"not JSON: {error}")
                continue
            yield from _record(record, place, options)


def _document(path: Path, raw: bytes, options: _Options) -> Iterator[Call | Skipped]:
    try:
        records = msgspec.json.decode(raw, type=list[Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise InputError(
            f"{path}: not JSON: {error}", hint="A file starting with [ must be one JSON array."
        ) from error
    for index, record in enumerate(records):
        yield from _record(record, f"{path}[{index}]", options)


def _decoded(path: Path) -> Any:
    try:
        return msgspec.json.decode(path.read_bytes())
    except (msgspec.DecodeError, RecursionError):
        return None


def _record(
    record: Any, place: str, options: _Options, *, depth: int = 0
) -> Iterator[Call | Skipped]:
    if not isinstance(record, dict) or depth > 3:
        yield Skipped(place, "not a JSON object")
        return
    if isinstance(record.get("method"), str) and "headers" in record and "body" in record:
        # A captured HTTP request: what counts is what it carried.
        if isinstance(record["body"], dict):
            yield from _record(record["body"], place, options, depth=depth + 1)
        else:
            yield Skipped(place, "a captured request without a JSON body")
        return
    for key in ("batch", "events"):
        if isinstance(record.get(key), list):
            for item in record[key]:
                yield from _record(item, place, options, depth=depth + 1)
            return
    problem = _unplannable(record)
    if problem is not None:
        yield Skipped(place, problem)
        return
    yield _call(record, place, options)


def _call(record: dict[str, Any], place: str, options: _Options) -> Call | Skipped:
    kind = record.get("type")
    if kind in KINDS and options.event_field is None:
        return _segment(cast("Kind", kind), record, place)
    fields = (options.event_field,) if options.event_field else EVENT_FIELDS
    field = next((name for name in fields if isinstance(record.get(name), str)), None)
    if field is None or not record[field]:
        wanted = f"no {fields[0]!r}" if options.event_field else "no event name"
        return Skipped(place, f"{wanted}: its fields are {', '.join(sorted(record)[:8])}")
    for name in _PROPERTY_FIELDS:
        if isinstance(record.get(name), dict):
            return Call("track", record[field], record[name], _object(record, "context"), place)
    payload = {
        key: value for key, value in record.items() if key not in options.ignore and key != field
    }
    return Call("track", record[field], payload, _object(record, "context"), place)


def _segment(kind: Kind, record: dict[str, Any], place: str) -> Call | Skipped:
    context = _object(record, "context")
    if kind in ("identify", "group"):
        return Call(kind, "", _object(record, "traits"), context, place)
    if kind == "alias":
        return Call(kind, "", {}, context, place)
    payload = _object(record, "properties")
    if kind != "track":
        return Call(kind, PAGE_EVENT if kind == "page" else SCREEN_EVENT, payload, context, place)
    event = record.get("event")
    if not isinstance(event, str) or not event:
        return Skipped(place, "a track call without an event name")
    return Call(kind, event, payload, context, place)


def _object(record: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = record.get(key)
    return value if isinstance(value, dict) else {}


def _unplannable(record: Any) -> str | None:
    """Why no plan can admit this record; None if one can."""
    stack = [(record, 1)]
    while stack:
        value, depth = stack.pop()
        if depth > 60:
            return "nested too deeply"
        if isinstance(value, dict):
            stack.extend((item, depth + 1) for item in value.values())
        elif isinstance(value, list):
            stack.extend((item, depth + 1) for item in value)
        elif isinstance(value, int) and not -(2**63) <= value < 2**64:
            return f"an integer beyond 64 bits: {str(value)[:40]}"
        elif isinstance(value, float) and not math.isfinite(value):
            return "a number that is not finite"
    return None


def _table(path: Path, options: _Options) -> Iterator[Call | Skipped]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    names, readers = _columns(path, delimiter)
    if options.event_field is not None and options.event_field not in names:
        raise InputError(
            f"{path}: no column {options.event_field!r}", hint=f"Its columns: {', '.join(names)}"
        )
    for number, row in _rows(path, delimiter):
        record = {
            name: reader(cell)
            for name, reader, cell in zip(names, readers, row, strict=False)
            if cell != "" and name
        }
        for field in (options.event_field, *EVENT_FIELDS):
            if field in record:
                # A column of numbers can name events, too.
                record[field] = str(row[names.index(field)])
        yield _call(record, f"{path}:{number}", options)


def _rows(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter)
        next(reader, None)
        try:
            for row in reader:
                if row:
                    yield reader.line_num, row
        except csv.Error as error:
            raise InputError(f"{path}:{reader.line_num}: not a table: {error}") from error


def _columns(path: Path, delimiter: str) -> tuple[list[str], list[Any]]:
    """The columns' names and how to read a cell of each: by what all cells of it look like."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        names = next(csv.reader(file, delimiter=delimiter), [])
    if not names:
        raise InputError(f"{path}: empty", hint="A table needs a line of column names.")
    looks: list[set[str]] = [set() for _ in names]
    for _, row in _rows(path, delimiter):
        for look, cell in zip(looks, row, strict=False):
            if cell != "" and "text" not in look:
                look.add(_look(cell))
    return names, [_reader(look) for look in looks]


def _look(cell: str) -> str:
    if _INTEGER.fullmatch(cell):
        return "integer"
    if _NUMBER.fullmatch(cell) and math.isfinite(float(cell)):
        return "number"
    return "boolean" if cell in _BOOLEANS else "text"


def _reader(look: set[str]) -> Any:
    if look == {"integer"}:
        return int
    if look and look <= {"integer", "number"}:
        return float
    return _BOOLEANS.__getitem__ if look == {"boolean"} else str

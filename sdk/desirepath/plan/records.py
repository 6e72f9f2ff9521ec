"""Reads recorded events from files, whatever made them.

JSON Lines or one JSON document (Segment calls, batches of them, captured HTTP requests, bare
objects) and tables with a header. Bare objects and the rows of tables are understood as
`desirepath send` understands them: the same names, the same mapping, the same fields left out, so
that a plan drafted from a file fits what sending the file will bring. A record that cannot be an
event is never dropped in silence: it comes back as `Skipped`, with its place and the reason.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from desirepath._rows import Row, RowFile
from desirepath.errors import InputError
from desirepath.event import KINDS, PAGE_EVENT, SCREEN_EVENT, Kind

__all__ = ["EVENT_FIELDS", "Call", "Skipped", "read_calls"]

EVENT_FIELDS: Final = ("event", "event_name", "event_type", "eventName")
"""Where a bare record's event name is looked for, in this order, if no mapping says it."""

_USUAL: Final = frozenset(
    {"type", "event", "user_id", "userId", "anonymous_id", "anonymousId", "timestamp"}
    | {"message_id", "messageId", "group_id", "groupId", "previous_id", "previousId"}
    | {"session_id", "sessionId", "properties", "traits", "context"}
)
"""Names that `desirepath send` understands without a mapping; they are no properties."""

_ENVELOPE: Final = frozenset(
    {"channel", "integrations", "originalTimestamp", "receivedAt", "sentAt", "version"}
    | {"writeKey", "name", "category", "_metadata"}
)
"""What Segment's clients put around a call; no properties either."""

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
    paths: Sequence[str | Path],
    *,
    mapping: Mapping[str, str] | None = None,
    event: str | None = None,
    ignore: Sequence[str] = (),
) -> Iterator[Call | Skipped]:
    """Read every record of the files, one after the other.

    Parameters
    ----------
    paths
        `.csv`, `.tsv`, `.jsonl`, `.json`, each also `.gz`.
    mapping
        Which field or column of a bare record holds what, as in `desirepath send --map`:
        `{"event": "page", "timestamp": "ts"}`. What is mapped is no property.
    event
        The name of every bare record's event, where no field holds it.
    ignore
        Fields of bare records that are no properties either.

    Raises
    ------
    InputError
        A file cannot be read, or a table lacks a mapped column.
    """
    options = _Options(dict(mapping or {}), event, frozenset(ignore))
    for path in map(str, paths):
        try:
            yield from _file(path, options)
        except OSError as error:
            raise InputError(f"{path}: {error.strerror or error}") from error


class _Options(msgspec.Struct, frozen=True):
    mapping: dict[str, str]
    event: str | None
    ignore: frozenset[str]

    @property
    def mapped(self) -> frozenset[str]:
        """The fields that the mapping has taken."""
        return frozenset({source.partition(".")[0] for source in self.mapping.values()})


def _file(path: str, options: _Options) -> Iterator[Call | Skipped]:
    document = _document(path)
    if document is not None:
        for index, record in enumerate(document):
            place = f"{path}[{index}]" if len(document) > 1 else path
            yield from _record(record, place, options)
        return
    with contextlib.closing(RowFile(path)) as file:
        if file.columns is not None:
            yield from _table(path, file, options)
            return
        for row in file.rows():
            if row.values is None:
                yield Skipped(f"{path}:{row.line}", row.error)
            else:
                yield from _record(row.values, f"{path}:{row.line}", options)


def _document(path: str) -> list[Any] | None:
    """The records of one JSON document; None if the file is lines or a table."""
    if not path.endswith(".json"):
        return None
    raw = Path(path).read_bytes().removeprefix(b"\xef\xbb\xbf")
    first, _, more = raw.lstrip().partition(b"\n")
    if not first.startswith(b"["):
        with contextlib.suppress(msgspec.DecodeError, RecursionError):
            msgspec.json.decode(first)
            if more.strip():
                return None  # a whole record on its first line: JSON Lines
    try:
        found = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        if first.startswith(b"["):
            raise InputError(f"{path}: not JSON: {error}") from error
        return None
    return found if isinstance(found, list) else [found]


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
    else:
        yield _call(record, place, options, row=depth == 0)


def _call(record: dict[str, Any], place: str, options: _Options, *, row: bool) -> Call | Skipped:
    """A record as a call; `row`: it stands alone in its line, as `desirepath send` reads it."""
    kind = _dig(record, options.mapping.get("type", "type"))
    context = {**_object(record, "context"), **_mapped(options, record, "context")}
    if kind == "alias":
        return Call("alias", "", {}, context, place)
    if kind in ("identify", "group"):
        payload = _payload(record, ("traits",), options, row=row)
        return Call(cast("Kind", kind), "", payload, context, place)
    payload = _payload(record, ("properties", "event_properties"), options, row=row)
    if kind in ("page", "screen"):
        name = PAGE_EVENT if kind == "page" else SCREEN_EVENT
        return Call(cast("Kind", kind), name, payload, context, place)
    event = _event(record, options)
    if event is None:
        wanted = options.mapping.get("event")
        what = f"no event name in {wanted!r}" if wanted else "no event name"
        return Skipped(place, f"{what}: its fields are {', '.join(sorted(record)[:8])}")
    return Call("track", event, payload, context, place)


def _payload(
    record: Mapping[str, Any], heads: Sequence[str], options: _Options, *, row: bool
) -> dict[str, Any]:
    """Properties or traits: in an object of their own, side by side with the rest, or both."""
    own = next((record[head] for head in heads if isinstance(record.get(head), dict)), None)
    enveloped = "messageId" in record or record.get("type") in KINDS
    beside: dict[str, Any] = {}
    if own is None or row:
        beside = {} if enveloped and not row else _flat(record, options, enveloped=enveloped)
        beside.pop("event_properties", None)
    return {**beside, **_mapped(options, record, heads[0]), **(own or {})}


def _event(record: Mapping[str, Any], options: _Options) -> str | None:
    fields = [options.mapping["event"]] if "event" in options.mapping else EVENT_FIELDS
    for field in fields:
        value = _dig(record, field)
        if value not in (None, "") and not isinstance(value, dict | list):
            return str(value)
    return options.event


def _flat(record: Mapping[str, Any], options: _Options, *, enveloped: bool) -> dict[str, Any]:
    """The fields of a record that `desirepath send` makes properties of."""
    taken = options.mapped | options.ignore | _USUAL | (_ENVELOPE if enveloped else frozenset())
    if "event" not in options.mapping:
        taken |= {next((field for field in EVENT_FIELDS if record.get(field)), "event")}
    return {
        key: value
        for key, value in record.items()
        # What is empty says nothing.
        if key not in taken and value is not None and value != ""
    }


def _mapped(options: _Options, record: Mapping[str, Any], head: str) -> dict[str, Any]:
    """What the mapping puts into the properties or the context under another name."""
    found: dict[str, Any] = {}
    for target, source in options.mapping.items():
        if target.startswith(f"{head}."):
            value = _dig(record, source)
            if value not in (None, ""):
                found[target.removeprefix(f"{head}.")] = value
    return found


def _dig(record: Mapping[str, Any], path: str) -> Any:
    if path in record:
        return record[path]
    value: Any = record
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


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


def _table(path: str, file: RowFile, options: _Options) -> Iterator[Call | Skipped]:
    columns = file.columns or []
    for target, column in options.mapping.items():
        if column not in columns:
            raise InputError(
                f"{path}: no column {column!r} for {target}",
                hint=f"Its columns: {', '.join(columns)}",
            )
    # Standard input cannot be read twice.
    kept = list(file.rows()) if path == "-" else None
    readers = _readers(columns, file.rows() if kept is None else kept)
    if kept is not None:
        yield from _rows(path, kept, readers, options)
        return
    with contextlib.closing(RowFile(path)) as again:
        yield from _rows(path, again.rows(), readers, options)


def _rows(
    path: str, rows: Iterator[Row] | list[Row], readers: Mapping[str, Any], options: _Options
) -> Iterator[Call | Skipped]:
    named = {options.mapping.get("event", ""), *EVENT_FIELDS}
    for row in rows:
        place = f"{path}:{row.line}"
        if row.values is None:
            yield Skipped(place, row.error)
            continue
        record = {
            # A column of numbers can name events, too.
            name: cell if name in named else readers[name](cell)
            for name, cell in row.values.items()
            if cell != "" and name
        }
        yield _call(record, place, options, row=True)


def _readers(columns: Sequence[str], rows: Iterator[Row] | list[Row]) -> dict[str, Any]:
    """How to read a cell of each column: by what all cells of it look like."""
    looks: dict[str, set[str]] = {name: set() for name in columns}
    for row in rows:
        for name, cell in (row.values or {}).items():
            if cell != "" and "text" not in looks[name]:
                looks[name].add(_look(cell))
    return {name: _reader(look) for name, look in looks.items()}


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

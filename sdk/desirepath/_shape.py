"""A row of a file becomes a message of the Segment specification.

What is mapped goes to its place; what is not becomes a property (a trait, for identify and
group). The message id is made from the file's name, the line's number and the message itself, so
that sending a file twice stores its events once, and a corrected mapping makes new events. So is
the time of a row without one: it is the file's, not the moment of sending.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from desirepath import _values
from desirepath.errors import InputError
from desirepath.event import KINDS, PAGE_EVENT, SCREEN_EVENT

if TYPE_CHECKING:
    from desirepath.plan import Plan, Property

__all__ = ["BadRow", "Shape", "parse_map", "parse_time"]

_FIELDS: Final = {
    "type": "type",
    "event": "event",
    "user_id": "userId",
    "anonymous_id": "anonymousId",
    "timestamp": "timestamp",
    "message_id": "messageId",
    "group_id": "groupId",
    "previous_id": "previousId",
    "name": "name",
    "category": "category",
    "session_id": "context.sessionId",
    "properties": "properties",
    "traits": "traits",
    "context": "context",
}
"""Target of a mapping -> where it stands in the message."""

_USUAL: Final = {
    **{name: name for name in _FIELDS if name not in ("name", "category")},
    **{wire: name for name, wire in _FIELDS.items() if "." not in wire and wire != name},
    "sessionId": "session_id",
}
"""Names that are understood without a mapping: snake_case and the wire's camelCase."""

_ENVELOPE: Final = frozenset(
    {"channel", "integrations", "originalTimestamp", "receivedAt", "sentAt", "version", "writeKey"}
)
"""What other clients put around a message: no properties."""

_NUMBER: Final = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?")
_PLAIN_INTEGER: Final = re.compile(r"-?(0|[1-9]\d{0,17})")
_PLAIN_NUMBER: Final = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
_TIME_FORMATS: Final = ("%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%Y/%m/%d", "%Y-%m-%d %H:%M:%S %Z")

_json: Final = msgspec.json.Encoder(order="sorted", decimal_format="number").encode


class BadRow(Exception):
    """A row that is no event; the message says why."""


def parse_map(words: Sequence[str]) -> dict[str, str]:
    """`["user_id=who,event=what"]` as {"user_id": "who", "event": "what"}.

    A target is a field, `properties.NAME` or `context.NAME`; a source is a column, or the dotted
    path of a value in a JSON row.
    """
    found: dict[str, str] = {}
    for pair in ",".join(words).split(","):
        if not pair.strip():
            continue
        target, equals, source = (part.strip() for part in pair.partition("="))
        head = target.partition(".")[0]
        if not equals or not source:
            raise InputError(f"--map: {pair!r} is not of the form user_id=COLUMN")
        if target not in _FIELDS and not (
            head in ("properties", "traits", "context") and head != target
        ):
            raise InputError(
                f"--map: {target!r} is nothing an event has",
                hint=f"one of {', '.join(_FIELDS)}, properties.NAME, traits.NAME, context.NAME",
            )
        found[target] = source
    return found


def parse_time(value: object, zone: tzinfo, time_format: str | None = None) -> datetime:
    """A moment in any of the usual notations; one without a zone is in `zone`.

    ISO 8601 with T or a space, RFC 2822, slashes from the year down, and seconds, milli-, micro-
    or nanoseconds since 1970, told apart by their size.

    Raises
    ------
    ValueError
        If it is none of these.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("not a time")
    if isinstance(value, str):
        text = value.strip()
        if time_format is not None:
            return _in_zone(datetime.strptime(text, time_format), zone)  # noqa: DTZ007
        try:
            return _in_zone(datetime.fromisoformat(text), zone)
        except ValueError:
            pass
        if not _NUMBER.fullmatch(text):
            return _in_zone(_other_time(text), zone)
        value = float(text) if "." in text or "e" in text.lower() else int(text)
    seconds = _seconds(value)
    return datetime.fromtimestamp(seconds, UTC)


class Shape:
    """How the rows of one file become messages.

    Parameters
    ----------
    name
        The file's name, part of the message ids.
    mapping
        As `parse_map` returns it.
    columns
        The file's columns, where it has a header; a mapping to another is refused at once.
    event
        The name of every event, where no column holds it.
    zone
        Of times that name none.
    modified
        The time of rows that have none; without it they stay so.
    time_format
        As of `strptime`, where the times are in none of the usual notations.
    infer_types
        Whether cells that look like numbers and booleans are such.
    plan
        Says the types of cells.
    """

    def __init__(
        self,
        name: str,
        mapping: Mapping[str, str],
        *,
        columns: Sequence[str] | None = None,
        event: str | None = None,
        zone: tzinfo = UTC,
        modified: datetime | None = None,
        time_format: str | None = None,
        infer_types: bool = False,
        plan: Plan | None = None,
    ) -> None:
        self._name = name.encode("utf-8", "surrogateescape")
        self._event = event
        self._zone = zone
        self._modified = None if modified is None else _wire_time(modified)
        self.untimed = 0
        """How many rows had no time."""
        self._time_format = time_format
        self._infer = infer_types
        self._plan = plan
        self._textual = columns is not None
        self._fields: list[tuple[str, list[str]]] = []
        self._parts: list[tuple[list[str], list[str]]] = []
        self._mapped: set[str] = set()
        for target, source in mapping.items():
            path = [source] if columns is not None else source.split(".")
            if columns is not None and source not in columns:
                raise InputError(
                    f"there is no column {source!r} for {target} in {name}",
                    hint=f"its columns are: {', '.join(columns)}",
                )
            self._mapped.add(path[0])
            if target in _FIELDS:
                self._fields.append((target, path))
            else:
                self._parts.append((target.split("."), path))
        self._usual = {source: target for source, target in _USUAL.items() if target not in mapping}
        if columns is not None:
            self._complete(name, mapping, columns)

    def message(self, line: int, row: Mapping[str, Any]) -> tuple[bytes, dict[str, Any]]:
        """The message of a row, as JSON with its id, and as the object without it.

        Raises
        ------
        BadRow
            If it names no event, nobody, or no time that can be read.
        """
        found: dict[str, Any] = {}
        rest: dict[str, Any] = {}
        usual = self._usual
        enveloped = "messageId" in row or row.get("type") in KINDS
        for key, value in row.items():
            if key in self._mapped or value is None or value == "":
                continue
            target = usual.get(key)
            if target is not None and self._fits(target, value):
                found[target] = value
            elif not (enveloped and (key in _ENVELOPE or key in ("name", "category"))):
                rest[key] = value
        if enveloped:
            found.update({key: row[key] for key in ("name", "category") if row.get(key)})
            moment = row.get("originalTimestamp")
            if moment and "timestamp" not in found:
                found["timestamp"] = moment
        for target, path in self._fields:
            value = _dig(row, path)
            if value is not None and value != "":
                found[target] = value
        message = self._message(found, rest)
        for place, path in self._parts:
            value = _dig(row, path)
            if value is not None and value != "":
                _put(message, place, value)
        name = str(message.get("event") or _named(message["type"]))
        body = message.get("properties") or message.get("traits")
        if body and self._textual:
            self._type(name, message["type"], body)
        record = self._encode(message)
        message_id = found.get("message_id") or self._id(line, record)
        head = b'{"messageId":' + _json(str(message_id))
        if self._modified is not None and "timestamp" not in message:
            # Not part of the id: a copy of the file may have another time.
            self.untimed += 1
            message["timestamp"] = self._modified
            head += b',"timestamp":' + _json(self._modified)
        return head + b"," + record[1:], message

    def _fits(self, target: str, value: Any) -> bool:
        """Whether a value under a usual name is what the name says."""
        if target in ("properties", "traits", "context"):
            return isinstance(value, dict)
        if target == "type":
            return value in KINDS
        return not isinstance(value, dict | list)

    def _message(self, found: dict[str, Any], rest: dict[str, Any]) -> dict[str, Any]:
        kind = found.get("type", "track")
        if kind not in KINDS:
            raise BadRow(f"the type {kind!r} is none of {', '.join(KINDS)}")
        message: dict[str, Any] = {"type": kind}
        if kind == "track":
            event = found.get("event") or self._event
            if not event:
                raise BadRow("it names no event")
            message["event"] = str(event)
        for target in ("user_id", "anonymous_id", "group_id", "previous_id", "name", "category"):
            if target in found:
                message[_FIELDS[target]] = _identifier(found[target])
        if "userId" not in message and "anonymousId" not in message:
            raise BadRow("it names nobody: neither user_id nor anonymous_id")
        if "timestamp" in found:
            try:
                moment = parse_time(found["timestamp"], self._zone, self._time_format)
                message["timestamp"] = _wire_time(moment)
            except (ValueError, OverflowError, OSError):
                raise BadRow(f"{found['timestamp']!r} is no time") from None
        root = "traits" if kind in ("identify", "group") else "properties"
        message[root] = {**rest, **_object(found, root)}
        other = "properties" if root == "traits" else "traits"
        if other in found and not message[root]:
            message[root] = _object(found, other)
        message["context"] = _object(found, "context")
        if "session_id" in found:
            message["context"]["sessionId"] = str(found["session_id"])
        return message

    def _type(self, event: str, kind: str, body: dict[str, Any]) -> None:
        """Cells are text; the plan, or `--infer-types`, says which of them are more."""
        planned: Mapping[str, Property] = {}
        if self._plan is not None:
            if kind in ("identify", "group"):
                planned = self._plan.traits if kind == "identify" else self._plan.groups
            elif event in self._plan.events:
                planned = self._plan.events[event].properties
        for name, value in body.items():
            if not isinstance(value, str):
                continue
            if name in planned:
                body[name] = _as_type(value, planned[name].schema.get("type"))
            elif self._infer:
                body[name] = _inferred(value)

    def _encode(self, message: dict[str, Any]) -> bytes:
        try:
            return _json(message)
        except (UnicodeEncodeError, msgspec.MsgspecError, TypeError):
            return _values.encode(message, "")[0]

    def _id(self, line: int, record: bytes) -> str:
        digest = hashlib.blake2b(record, digest_size=16, key=self._name[:64])
        digest.update(b"\n%d" % line)
        return digest.hexdigest()

    def _complete(self, name: str, mapping: Mapping[str, str], columns: Sequence[str]) -> None:
        """Refuse a file without the columns that every row needs."""
        have = {*mapping, *(self._usual[column] for column in columns if column in self._usual)}
        hint = f"name it with --map, e.g. --map {{}}=COLUMN; the columns are: {', '.join(columns)}"
        if not have & {"user_id", "anonymous_id"}:
            raise InputError(f"no column of {name} says who", hint=hint.format("user_id"))
        if self._event is None and not have & {"event", "type"}:
            raise InputError(
                f"no column of {name} names the event",
                hint=hint.format("event") + "; or give one name to all by --event NAME",
            )


def _named(kind: str) -> str:
    return {"page": PAGE_EVENT, "screen": SCREEN_EVENT}.get(kind, "")


def _identifier(value: Any) -> str:
    # 7.0 is how many a tool writes the id 7.
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value)


def _object(found: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = found.get(name)
    if value is None:
        return {}
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except msgspec.MsgspecError:
            value = None
    if not isinstance(value, dict):
        raise BadRow(f"its {name} are no object")
    return dict(value)


def _dig(row: Mapping[str, Any], path: Sequence[str]) -> Any:
    value: Any = row
    for step in path:
        if not isinstance(value, dict):
            return None
        value = value.get(step)
    return value


def _put(message: dict[str, Any], place: Sequence[str], value: Any) -> None:
    for step in place[:-1]:
        below = message.setdefault(step, {})
        if not isinstance(below, dict):
            raise BadRow(f"{'.'.join(place)}: {step} is a value already")
        message = below
    message[place[-1]] = value


def _wire_time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _in_zone(moment: datetime, zone: tzinfo) -> datetime:
    return moment.replace(tzinfo=zone) if moment.tzinfo is None else moment


def _other_time(text: str) -> datetime:
    for time_format in _TIME_FORMATS:
        try:
            return datetime.strptime(text, time_format)  # noqa: DTZ007 (the caller adds the zone)
        except ValueError:
            continue
    try:
        return parsedate_to_datetime(text)
    except (ValueError, TypeError):
        raise ValueError("not a time") from None


def _seconds(value: float) -> float:
    size = abs(value)
    for unit in (1e17, 1e14, 1e11):
        # 1e11 seconds are in the year 5138, 1e11 milliseconds in 1973.
        if size >= unit:
            return value / (unit / 1e8)
    return value


def _as_type(value: str, wanted: Any) -> Any:
    kinds = wanted if isinstance(wanted, list) else [wanted]
    if "string" in kinds:
        return value
    typed = _inferred(value)
    if typed is value and {"number", "integer"} & set(kinds) and _NUMBER.fullmatch(value):
        typed = float(value) if "." in value else int(value)
    if ("array" in kinds or "object" in kinds) and value[:1] in ("[", "{"):
        try:
            return msgspec.json.decode(value)
        except msgspec.MsgspecError:
            return value
    if isinstance(typed, bool):
        return typed if "boolean" in kinds else value
    return typed if {"number", "integer"} & set(kinds) else value


def _inferred(value: str) -> Any:
    lowered = value.lower()
    if lowered in ("true", "false"):
        return lowered == "true"
    # No leading zeros and not beyond 18 digits: those are ids.
    if _PLAIN_INTEGER.fullmatch(value):
        return int(value)
    if _PLAIN_NUMBER.fullmatch(value) and len(value) < 18 and ("." in value or "e" in lowered):
        return float(value)
    return value

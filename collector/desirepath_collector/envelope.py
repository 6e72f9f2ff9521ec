"""A request's JSON, taken apart into one `Wire` an event without touching what is inside it.

Properties, traits and contexts stay raw bytes of the body. The common body is decoded in one
call. When that fails, the batch is decoded event by event, and when even its JSON is broken, it
is split at its commas by an iterative scanner: whatever is wrong with one event - a field of
another type, a lone surrogate, nesting of depth 100,000 - is that event's own fault, told by
`Batch.faults`, and its neighbours pass. Only a body whose brackets do not match is refused.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from desirepath.plan.violations import FOUND_LIMIT, Violation
from desirepath_collector.http.answers import Refusal

__all__ = ["EMPTY", "Batch", "Wire", "decode_batch", "decode_single", "parse_time", "to_ms"]

EMPTY: Final = msgspec.Raw(b"")
_Id = str | int | None


class Wire(msgspec.Struct, rename="camel", gc=False):
    """One call as Segment's clients write it; fields that nothing reads are skipped."""

    type: str | None = None
    message_id: _Id = None
    user_id: _Id = None
    anonymous_id: _Id = None
    previous_id: _Id = None
    group_id: _Id = None
    event: str | None = None
    name: str | None = None
    category: str | None = None
    properties: msgspec.Raw = EMPTY
    traits: msgspec.Raw = EMPTY
    context: msgspec.Raw = EMPTY
    timestamp: datetime | None = None
    original_timestamp: datetime | None = None
    sent_at: datetime | None = None
    write_key: str | None = None


class Batch:
    """The events of a request.

    Attributes
    ----------
    wires
        The events. One with a fault holds what of it could be read.
    faults
        Index to violations of the events that could not be read as they should be.
    sent_at, write_key, context
        What the batch says for all of them.
    """

    __slots__ = ("_body", "_raws", "context", "faults", "sent_at", "single", "wires", "write_key")

    def __init__(self, body: bytes, wires: list[Wire], *, single: bool = False) -> None:
        self.wires = wires
        self.faults: dict[int, tuple[Violation, ...]] = {}
        self.sent_at: datetime | None = None
        self.write_key: str | None = None
        self.context: msgspec.Raw = EMPTY
        self.single = single
        self._body = body
        self._raws: list[bytes] | None = None

    def raw(self, index: int) -> bytes:
        """An event's own bytes, cut out of the body when first asked for."""
        if self._raws is None:
            if self.single:
                self._raws = [self._body]
            else:
                self._raws = [bytes(raw) for raw in _RAW_BATCH.decode(self._body).batch]
        return self._raws[index]


class _WireBatch(msgspec.Struct, rename="camel", gc=False):
    batch: list[Wire]
    sent_at: datetime | None = None
    write_key: str | None = None
    context: msgspec.Raw = EMPTY


class _RawBatch(msgspec.Struct, rename="camel", gc=False):
    batch: list[msgspec.Raw]
    sent_at: msgspec.Raw = EMPTY
    write_key: msgspec.Raw = EMPTY
    context: msgspec.Raw = EMPTY


_WIRE: Final = msgspec.json.Decoder(Wire)
_WIRE_BATCH: Final = msgspec.json.Decoder(_WireBatch)
_RAW_BATCH: Final = msgspec.json.Decoder(_RawBatch)
_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ANY: Final = msgspec.json.Decoder()

# All that decoding a hostile document raises; ValidationError is a DecodeError.
_BROKEN: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def decode_batch(body: bytes) -> Batch:
    """Take a batch request apart.

    Raises
    ------
    Refusal
        `malformed`, where the body is not an object with an array `batch`.
    """
    # msgspec does not look into raw parts, so bad UTF-8 there would surface later.
    if body.isascii() or _is_utf8(body):
        try:
            found = _WIRE_BATCH.decode(body)
        except _BROKEN:
            pass
        else:
            batch = Batch(body, found.batch)
            batch.sent_at = found.sent_at
            batch.write_key = found.write_key
            batch.context = found.context
            return batch
    return _decode_one_by_one(body)


def decode_single(body: bytes) -> Batch:
    """Take a request with one call apart.

    Raises
    ------
    Refusal
        `malformed`, where the body is not a JSON object.
    """
    if not (body.isascii() or _is_utf8(body)):
        raise Refusal("malformed", "the body is not UTF-8")
    try:
        return Batch(body, [_WIRE.decode(body)], single=True)
    except msgspec.ValidationError:
        wire, faults = _salvage(body)
    except _BROKEN as error:
        raise _malformed(error) from None
    if not faults or faults[0].pointer == "":
        raise Refusal("malformed", "the body must be one JSON object", pointer="")
    batch = Batch(body, [wire], single=True)
    batch.faults[0] = faults
    return batch


def parse_time(value: Any) -> datetime | None:
    """A time as clients write it: RFC 3339, ISO 8601, or seconds or milliseconds since 1970."""
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value.strip())
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        if isinstance(value, int | float) and not isinstance(value, bool):
            # 1e11 as seconds is the year 5138, as milliseconds March 1973.
            return datetime.fromtimestamp(value / 1000 if abs(value) > 1e11 else value, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    return None


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def to_ms(moment: datetime) -> int:
    """Milliseconds since the Unix epoch; a time without zone is UTC."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        return round(moment.timestamp() * 1000)
    except (OverflowError, ValueError):
        # Within a day of year 1 or 9999 the zone's offset leaves datetime's range.
        return round((moment.replace(tzinfo=UTC) - _EPOCH).total_seconds() * 1000)


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _malformed(error: Exception) -> Refusal:
    if isinstance(error, RecursionError):
        return Refusal("malformed", "the JSON is nested too deeply")
    return Refusal("malformed", f"the body is not valid JSON: {error}")


def _decode_one_by_one(body: bytes) -> Batch:
    try:
        shell = _RAW_BATCH.decode(body)
        pieces = [bytes(raw) for raw in shell.batch]
    except msgspec.ValidationError as error:
        raise Refusal(
            "malformed",
            f"the body must be an object with an array `batch`: {error}",
            pointer="/batch",
        ) from None
    except _BROKEN as error:
        split = _split(body)
        if split is None:
            raise _malformed(error) from None
        pieces, rest = split
        try:
            shell = _RAW_BATCH.decode(rest)
        except _BROKEN as worse:
            raise _malformed(worse) from None
    batch = Batch(body, [])
    batch._raws = pieces
    batch.sent_at = parse_time(_value(shell.sent_at))
    key = _value(shell.write_key)
    batch.write_key = key if isinstance(key, str) else None
    batch.context = shell.context
    for index, piece in enumerate(pieces):
        try:
            if not piece.isascii():
                piece.decode()
            wire = _WIRE.decode(piece)
        except _BROKEN:
            wire, faults = _salvage(piece)
            if faults:
                batch.faults[index] = faults
        batch.wires.append(wire)
    return batch


_TIMES: Final = {
    "timestamp": "timestamp",
    "originalTimestamp": "original_timestamp",
    "sentAt": "sent_at",
}
_IDS: Final = {
    "messageId": "message_id",
    "userId": "user_id",
    "anonymousId": "anonymous_id",
    "previousId": "previous_id",
    "groupId": "group_id",
}
_TEXTS: Final = {"type": "type", "event": "event", "name": "name", "category": "category"}
_RAWS: Final = ("properties", "traits", "context")


def _salvage(piece: bytes) -> tuple[Wire, tuple[Violation, ...]]:
    """Read what can be read of an event, with a violation for each field that cannot."""
    try:
        fields = _OBJECT.decode(piece.decode())
    except msgspec.ValidationError:
        return Wire(), (Violation("type", "", "object", _shown(piece)),)
    except _BROKEN as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        return Wire(), (Violation("malformed", "", "valid JSON", reason[:FOUND_LIMIT]),)
    wire, faults = Wire(), []
    for key, raw in fields.items():
        if key in _RAWS:
            setattr(wire, key, raw)
            continue
        value = _value(raw)
        if value is None:
            continue
        if key in _TIMES:
            moment = parse_time(value)
            setattr(wire, _TIMES[key], moment)
            if moment is None:
                faults.append(Violation("format", f"/{key}", "date-time", _shown(bytes(raw))))
        elif key in _IDS:
            if isinstance(value, str | int) and not isinstance(value, bool):
                setattr(wire, _IDS[key], value)
            else:
                faults.append(Violation("type", f"/{key}", "string", _shown(bytes(raw))))
        elif key in _TEXTS:
            if isinstance(value, str):
                setattr(wire, _TEXTS[key], value)
            elif key in ("type", "event"):
                faults.append(Violation("type", f"/{key}", "string", _shown(bytes(raw))))
        elif key == "writeKey" and isinstance(value, str):
            wire.write_key = value
    return wire, tuple(faults)


def _value(raw: msgspec.Raw) -> Any:
    if not raw:
        return None
    try:
        return _ANY.decode(raw)
    except _BROKEN:
        return None


def _shown(raw: bytes) -> str:
    return raw[: FOUND_LIMIT * 4].decode("utf-8", "replace")[:FOUND_LIMIT]


# Strings are matched whole and possessively, so brackets inside them are not seen and no input
# makes the matcher go back.
_TOKEN: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[\]{},]', re.DOTALL)


def _split(body: bytes) -> tuple[list[bytes], bytes] | None:
    """The elements of the top level's `batch` array, and the body without them.

    None where brackets do not match or there is no such array.
    """
    stack = bytearray()
    key = b""
    pieces: list[bytes] = []
    begin = start = end = 0
    for token in _TOKEN.finditer(body):
        char = body[token.start()]
        if char == 0x22:  # a string
            if len(stack) == 1:
                key = token.group()
        elif char in b"{[":
            if len(stack) == 1 and char == 0x5B and key == b'"batch"' and not end:
                begin = start = token.end()
            stack.append(char)
        elif char == 0x2C:  # a comma
            if len(stack) == 1:
                key = b""
            elif len(stack) == 2 and begin and not end:
                pieces.append(body[start : token.start()])
                start = token.end()
        else:
            # An opening bracket and its closing one differ by two, in ASCII.
            if not stack or char - stack.pop() != 2:
                return None
            if len(stack) == 1 and begin and not end:
                end = token.start()
                last = body[start:end]
                if pieces or last.strip():
                    pieces.append(last)
    if stack or not end:
        return None
    return pieces, body[:begin] + body[end:]

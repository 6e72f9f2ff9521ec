"""Rows to Arrow: the bytes that an insert sends.

Only the envelope becomes Python-made columns. Properties and context travel as JSON and are split
into maps by the engine (EPHEMERAL columns), off Python's lock. Nested context is flattened here,
since most events of a batch share one context and it is done once for all of them.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from desirepath_collector.warehouse.rows import EventRow, QuarantineRow

__all__ = ["EVENT_COLUMNS", "QUARANTINE_COLUMNS", "arrow_stream", "events", "flatten", "quarantine"]

EVENT_COLUMNS: Final = (
    "raw_message_id", "kind", "event", "user_id", "anonymous_id", "previous_id", "group_id",
    "session_id", "original_timestamp", "skew_ms", "sent_after_ms", "transit_ms", "source", "plan",
    "plan_version", "properties_json", "context_json", "violations",
)  # fmt: skip
QUARANTINE_COLUMNS: Final = (
    "message_id", "kind", "event", "user_id", "anonymous_id", "received_at", "sent_at", "source",
    "plan", "plan_version", "violations", "payload",
)  # fmt: skip

# What DateTime64(3) can hold: 1900-01-01 to 2299-12-31. Beyond it would wrap round silently.
_EARLIEST_MS: Final = -2_208_988_800_000
_LATEST_MS: Final = 10_413_791_999_999

_TIME: Final = pa.timestamp("ms", tz="UTC")
_VIOLATION: Final = pa.struct(
    [("code", pa.string()), ("pointer", pa.string()), ("expected", pa.string()),
     ("found", pa.string())]
)  # fmt: skip
_TIMES: Final = frozenset({"sent_at", "received_at"})

_decode_context: Final = msgspec.json.Decoder(dict[str, Any])
_encode: Final = msgspec.json.Encoder()


def events(rows: Sequence[EventRow]) -> pa.Table:
    """The columns of `rows`, ready for the table `events`."""
    contexts: dict[bytes, bytes] = {}

    def flat(raw: bytes) -> bytes:
        done = contexts.get(raw)
        if done is None:
            done = contexts[raw] = flatten(raw)
        return done

    original, corrected, sent, received = (
        _bounded([getattr(row, name) for row in rows])
        for name in ("original_timestamp", "timestamp", "sent_at", "received_at")
    )
    columns: dict[str, Any] = {
        "raw_message_id": pa.array([row.message_id for row in rows], pa.string()),
        "original_timestamp": original.cast(_TIME),
        "skew_ms": pc.subtract(corrected, original),
        "sent_after_ms": pc.subtract(sent, original),
        "transit_ms": pc.subtract(received, sent),
        "properties_json": pa.array([bytes(row.properties) or b"{}" for row in rows], pa.binary()),
        "context_json": pa.array([flat(bytes(row.context)) for row in rows], pa.binary()),
        "violations": _violations(rows),
    }
    for name in EVENT_COLUMNS:
        if name not in columns:
            columns[name] = pa.array([getattr(row, name) for row in rows], pa.string())
    return pa.table({name: columns[name] for name in EVENT_COLUMNS})


def quarantine(rows: Sequence[QuarantineRow]) -> pa.Table:
    """The columns of `rows`, ready for the table `quarantine`."""
    columns: dict[str, Any] = {}
    for name in QUARANTINE_COLUMNS:
        if name == "violations":
            columns[name] = _violations(rows)
        elif name in _TIMES:
            columns[name] = _bounded([getattr(row, name) for row in rows]).cast(_TIME)
        else:
            columns[name] = pa.array([getattr(row, name) for row in rows], pa.string())
    return pa.table(columns)


def arrow_stream(table: pa.Table) -> bytes:
    """`table` as one Arrow IPC stream."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def flatten(raw: bytes) -> bytes:
    """A JSON object with the names of nested objects joined by dots; arrays stay as they are."""
    if not raw or raw == b"{}":
        return b"{}"
    decoded = _decode_context.decode(raw)
    if not any(isinstance(value, dict) for value in decoded.values()):
        return raw
    return _encode.encode(dict(_leaves(decoded, "")))


def _leaves(mapping: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in mapping.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _bounded(milliseconds: list[int]) -> pa.Array:
    """Milliseconds that DateTime64(3) can hold."""
    try:
        numbers = pa.array(milliseconds, pa.int64())
    except OverflowError:
        numbers = pa.array([min(max(ms, _EARLIEST_MS), _LATEST_MS) for ms in milliseconds])
    return pc.max_element_wise(pc.min_element_wise(numbers, _LATEST_MS), _EARLIEST_MS)


def _violations(rows: Sequence[EventRow] | Sequence[QuarantineRow]) -> pa.Array:
    return pa.array(
        [[msgspec.structs.asdict(violation) for violation in row.violations] for row in rows],
        pa.list_(_VIOLATION),
    )

"""Rows to Arrow: the bytes that an insert sends.

Only the envelope becomes Python-made columns. Properties and context travel as JSON and are split
into maps by the engine (EPHEMERAL columns), off Python's lock. Nested context is flattened here,
since most events of a batch share one context and it is done once for all of them.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from msgspec.structs import asdict

from desirepath.plan.violations import Violation
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

_BYTES: Final = pa.binary()
_TIME: Final = pa.timestamp("ms", tz="UTC")
_VIOLATION: Final = pa.struct(
    [("code", pa.string()), ("pointer", pa.string()), ("expected", pa.string()),
     ("found", pa.string())]
)  # fmt: skip
_TIMES: Final = frozenset({"sent_at", "received_at"})

_GETTERS: Final = {name: attrgetter(name) for name in EventRow.__struct_fields__}

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

    fields = {name: list(map(get, rows)) for name, get in _GETTERS.items()}
    original, corrected, sent, received = (
        _bounded(fields[name])
        for name in ("original_timestamp", "timestamp", "sent_at", "received_at")
    )
    columns: dict[str, Any] = {
        "raw_message_id": pa.array(fields["message_id"], pa.string()),
        "original_timestamp": original.cast(_TIME),
        "skew_ms": pc.subtract(corrected, original),
        "sent_after_ms": pc.subtract(sent, original),
        "transit_ms": pc.subtract(received, sent),
        "properties_json": pa.array([bytes(raw) or b"{}" for raw in fields["properties"]], _BYTES),
        "context_json": pa.array([flat(bytes(raw)) for raw in fields["context"]], _BYTES),
        "violations": _violations(fields["violations"]),
    }
    for name in EVENT_COLUMNS:
        if name not in columns:
            columns[name] = pa.array(fields[name], pa.string())
    return pa.table({name: columns[name] for name in EVENT_COLUMNS})


def quarantine(rows: Sequence[QuarantineRow]) -> pa.Table:
    """The columns of `rows`, ready for the table `quarantine`."""
    columns: dict[str, Any] = {}
    for name in QUARANTINE_COLUMNS:
        values = [getattr(row, name) for row in rows]
        if name == "violations":
            columns[name] = _violations(values)
        elif name in _TIMES:
            columns[name] = _bounded(values).cast(_TIME)
        else:
            columns[name] = pa.array(values, pa.string())
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


def _bounded(milliseconds: Sequence[int]) -> pa.Array:
    """Milliseconds that DateTime64(3) can hold."""
    try:
        numbers = pa.array(milliseconds, pa.int64())
    except OverflowError:
        numbers = pa.array([min(max(ms, _EARLIEST_MS), _LATEST_MS) for ms in milliseconds])
    return pc.max_element_wise(pc.min_element_wise(numbers, _LATEST_MS), _EARLIEST_MS)


def _violations(violations: Sequence[tuple[Violation, ...]]) -> pa.Array:
    if not any(violations):
        return pa.ListArray.from_arrays([0] * (len(violations) + 1), pa.array([], _VIOLATION))
    return pa.array([[asdict(one) for one in some] for some in violations], pa.list_(_VIOLATION))

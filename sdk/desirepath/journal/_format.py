"""The log's bytes: encoding and parsing, without any file. The format is in the package's head."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final
from zlib import crc32

import msgspec

__all__ = [
    "CURSOR_BYTES",
    "HEADER_BYTES",
    "RECORD_OVERHEAD_BYTES",
    "Position",
    "decode_cursor",
    "decode_header",
    "encode_cursor",
    "encode_header",
    "encode_record",
    "encode_records",
    "find_record",
    "is_newer",
    "parse_records",
]

_VERSION: Final = 1
_HEADER: Final = struct.Struct("<4sHHQQI")
_RECORD: Final = struct.Struct("<HII")
_SLOT: Final = struct.Struct("<4sHHQQQQI")
_MAGIC: Final = b"DPLG"
_CURSOR_MAGIC: Final = b"DPCR"
_MARKER: Final = 0xD1A7
_MARKER_BYTES: Final = b"\xa7\xd1"
_SLOT_BYTES: Final = 64

HEADER_BYTES: Final = _HEADER.size
RECORD_OVERHEAD_BYTES: Final = _RECORD.size
CURSOR_BYTES: Final = 2 * _SLOT_BYTES


class Position(msgspec.Struct, frozen=True, order=True):
    """A place between two records.

    Parameters
    ----------
    segment
        The segment's sequence number.
    offset
        Bytes from the start of the segment's file.
    index
        How many of the segment's records lie before it.
    """

    segment: int
    offset: int
    index: int


def encode_header(sequence: int, created_ms: int) -> bytes:
    """The first bytes of a segment."""
    head = _HEADER.pack(_MAGIC, _VERSION, 0, sequence, created_ms, 0)[:-4]
    return head + crc32(head).to_bytes(4, "little")


def decode_header(data: bytes) -> tuple[int, int] | None:
    """(sequence, seed of the record checksums), or None where this is no header of ours."""
    if len(data) < HEADER_BYTES:
        return None
    magic, version, _, sequence, _, check = _HEADER.unpack_from(data)
    if magic != _MAGIC or version != _VERSION or crc32(data[: HEADER_BYTES - 4]) != check:
        return None
    return sequence, check


def is_newer(data: bytes) -> bool:
    """Whether this begins a segment, or is a slot, that a later version has written.

    Every version keeps the places of magic, version and crc.
    """
    for magic, form in ((_MAGIC, _HEADER), (_CURSOR_MAGIC, _SLOT)):
        head = data[: form.size]
        if len(head) == form.size and head.startswith(magic):
            check = int.from_bytes(head[-4:], "little")
            return crc32(head[:-4]) == check and int.from_bytes(head[4:6], "little") > _VERSION
    return False


def encode_record(payload: bytes, seed: int) -> bytes:
    """One record."""
    length = len(payload)
    return _RECORD.pack(_MARKER, length, crc32(payload, seed ^ length)) + payload


def encode_records(payloads: Sequence[bytes], seed: int) -> bytes:
    """Many records, for one write."""
    pack = _RECORD.pack
    parts = []
    for payload in payloads:
        length = len(payload)
        parts.append(pack(_MARKER, length, crc32(payload, seed ^ length)))
        parts.append(payload)
    return b"".join(parts)


def parse_records(
    data: bytes, seed: int, max_records: int, max_bytes: int
) -> tuple[list[bytes], int, int]:
    """The records at the start of `data`, until one is damaged, incomplete or beyond a limit.

    Returns
    -------
    records, used, wanted
        `used`: the bytes parsed. `wanted`: 0 where parsing ended at a limit or at the end of
        `data`, else how long `data` must be for the next record to be complete: more than
        `len(data)` where it is cut off, 1 where it is damaged.
    """
    unpack = _RECORD.unpack_from
    records: list[bytes] = []
    used = 0
    total = 0
    size = len(data)
    while len(records) < max_records and used < size:
        body = used + RECORD_OVERHEAD_BYTES
        if body > size:
            return records, used, body
        marker, length, check = unpack(data, used)
        if marker != _MARKER:
            return records, used, 1
        end = body + length
        if end > size:
            return records, used, end
        total += length
        if records and total > max_bytes:
            break
        payload = data[body:end]
        if crc32(payload, seed ^ length) != check:
            return records, used, 1
        records.append(payload)
        used = end
    return records, used, 0


def find_record(data: bytes, start: int, seed: int) -> int:
    """The offset of the first whole record in `data` at or behind `start`, or `len(data)`."""
    size = len(data)
    while True:
        start = data.find(_MARKER_BYTES, start)
        if start < 0 or start + RECORD_OVERHEAD_BYTES > size:
            return size
        _, length, check = _RECORD.unpack_from(data, start)
        body = start + RECORD_OVERHEAD_BYTES
        if body + length <= size and crc32(data[body : body + length], seed ^ length) == check:
            return start
        start += 1


def encode_cursor(position: Position, generation: int, slot: int) -> tuple[int, bytes]:
    """(offset in the cursor file, bytes) of slot 0 or 1."""
    head = _SLOT.pack(
        _CURSOR_MAGIC,
        _VERSION,
        0,
        generation,
        position.segment,
        position.offset,
        position.index,
        0,
    )[:-4]
    return slot * _SLOT_BYTES, head + crc32(head).to_bytes(4, "little")


def decode_cursor(data: bytes) -> tuple[Position, int, int] | None:
    """(position, generation, slot) of the newest valid slot."""
    best: tuple[Position, int, int] | None = None
    for slot in (0, 1):
        part = data[slot * _SLOT_BYTES :][: _SLOT.size]
        if len(part) < _SLOT.size:
            continue
        magic, version, _, generation, segment, offset, index, check = _SLOT.unpack(part)
        if magic != _CURSOR_MAGIC or version != _VERSION or crc32(part[:-4]) != check:
            continue
        if best is None or generation > best[1]:
            best = Position(segment, offset, index), generation, slot
    return best

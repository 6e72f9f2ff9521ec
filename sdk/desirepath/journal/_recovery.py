"""Opening a log that somebody left: find the cursor, the segments and where each one ends."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

import msgspec

from desirepath.journal._files import File, FileSystem, newer
from desirepath.journal._format import (
    HEADER_BYTES,
    Position,
    decode_header,
    find_record,
    is_newer,
    parse_records,
)

__all__ = ["Recovered", "Segment", "find_next", "recover", "refuse_newer", "set_aside"]

_NO_LIMIT: Final = 1 << 62


class Segment(msgspec.Struct, eq=False):
    """What is known of one segment file; changed under the log's lock only."""

    sequence: int
    path: Path
    seed: int
    file: File | None = None
    """Open while it is written or waits for its sync."""
    capacity: int = 0
    end: int = HEADER_BYTES
    """Behind its last record."""
    records: int = 0
    synced: int = 0
    """Before this everything is durable."""
    named: bool = False
    """Its name in the folder is durable."""
    sealed: bool = False
    begun_s: float = 0.0
    gaps: dict[int, int] = msgspec.field(default_factory=dict)
    """Damaged stretches: start -> where reading goes on."""

    def behind(self) -> Position:
        """The place behind its last record."""
        return Position(self.sequence, self.end, self.records)


class Recovered(msgspec.Struct):
    """What a folder held."""

    segments: dict[int, Segment]
    cursor: Position
    next_sequence: int
    damaged: int


def recover(folder: Path, files: FileSystem, cursor: Position) -> Recovered:
    """Read a folder, cut torn tails, set damage aside, remove what is acknowledged."""
    segments: dict[int, Segment] = {}
    damaged = 0
    last = cursor.segment
    for name in sorted(files.names(folder)):
        path = folder / name
        sequence = _sequence(name)
        if sequence is None:
            continue
        last = max(last, sequence)
        if sequence < cursor.segment:
            files.unlink(path)
            continue
        file = files.open(path)
        try:
            segment, stretches = _recover_segment(files, path, sequence, file)
            damaged += stretches
            if segment is None:
                continue
            if sequence == cursor.segment:
                cursor = _settle(cursor, segment, file)
            if segment.records == 0 or cursor >= segment.behind():
                files.unlink(path)
                continue
            segments[sequence] = segment
            # The dead owner may never have synced it, and from now on it counts as synced.
            file.sync()
        finally:
            file.close()
    files.sync_folder(folder)
    return Recovered(segments, cursor, last + 1, damaged)


def refuse_newer(folder: Path, files: FileSystem) -> None:
    """LogError, before anything is touched, where a later version has written a segment."""
    for name in files.names(folder):
        if _sequence(name) is not None:
            file = files.open(folder / name)
            head = file.read(0, HEADER_BYTES)
            file.close()
            if is_newer(head):
                raise newer(folder)


def find_next(file: File, segment: Segment, offset: int, end: int) -> int:
    """Where the next whole record behind the damage at `offset` begins, at most `end`."""
    known = segment.gaps.get(offset)
    if known is not None:
        return known
    rest = file.read(offset, end - offset)
    return min(offset + find_record(rest, 1, segment.seed), end)


def set_aside(files: FileSystem, segment: Segment, file: File, start: int, end: int) -> int:
    """Copy damaged bytes to `damaged/`; 1, or 0 where an earlier owner did it already."""
    folder = segment.path.parent / "damaged"
    target = folder / f"{segment.path.stem}-{start:08x}"
    # A full disk must not keep the log from opening: the bytes are still in the segment.
    with contextlib.suppress(OSError):
        files.make_folder(folder)
        if target.name in files.names(folder):
            return 0
        copy = files.create(target, end - start)
        try:
            copy.write(0, file.read(start, end - start))
        finally:
            copy.close()
    return 1


def _sequence(name: str) -> int | None:
    stem, dot, suffix = name.partition(".")
    if dot and suffix == "log" and len(stem) == 16:
        with contextlib.suppress(ValueError):
            return int(stem, 16)
    return None


def _recover_segment(
    files: FileSystem, path: Path, sequence: int, file: File
) -> tuple[Segment | None, int]:
    """The segment, or None where it holds nothing; and how many stretches were set aside."""
    data = file.read(0, file.size())
    header = decode_header(data)
    if header is None or header[0] != sequence:
        # Begun, but the machine died before the header was durable: then no record was either.
        aside = 0
        if data.strip(b"\0"):
            target = path.parent / "damaged" / path.name
            files.make_folder(target.parent)
            files.rename(path, target)
            aside = 1
        else:
            files.unlink(path)
        return None, aside
    segment = Segment(sequence, path, header[1], sealed=True, named=True)
    damaged = 0
    offset = HEADER_BYTES
    while True:
        records, used, wanted = parse_records(data[offset:], segment.seed, _NO_LIMIT, _NO_LIMIT)
        segment.records += len(records)
        offset += used
        segment.end = offset
        if not wanted:
            break
        resume = find_record(data, offset + 1, segment.seed)
        if resume == len(data):
            if torn := data[offset:].rstrip(b"\0"):
                damaged += set_aside(files, segment, file, offset, offset + len(torn))
            break
        segment.gaps[offset] = resume
        damaged += set_aside(files, segment, file, offset, resume)
        offset = resume
    segment.synced = segment.end
    if segment.end < len(data):
        with contextlib.suppress(OSError):
            file.truncate(segment.end)
    return segment, damaged


def _settle(cursor: Position, segment: Segment, file: File) -> Position:
    """The cursor with its index counted anew: damage may have taken records from before it."""
    if cursor.offset >= segment.end:
        return segment.behind()
    offset, index = HEADER_BYTES, 0
    data = file.read(0, cursor.offset)
    while offset < cursor.offset:
        records, used, _ = parse_records(data[offset:], segment.seed, _NO_LIMIT, _NO_LIMIT)
        index += len(records)
        offset = segment.gaps.get(offset + used, cursor.offset)
    return Position(cursor.segment, cursor.offset, index)

"""Reading records out of one segment file, past what is damaged."""

from __future__ import annotations

from typing import Final

import msgspec

from desirepath.journal._files import File, FileSystem
from desirepath.journal._format import Position, parse_records
from desirepath.journal._recovery import Segment, find_next, set_aside

__all__ = ["Batch", "Reader"]

_READ_AHEAD_BYTES: Final = 64 * 1024


class Batch(msgspec.Struct, frozen=True):
    """Consecutive records of one segment.

    Parameters
    ----------
    records
        Their payloads; empty where nothing more was to be read.
    start, end
        The places before the first and behind the last.
    """

    records: list[bytes]
    start: Position
    end: Position


class Reader:
    """Reads segments, keeping the last one's file open; for one thread."""

    def __init__(self, files: FileSystem) -> None:
        self._files = files
        self._open: tuple[int, File] | None = None
        self._missed: set[int] = set()
        self.damaged = 0
        self.missing = 0

    def open(self, segment: Segment) -> File:
        """A file of the segment, for reading."""
        if self._open is not None:
            if self._open[0] == segment.sequence:
                return self._open[1]
            self._open[1].close()
            self._open = None
        file = self._files.open(segment.path)
        self._open = (segment.sequence, file)
        return file

    def miss(self, segment: Segment, records: int) -> None:
        """Count what a removed file held, once."""
        if segment.sequence not in self._missed:
            self._missed.add(segment.sequence)
            self.missing += records

    def release(self, sequence: int | None = None) -> File | None:
        """Stop keeping the file (of that segment only): it is the caller's to close."""
        if self._open is None or sequence not in (None, self._open[0]):
            return None
        file = self._open[1]
        self._open = None
        return file

    def read(
        self,
        segment: Segment,
        file: File,
        place: Position,
        end: int,
        max_records: int,
        max_bytes: int,
    ) -> Batch:
        """The records from `place` on, before the offset `end`."""
        offset = place.offset
        index = place.index
        size = min(end - offset, max_bytes + _READ_AHEAD_BYTES)
        while True:
            data = file.read(offset, size)
            records, used, wanted = parse_records(data, segment.seed, max_records, max_bytes)
            if records:
                stop = Position(segment.sequence, offset + used, index + len(records))
                return Batch(records, place, stop)
            if len(data) < wanted <= end - offset and len(data) == size:
                size = wanted
                continue
            resume = find_next(file, segment, offset, end)
            if offset not in segment.gaps:
                segment.gaps[offset] = resume
                self.damaged += set_aside(self._files, segment, file, offset, resume)
            offset = resume
            if offset >= end:
                return Batch([], place, Position(segment.sequence, end, segment.records))
            size = min(end - offset, max_bytes + _READ_AHEAD_BYTES)

"""Files of events, read row by row: CSV and JSON Lines, also gzipped.

A row that cannot be read is an answer with its line number, never the end of the file: an
unclosed quote costs its own line, not the lines behind it.
"""

from __future__ import annotations

import csv
import gzip
import os
import sys
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final, cast

import msgspec

from desirepath.errors import InputError
from desirepath.event import utc_now
from desirepath.plan.wire import scan

__all__ = ["Row", "RowFile"]

_FORMATS: Final = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".txt": "csv",
}
_MAX_LINE_BYTES: Final = 1 << 20

_decode: Final = msgspec.json.Decoder().decode


class Row(msgspec.Struct, gc=False):
    """One row; `error` says why there are no values."""

    line: int
    values: dict[str, Any] | None
    error: str = ""


class RowFile:
    """A file of rows.

    Attributes
    ----------
    format
        `csv` or `jsonl`.
    columns
        The names of a CSV file's header; None for JSON Lines.
    modified
        When the file was last changed; of standard input, when reading began.
    size_bytes, read_bytes
        For progress: the file's size (None where unknown) and how much of it has been read.
    """

    def __init__(self, path: str, *, file_format: str | None = None) -> None:
        self.path = path
        self.name = "-" if path == "-" else Path(path).name
        suffixes = Path(path).suffixes
        packed = bool(suffixes) and suffixes[-1] == ".gz"
        suffix = suffixes[-2] if packed and len(suffixes) > 1 else (suffixes or [""])[-1]
        self.modified = utc_now()
        self.size_bytes: int | None = None
        self.read_bytes = 0
        try:
            if path == "-":
                self._file: IO[bytes] = sys.stdin.buffer
            elif packed:
                self._file = cast("IO[bytes]", gzip.open(path, "rb"))  # noqa: SIM115 (closed by close())
            else:
                self._file = open(path, "rb")  # noqa: SIM115 (closed by close())
                self.size_bytes = Path(path).stat().st_size
            if path != "-":
                self.modified = datetime.fromtimestamp(os.fstat(self._file.fileno()).st_mtime, UTC)
            first = self._file.readline(_MAX_LINE_BYTES)
        except FileNotFoundError:
            raise InputError(
                f"there is no file {path}", hint="give the path of a .csv or .jsonl file"
            ) from None
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
        first = first.removeprefix(b"\xef\xbb\xbf")
        looks_like_json = first.lstrip().startswith(b"{")
        self.format = file_format or _FORMATS.get(suffix, "")
        if self.format not in ("csv", "jsonl"):
            self.format = "jsonl" if looks_like_json else "csv"
        self.columns: list[str] | None = None
        self._delimiter = ","
        self._ahead: deque[bytes] = deque([first] if first else [])
        self._line = 0
        if self.format == "csv":
            try:
                self.columns = self._header(first)
            except InputError:
                self.close()
                raise

    def close(self) -> None:
        """Close the file."""
        if self._file is not sys.stdin.buffer:
            self._file.close()

    def rows(self) -> Iterator[Row]:
        """All rows, in order."""
        return self._csv_rows() if self.format == "csv" else self._json_rows()

    def _header(self, first: bytes) -> list[str]:
        if not first.strip():
            raise InputError(f"{self.path} is empty", hint="a CSV file begins with its columns")
        text = first.decode("utf-8", "replace")
        self._delimiter = max(",;\t|", key=text.count)
        columns = [name.strip() for name in next(csv.reader([text], delimiter=self._delimiter))]
        twice = {name for name in columns if columns.count(name) > 1}
        if twice:
            raise InputError(f"{self.path}:1: the column {sorted(twice)[0]!r} is there twice")
        self._ahead.popleft()
        self.read_bytes += len(first)
        self._line = 1
        return columns

    def _lines(self) -> Iterator[bytes]:
        ahead = self._ahead
        while True:
            if ahead:
                line = ahead.popleft()
            else:
                line = self._file.readline(_MAX_LINE_BYTES)
                if not line:
                    return
                if len(line) == _MAX_LINE_BYTES and not line.endswith(b"\n"):
                    line = self._too_long(line)
            self.read_bytes += len(line)
            self._line += 1
            yield line

    def _too_long(self, line: bytes) -> bytes:
        """The line's beginning, made unreadable: half of a line must not pass for a whole one."""
        while (rest := self._file.readline(_MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
            self.read_bytes += len(rest)
        self.read_bytes += len(rest)
        return line[:1000] + b"\xff\n"

    def _json_rows(self) -> Iterator[Row]:
        for raw in self._lines():
            line = raw.strip()
            if not line:
                continue
            try:
                values = None if scan(line) else _decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                yield Row(self._line, None, f"not JSON: {error}")
                continue
            if isinstance(values, dict):
                yield Row(self._line, values)
            else:
                yield Row(self._line, None, "not a JSON object, or nested too deep")

    def _csv_rows(self) -> Iterator[Row]:
        columns = self.columns or []
        width = len(columns)
        taken: list[bytes] = []
        undecodable = False

        def text() -> Iterator[str]:
            nonlocal undecodable
            for raw in self._lines():
                taken.append(raw)
                try:
                    yield raw.decode()
                except UnicodeDecodeError:
                    undecodable = True
                    yield raw.decode("utf-8", "replace")

        reader = csv.reader(text(), delimiter=self._delimiter)
        while True:
            taken.clear()
            undecodable = False
            error = ""
            cells: list[str] = []
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as reason:
                error = f"not CSV: {reason}"
            first = self._line - len(taken) + 1
            if not error and not cells:
                continue
            if not error and len(cells) != width:
                error = f"{len(cells)} cells for {width} columns"
            if not error and undecodable:
                error = "not UTF-8"
            if not error:
                yield Row(first, dict(zip(columns, cells, strict=True)))
                continue
            if len(taken) > 1:
                # An unclosed quote has swallowed lines that may be whole: give them back.
                error = "a quote is not closed"
                self._ahead.extendleft(reversed(taken[1:]))
                self._line -= len(taken) - 1
                self.read_bytes -= sum(map(len, taken[1:]))
            reader = csv.reader(text(), delimiter=self._delimiter)
            yield Row(first, None, error)

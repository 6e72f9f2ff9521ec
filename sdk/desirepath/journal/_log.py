"""The log itself: what is promised stands at the head of the package."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from desirepath.errors import LogError, LogFullError, LogHeldError, LogSyncError
from desirepath.journal._cursor import Cursor
from desirepath.journal._files import DiskFileSystem, File, FileSystem, Lock, failed
from desirepath.journal._format import (
    HEADER_BYTES,
    RECORD_OVERHEAD_BYTES,
    Position,
    encode_header,
    encode_record,
    encode_records,
)
from desirepath.journal._reading import Batch, Reader
from desirepath.journal._recovery import Segment, recover

__all__ = ["Journal"]


class Journal:
    """A durable log in `folder`, which is its own; make it with `Journal.open`."""

    def __init__(
        self,
        folder: Path,
        files: FileSystem,
        lock: Lock,
        *,
        max_bytes: int,
        segment_bytes: int,
        max_segment_age_s: float | None,
    ) -> None:
        self.folder = folder
        self._files = files
        self._owner = lock
        self._max_bytes = max_bytes
        self._segment_bytes = segment_bytes
        self._max_segment_age_s = max_segment_age_s
        # Re-entrant for one case: a signal handler or a finaliser that runs while its own thread
        # holds the lock is turned away by `_busy` instead of waiting for ever.
        self._lock = threading.RLock()
        self._busy = False
        self._occupied = _Occupied(self)
        self._sync_lock = threading.Lock()
        self._closed = False
        self._appended = 0
        self._active: Segment | None = None
        self._reader = Reader(files)
        # The segment being read; what would be closed under the reader waits in `_retired`.
        self._reading: Segment | None = None
        self._retired: list[File] = []

        self._note = Cursor(folder, files)
        found = recover(folder, files, self._note.position)
        self._segments = found.segments
        self._cursor = found.cursor
        self._next_sequence = found.next_sequence
        self._reader.damaged = found.damaged
        self._pending_records = sum(segment.records for segment in self._segments.values())
        self._pending_bytes = sum(segment.end - HEADER_BYTES for segment in self._segments.values())
        head = self._segments.get(self._cursor.segment)
        if head is not None:
            self._pending_records -= self._cursor.index
            self._pending_bytes -= self._cursor.offset - HEADER_BYTES

    @classmethod
    def open(
        cls,
        folder: str | Path,
        *,
        max_bytes: int = 1 << 30,
        segment_bytes: int = 4 << 20,
        max_segment_age_s: float | None = None,
        files: FileSystem | None = None,
    ) -> Self:
        """Open the log in `folder`, making it if need be, and recover what a dead owner left.

        Parameters
        ----------
        folder
            Used by this log alone.
        max_bytes
            The bound on bytes that are not acknowledged. On disk there may be up to two segments
            more: one allocated ahead, one acknowledged in part.
        segment_bytes
            A segment is sealed at this size. One that must take a larger write is larger.
        max_segment_age_s
            A segment older than this is sealed by the next append.
        files
            Stands in for the machine's file system, in tests.

        Raises
        ------
        LogHeldError
            If a living process owns it.
        LogError
            If the folder cannot be made, read or written.
        """
        folder = Path(folder)
        files = files or DiskFileSystem()
        try:
            files.make_folder(folder)
            lock = files.lock(folder / "lock")
        except OSError as error:
            raise failed(f"cannot use {folder}", error) from error
        if lock is None:
            raise LogHeldError(
                f"{folder} is in use by another process",
                hint=f"stop the process named in {folder / 'lock'}, or use another folder",
            )
        try:
            return cls(
                folder,
                files,
                lock,
                max_bytes=max_bytes,
                segment_bytes=segment_bytes,
                max_segment_age_s=max_segment_age_s,
            )
        except BaseException as error:
            lock.release()
            if isinstance(error, OSError):
                raise failed(f"cannot open the log in {folder}", error) from error
            raise

    # -- writing ---------------------------------------------------------------------------------

    def append(self, payload: bytes) -> Position:
        """Append one record, and return the place behind it.

        A killed process does not lose it; a power cut may, until `sync`.

        Raises
        ------
        LogFullError
            If the bound or the disk is full. Nothing was written.
        LogError
            If called from within itself, by a signal handler or a finaliser.
        """
        size = len(payload) + RECORD_OVERHEAD_BYTES
        with self._lock:
            if self._busy:
                raise self._reentered()
            try:
                self._busy = True
                segment = self._active
                if (
                    segment is None
                    or segment.file is None
                    or segment.end + size > segment.capacity
                    or self._pending_bytes + size > self._max_bytes
                    or self._max_segment_age_s is not None
                ):
                    segment = self._room(size)
                    return self._put(segment, encode_record(payload, segment.seed), 1)
                # As `_room` and `_put`, without their calls: this is the SDK's hottest path.
                segment.file.write(segment.end, encode_record(payload, segment.seed))
                segment.end += size
                segment.records += 1
                self._pending_bytes += size
                self._pending_records += 1
                self._appended += 1
                return Position(segment.sequence, segment.end, segment.records)
            except OSError as error:
                raise self._torn(error) from error
            finally:
                self._busy = False

    def append_many(self, payloads: Sequence[bytes]) -> Position:
        """Append all or none of `payloads`, next to one another, with one write."""
        size = sum(map(len, payloads)) + RECORD_OVERHEAD_BYTES * len(payloads)
        with self._lock, self._occupied:
            segment = self._room(size)
            return self._put(segment, encode_records(payloads, segment.seed), len(payloads))

    def sync(self) -> Position:
        """Return when every record appended before the call is durable: the place behind them.

        Threads that call it wait for one another.

        Raises
        ------
        LogSyncError
            If the disk cannot promise it; the log goes on in a new segment.
        """
        with self._sync_lock:
            with self._lock, self._occupied:
                self._open_or_raise()
                waiting = [
                    (segment, segment.file, segment.end)
                    for segment in self._segments.values()
                    if segment.file is not None and segment.synced < segment.end
                ]
                end = self._end()
            failure: OSError | None = None
            for segment, file, written in waiting:
                try:
                    file.sync()
                    if not segment.named:
                        self._files.sync_folder(self.folder)
                except OSError as error:
                    failure = failure or error
                    self._abandon(segment)
                    continue
                with self._lock, self._occupied:
                    segment.named = True
                    segment.synced = written
                    if segment.sealed:
                        self._shut(segment)
            if failure is not None:
                raise LogSyncError(
                    f"the disk below {self.folder} failed to sync: {failure}",
                    hint="what was appended since the last sync may be lost; check the disk",
                ) from failure
            return end

    def seal(self) -> None:
        """Close the segment being written, if it holds anything; the next append begins another."""
        with self._lock, self._occupied:
            self._open_or_raise()
            if self._active is not None and self._active.records:
                self._seal_active()

    # -- reading ---------------------------------------------------------------------------------

    def read(
        self, max_records: int = 1000, max_bytes: int = 1 << 20, *, after: Position | None = None
    ) -> Batch:
        """The next records that are not acknowledged, from one segment, without taking them out.

        Parameters
        ----------
        max_records, max_bytes
            Limits of the batch, the second on the sum of the payloads; one record is always read.
        after
            Read on from here (a batch's `end`) instead of from what is acknowledged.
        """
        with self._lock, self._occupied:
            self._open_or_raise()
            place = self._cursor if after is None else max(after, self._cursor)
        while True:
            with self._lock, self._occupied:
                segment, place = self._at(place)
                if segment is None:
                    return Batch([], place, place)
                end = segment.end
                try:
                    file = segment.file or self._reader.open(segment)
                except FileNotFoundError:
                    # Somebody has removed it: what it held is gone, what follows is not.
                    self._reader.miss(segment, segment.records - place.index)
                    place = segment.behind()
                    continue
                self._reading = segment
            try:
                batch = self._reader.read(segment, file, place, end, max_records, max_bytes)
            finally:
                with self._lock, self._occupied:
                    self._reading = None
                    while self._retired:
                        self._retired.pop().close()
            if batch.records:
                return batch
            place = batch.end

    def acknowledge(self, position: Position, *, durable: bool = True) -> None:
        """Everything before `position` is dealt with: note it durably, then remove whole segments.

        Parameters
        ----------
        position
            A batch's `end`.
        durable
            False leaves the fsync out while no whole segment is done: cheaper, and a power cut
            (not a killed process) brings the records since the last fsync back.

        Raises
        ------
        LogSyncError
            If the note could not be made durable. This object goes on behind `position`, but no
            segment was removed, and after a power cut the records may be read once more.
        """
        with self._lock, self._occupied:
            self._open_or_raise()
            if position <= self._cursor:
                return
            self._forget_before(position)
            done = [
                segment
                for sequence, segment in self._segments.items()
                if sequence < position.segment
                or (segment.sealed and sequence == position.segment and self._at_end(position))
            ]
        try:
            self._note.note(position, durable=durable or bool(done))
        except OSError as error:
            raise LogSyncError(f"cannot note progress in {self.folder}: {error}") from error
        with self._lock, self._occupied:
            for segment in done:
                self._remove(segment)

    @property
    def cursor(self) -> Position:
        """The place before which everything is acknowledged."""
        return self._cursor

    @property
    def end(self) -> Position:
        """The place behind the last record."""
        with self._lock:
            return self._end()

    @property
    def busy(self) -> bool:
        """Whether an append is under way: asked by who may be running in the middle of one."""
        return self._busy

    @property
    def appended(self) -> int:
        """Records appended through this object."""
        return self._appended

    @property
    def pending_records(self) -> int:
        """Records that are not acknowledged."""
        return self._pending_records

    @property
    def pending_bytes(self) -> int:
        """Bytes that are not acknowledged: with each record's head, and damage between records."""
        return self._pending_bytes

    @property
    def missing(self) -> int:
        """Records whose files somebody has removed since the log was opened."""
        return self._reader.missing

    @property
    def damaged(self) -> int:
        """Stretches of damaged bytes that were set aside since the log was opened."""
        return self._reader.damaged

    def close(self) -> None:
        """Seal, sync and give the folder to whoever opens it next. Closing twice is no mistake.

        Raises
        ------
        LogSyncError
            If the last records could not be made durable; the log is closed all the same.
        """
        if self._closed:
            return
        try:
            self.seal()
            self.sync()
        finally:
            with self._lock, self._occupied:
                self._closed, self._active = True, None
                for segment in list(self._segments.values()):
                    if segment.records == 0 or self._cursor >= segment.behind():
                        with contextlib.suppress(OSError):
                            self._remove(segment)
                self._close_files()
                self._note.close()
                self._owner.release()

    def remove(self) -> None:
        """Close and remove the folder, unless something waits in it or lies in `damaged/`."""
        with self._lock, self._occupied:
            self._open_or_raise()
            self._closed = True
            waiting = self._pending_records > 0
            for segment in list(self._segments.values()):
                if waiting:
                    self._shut(segment)
                else:
                    self._remove(segment)
            self._close_files()
            self._note.close()
            if not waiting:
                with contextlib.suppress(OSError):
                    for name in ("cursor", "cursor.new", "lock"):
                        self._files.unlink(self.folder / name)
                    self._files.remove_folder(self.folder)
            self._owner.release()

    def forget(self) -> None:
        """In a forked child: drop the copies of the parent's files, touching nothing of them."""
        # The locks may have been held by a thread that does not exist in this process.
        self._lock = threading.RLock()
        self._busy = False
        self._sync_lock = threading.Lock()
        self._closed = True
        self._close_files()
        self._note.forget()
        self._owner.forget()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # -- private (the lock is held) ---------------------------------------------------------------

    def _open_or_raise(self) -> None:
        if self._closed:
            raise LogError(f"the log in {self.folder} is closed")

    def _room(self, size: int) -> Segment:
        self._open_or_raise()
        if self._pending_bytes + size > self._max_bytes:
            raise LogFullError(
                f"{self.folder} holds {self._pending_bytes:,} of {self._max_bytes:,} bytes",
                hint="raise the bound, or see why nothing is taken out",
            )
        segment = self._active
        if (
            segment is None
            or segment.end + size > segment.capacity
            or (
                self._max_segment_age_s is not None
                and segment.records
                and time.monotonic() - segment.begun_s > self._max_segment_age_s
            )
        ):
            segment = self._begin(size)
        return segment

    def _put(self, segment: Segment, data: bytes, records: int) -> Position:
        file = segment.file
        if file is None:
            raise LogError(f"{segment.path} is not open")
        try:
            file.write(segment.end, data)
        except OSError as error:
            raise self._torn(error) from error
        segment.end += len(data)
        segment.records += records
        self._pending_bytes += len(data)
        self._pending_records += records
        self._appended += records
        return segment.behind()

    def _torn(self, error: OSError) -> LogError:
        """Cut back what may have been written in part: behind torn bytes nothing may follow."""
        with contextlib.suppress(OSError):
            self._seal_active()
        return failed(f"cannot write to {self.folder}", error)

    def _reentered(self) -> LogError:
        return LogError(
            f"the log in {self.folder} was called from within itself",
            hint="by a signal handler or a finaliser: do it after that",
        )

    def _begin(self, size: int) -> Segment:
        sequence = self._next_sequence
        path = self.folder / f"{sequence:016x}.log"
        capacity = max(self._segment_bytes, HEADER_BYTES + size)
        header = encode_header(sequence, time.time_ns() // 1_000_000)
        try:
            file = self._files.create(path, capacity)
        except OSError as error:
            raise failed(f"cannot make {path}", error) from error
        try:
            file.write(0, header)
        except OSError as error:
            file.close()
            with contextlib.suppress(OSError):
                self._files.unlink(path)
            raise failed(f"cannot write to {path}", error) from error
        # Only now: without a new segment the old one stays as it is.
        if self._active is not None:
            self._seal_active()
        self._next_sequence += 1
        segment = Segment(
            sequence=sequence,
            path=path,
            seed=int.from_bytes(header[-4:], "little"),
            file=file,
            capacity=capacity,
            end=HEADER_BYTES,
            begun_s=time.monotonic(),
        )
        self._segments[sequence] = segment
        self._active = segment
        return segment

    def _seal_active(self) -> None:
        segment, self._active = self._active, None
        if segment is None:
            return
        segment.sealed = True
        if segment.file is not None:
            with contextlib.suppress(OSError):
                # Gives the space allocated ahead back; the zeros would do no harm.
                segment.file.truncate(segment.end)

    def _abandon(self, segment: Segment) -> None:
        with self._lock, self._occupied:
            if segment is self._active:
                self._seal_active()
            # Never asked again: a second fsync on it would report success. It stays to be read.
            segment.synced = segment.end

    def _shut(self, segment: Segment) -> None:
        """The segment is not written or synced any more."""
        file, segment.file = segment.file, None
        self._retire(file, segment)

    def _retire(self, file: File | None, segment: Segment | None) -> None:
        """Close a file of the segment, now or when its reader is done."""
        if file is None:
            return
        if segment is not None and segment is self._reading:
            self._retired.append(file)
            return
        with contextlib.suppress(OSError):
            file.close()

    def _end(self) -> Position:
        last = max(self._segments, default=None)
        return self._cursor if last is None else max(self._segments[last].behind(), self._cursor)

    def _at(self, place: Position) -> tuple[Segment | None, Position]:
        """The segment that holds the next record at or behind `place`, and where."""
        for sequence, segment in self._segments.items():
            if sequence < place.segment:
                continue
            start = Position(sequence, HEADER_BYTES, 0) if sequence > place.segment else place
            if start.offset < segment.end:
                return segment, start
            place = max(place, segment.behind())
        return None, place

    def _forget_before(self, position: Position) -> None:
        """Move the cursor and count what lies before it as dealt with."""
        for sequence, segment in self._segments.items():
            if sequence < self._cursor.segment or sequence > position.segment:
                continue
            low_bytes, low_records = HEADER_BYTES, 0
            if sequence == self._cursor.segment:
                low_bytes, low_records = self._cursor.offset, self._cursor.index
            high_bytes, high_records = segment.end, segment.records  # also what damage has taken
            if sequence == position.segment and position.offset < segment.end:
                high_bytes, high_records = position.offset, position.index
            self._pending_bytes -= max(0, high_bytes - low_bytes)
            self._pending_records -= max(0, high_records - low_records)
        self._cursor = position

    def _at_end(self, position: Position) -> bool:
        segment = self._segments.get(position.segment)
        return segment is None or position.offset >= segment.end

    def _remove(self, segment: Segment) -> None:
        """Unlink a segment whose records are all acknowledged."""
        self._segments.pop(segment.sequence, None)  # gone where the log was removed meanwhile
        if segment is self._active:
            self._active = None
        self._shut(segment)
        self._retire(self._reader.release(segment.sequence), segment)
        with contextlib.suppress(OSError):
            # Should it stay, the cursor makes the next owner remove it.
            self._files.unlink(segment.path)

    def _close_files(self) -> None:
        for segment in self._segments.values():
            self._shut(segment)
        self._retire(self._reader.release(), self._reading)


class _Occupied:
    """Marks a log as busy, for whoever comes in between."""

    def __init__(self, log: Journal) -> None:
        self._log = log

    def __enter__(self) -> None:
        if self._log._busy:
            raise self._log._reentered()
        self._log._busy = True

    def __exit__(self, *_: object) -> None:
        self._log._busy = False

"""From the spool into ClickHouse: exactly once as far as inserts go, and never out of patience.

One thread reads the spool, freezes a batch, inserts it, and acknowledges it. Freezing writes the
batch's place and content hash to a small file and fsyncs that before the first attempt, so a
collector that was killed between insert and acknowledgement repeats the very same rows under the
very same token, which ClickHouse then discards. While ClickHouse is away the batch is tried again
with growing pauses; nothing is dropped and nothing piles up in memory. A batch that ClickHouse
refuses for good is halved until the rows at fault stand alone; these go to quarantine.

Repeats of a message id within the last `dedupe_window` events are dropped before the insert. Those
of a message that has a time of its own the warehouse's views remove for ever; for the others, the
warehouse looks up at its first insert what came before this process.
"""

from __future__ import annotations

import hashlib
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol, TypeVar

import msgspec

from desirepath.errors import LogError, WarehouseError
from desirepath.event import isoformat
from desirepath.journal import Journal, Position
from desirepath.plan import Violation
from desirepath_collector.settings import Settings
from desirepath_collector.telemetry import Telemetry
from desirepath_collector.warehouse.rows import EventRow, QuarantineRow

__all__ = ["Loader", "Store"]

log = logging.getLogger("desirepath.loader")

BATCH_BYTES: Final = 8 << 20
"""A batch is read when this much waits, or when `load_interval_s` is over."""

_FIRST_PAUSE_S: Final = 0.1
_PROBES: Final = 8
"""If this many single rows in a row are refused and none is taken, it is not the rows' fault."""


_RowT = TypeVar("_RowT", EventRow, QuarantineRow)


class Store(Protocol):
    """What the loader needs of a warehouse."""

    def insert_events(self, rows: Sequence[EventRow], token: str) -> object:
        """Insert as one block; the same token twice stores once."""

    def insert_quarantine(self, rows: Sequence[QuarantineRow], token: str) -> object:
        """The same for quarantined events."""


class _Frozen(msgspec.Struct, frozen=True):
    segment: int
    offset: int
    index: int
    end_segment: int
    end_offset: int
    end_index: int
    digest: str


class _Stopped(Exception):
    pass


class Loader:
    """Moves one spool into a warehouse, on a thread of its own.

    Parameters
    ----------
    journal
        The spool's journal.
    store
        The warehouse.
    frozen
        File that remembers the batch being inserted; on the spool's disk, outside its folder.
    settings
        `load_max_rows`, `load_interval_s`, `retry_max_s`, `dedupe_window`.
    telemetry
        Counts rows, repeats, batches, failures.
    """

    def __init__(
        self,
        journal: Journal,
        store: Store,
        frozen: Path,
        settings: Settings,
        telemetry: Telemetry,
    ) -> None:
        self._journal = journal
        self._store = store
        self._frozen_path = frozen
        self._settings = settings
        self._telemetry = telemetry
        self._decode = msgspec.json.Decoder(list[EventRow | QuarantineRow]).decode
        self._decode_frozen = msgspec.json.Decoder(_Frozen).decode
        self._seen = _Window(settings.dedupe_window)
        self._work = threading.Event()
        self._stopping = threading.Event()
        self._deadline_s = 0.0
        self._thread = threading.Thread(target=self._run, name="loader", daemon=True)
        self.failure: str | None = None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def notify(self) -> None:
        """Tell that something became durable. Cheap, and may be called from any thread."""
        if not self._work.is_set():
            self._work.set()

    def stop(self, timeout_s: float) -> bool:
        """Load what waits for at most `timeout_s`, then end; whether the spool is empty."""
        self._deadline_s = time.monotonic() + timeout_s
        self._stopping.set()
        self._work.set()
        if self._thread.is_alive():
            # One insert cannot be interrupted; the thread ends behind it.
            self._thread.join(timeout_s + 60)
        return self._journal.pending_records == 0

    # -- the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        recovered = False
        while True:
            try:
                if not recovered:
                    self._recover()
                    recovered = True
                if self._wait_for_work():
                    self._load(self._read())
                elif self._stopping.is_set():
                    return
                pause_s = _FIRST_PAUSE_S
            except _Stopped:
                return
            except Exception as error:
                # The disk below the spool, or a fault of our own: what is spooled stays, and is
                # tried again. This thread must not end while the collector takes events in.
                if not isinstance(error, LogError | OSError):
                    log.exception("a fault in the loader")
                self._failed("spool", str(error))
                if self._stopping.wait(pause_s):
                    return
                pause_s = min(pause_s * 2, self._settings.retry_max_s)

    def _wait_for_work(self) -> bool:
        """Wait until a batch is worth reading; whether there is anything to read."""
        if not self._journal.pending_records:
            if self._stopping.is_set():
                return False
            self._work.wait(timeout=1.0)
            self._work.clear()
            if not self._journal.pending_records:
                return False
        until_s = time.monotonic() + self._settings.load_interval_s
        while self._journal.pending_bytes < BATCH_BYTES and not self._stopping.is_set():
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                break
            self._stopping.wait(min(left_s, 0.05))
        if self._stopping.is_set() and time.monotonic() > self._deadline_s:
            raise _Stopped
        return True

    def _read(self) -> tuple[list[bytes], _Frozen]:
        batch = self._journal.read(self._settings.load_max_rows, BATCH_BYTES)
        return batch.records, _frozen(batch.start, batch.end, batch.records)

    def _recover(self) -> None:
        """Repeat, exactly, the batch whose insert a killed collector may have finished."""
        try:
            frozen = self._decode_frozen(self._frozen_path.read_bytes())
        except (FileNotFoundError, msgspec.DecodeError):
            return
        start = Position(frozen.segment, frozen.offset, frozen.index)
        if start == self._journal.cursor or start > self._journal.cursor:
            count = frozen.end_index - frozen.index
            batch = self._journal.read(count, 1 << 40)
            again = _frozen(batch.start, batch.end, batch.records)
            if batch.records and again.digest == frozen.digest:
                # Where an empty segment was skipped the start may be written in another way.
                self._load((batch.records, frozen))
        self._frozen_path.unlink(missing_ok=True)

    def _load(self, work: tuple[list[bytes], _Frozen]) -> None:
        records, frozen = work
        if not records:
            return
        begun_s = time.perf_counter()
        batch: set[_Key] = set()
        events, quarantined = self._rows(records, batch)
        self._freeze(frozen)
        token = f"{frozen.segment:x}.{frozen.offset:x}-{frozen.end_offset:x}.{frozen.digest}"
        if events:
            self._insert_events(events, f"{token}.e")
        if quarantined:
            self._insert_quarantine(quarantined, f"{token}.q")
        self._seen.remember(batch)
        self._journal.acknowledge(Position(frozen.end_segment, frozen.end_offset, frozen.end_index))
        self._telemetry.loaded(len(events), len(quarantined), time.perf_counter() - begun_s)
        self.failure = None

    def _rows(
        self, records: Sequence[bytes], batch: set[_Key]
    ) -> tuple[list[EventRow], list[QuarantineRow]]:
        events: list[EventRow] = []
        quarantined: list[QuarantineRow] = []
        repeats = 0
        for record in records:
            try:
                rows = self._decode(record)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                # Its checksum is right, so it was written like that: by a newer version, or a bug.
                quarantined.append(_unreadable(record, str(error)))
                continue
            for row in rows:
                if self._seen.repeats(row, batch):
                    repeats += 1
                elif type(row) is EventRow:
                    events.append(row)
                else:
                    quarantined.append(row)  # type: ignore[arg-type]
        if repeats:
            self._telemetry.repeated(repeats)
        return events, quarantined

    def _freeze(self, frozen: _Frozen) -> None:
        temporary = self._frozen_path.with_suffix(".tmp")
        with open(temporary, "wb") as file:
            file.write(msgspec.json.encode(frozen))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self._frozen_path)

    def _insert_events(self, rows: list[EventRow], token: str) -> None:
        poison: list[tuple[EventRow, str]] = []
        pause_s = _FIRST_PAUSE_S
        while True:
            poison.clear()
            try:
                self._bisect(self._store.insert_events, rows, token, poison)
                break
            except WarehouseError as error:
                self._away(error, pause_s)
                pause_s = min(pause_s * 2, self._settings.retry_max_s)
        if poison:
            self._telemetry.poisoned(len(poison))
            self._insert_quarantine([_quarantined(row, why) for row, why in poison], f"{token}.p")

    def _insert_quarantine(self, rows: list[QuarantineRow], token: str) -> None:
        refused: list[tuple[QuarantineRow, str]] = []
        pause_s = _FIRST_PAUSE_S
        while True:
            refused.clear()
            try:
                self._bisect(self._store.insert_quarantine, rows, token, refused)
                break
            except WarehouseError as error:
                self._away(error, pause_s)
                pause_s = min(pause_s * 2, self._settings.retry_max_s)
        if refused:
            self._set_aside(refused)

    def _bisect(
        self,
        insert: Callable[[Sequence[_RowT], str], object],
        rows: Sequence[_RowT],
        token: str,
        poison: list[tuple[_RowT, str]],
    ) -> int:
        """Insert rows, halving what is refused for good; the number of rows that were taken.

        A retryable failure goes up: the caller repeats all of it, and the tokens of the parts
        that were taken make that harmless.
        """
        try:
            insert(rows, token)
        except WarehouseError as error:
            if error.retryable:
                raise
            why = error.message
        except Exception as error:
            # A value that no block can be built of: as good a reason as ClickHouse's own.
            why = f"{type(error).__name__}: {error}"
        else:
            return len(rows)
        if len(rows) == 1:
            poison.append((rows[0], why))
            return 0
        half = len(rows) // 2
        taken = self._bisect(insert, rows[:half], f"{token}0", poison)
        if not taken and len(poison) >= _PROBES:
            raise WarehouseError(why, retryable=True)
        return taken + self._bisect(insert, rows[half:], f"{token}1", poison)

    def _away(self, error: WarehouseError, pause_s: float) -> None:
        self._failed("warehouse", error.message)
        # Spread, so that several collectors do not come back in step.
        if self._stopping.wait(pause_s * (0.5 + random.random())):  # noqa: S311
            raise _Stopped

    def _failed(self, what: str, message: str) -> None:
        if self.failure is None:
            log.warning("loading waits for the %s: %s", what, message)
        self.failure = message
        self._telemetry.load_failed(what)

    def _set_aside(self, refused: Sequence[tuple[QuarantineRow, str]]) -> None:
        """Keep what even the quarantine's table refuses, in a file for people."""
        path = self._frozen_path.with_suffix(".refused.jsonl")
        with open(path, "ab") as file:
            for row, why in refused:
                file.write(msgspec.json.encode({"row": row, "why": why}) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        log.error("%d rows were refused by the quarantine too, see %s", len(refused), path)
        self._telemetry.set_aside(len(refused))


_Key = str | tuple[str]


class _Window:
    """Remembers the last message ids that were inserted, events and quarantined ones apart.

    Two sets, of which the older is forgotten as a whole: taking the oldest key out of a dict again
    and again walks over all that were taken out before.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._young: set[_Key] = set()
        self._old: set[_Key] = set()

    def repeats(self, row: EventRow | QuarantineRow, batch: set[_Key]) -> bool:
        """Whether the row was inserted before, or is in this batch; else it is added to that."""
        if not self._size:
            return False
        key: _Key = row.message_id if type(row) is EventRow else (row.message_id,)
        if key in self._young or key in self._old or key in batch:
            return True
        batch.add(key)
        return False

    def remember(self, batch: set[_Key]) -> None:
        """The batch is in the store. Not before: what failed is tried again, and no repeat."""
        self._young |= batch
        if len(self._young) >= self._size:
            self._old, self._young = self._young, set()


def _frozen(start: Position, end: Position, records: Sequence[bytes]) -> _Frozen:
    digest = hashlib.blake2b(digest_size=16)
    for record in records:
        digest.update(record)
    return _Frozen(
        start.segment,
        start.offset,
        start.index,
        end.segment,
        end.offset,
        end.index,
        digest.hexdigest(),
    )


def _quarantined(row: EventRow, why: str) -> QuarantineRow:
    """A row that ClickHouse refused, as an event that can be looked at and replayed."""
    call = {
        "type": row.kind,
        "messageId": row.message_id,
        "event": row.event,
        "userId": row.user_id,
        "anonymousId": row.anonymous_id,
        "previousId": row.previous_id,
        "groupId": row.group_id,
        "timestamp": isoformat(datetime.fromtimestamp(row.original_timestamp / 1000, UTC)),
        "traits" if row.kind in ("identify", "group") else "properties": row.properties,
        "context": row.context,
    }
    return QuarantineRow(
        row.message_id,
        row.kind,
        row.event,
        row.user_id,
        row.anonymous_id,
        row.received_at,
        row.sent_at,
        row.source,
        row.plan,
        row.plan_version,
        (*row.violations, Violation("storage", "", "a row that ClickHouse takes", why[:200])),
        msgspec.json.encode({key: value for key, value in call.items() if value != ""}).decode(),
    )


def _unreadable(record: bytes, why: str) -> QuarantineRow:
    message_id = hashlib.blake2b(record, digest_size=16).hexdigest()
    return QuarantineRow(
        message_id,
        "",
        "",
        "",
        "",
        time.time_ns() // 1_000_000,
        0,
        "",
        "",
        "",
        (Violation("storage", "", "a record of this version", why[:200]),),
        msgspec.json.encode(record.decode("utf-8", "replace")).decode(),
    )

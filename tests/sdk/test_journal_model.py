"""The log driven in lockstep with a plain list, on a disk that forgets, runs full and fails."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from fake_disk import FakeDisk
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from desirepath.errors import LogFullError, LogSyncError
from desirepath.journal import Journal, Position

FOLDER = Path("/log")
MAX_BYTES = 4000
EXAMPLES = int(os.environ.get("DESIREPATH_LOG_EXAMPLES", "0"))


class LogMachine(RuleBasedStateMachine):
    """The model is a list of the records that are not acknowledged, and what may become of them.

    `certain` of them, from the first on, must survive a power cut. `forgettable` are records that
    were acknowledged without a durable note: in a power cut they may come back, in order, before
    the others.
    """

    def __init__(self) -> None:
        super().__init__()
        self.disk = FakeDisk()
        self.number = 0
        self.pending: list[bytes] = []
        self.durable: set[bytes] = set()
        self.suspect: set[bytes] = set()
        self.forgettable: list[bytes] = []
        self.note_failed = False
        self.was_cut = False
        self.last = Position(0, 0, 0)

    @initialize(segment_bytes=st.sampled_from([64, 200, 1000]))
    def begin(self, segment_bytes: int) -> None:
        self.segment_bytes = segment_bytes
        self.open()

    def open(self) -> None:
        self.log = Journal.open(
            FOLDER, max_bytes=MAX_BYTES, segment_bytes=self.segment_bytes, files=self.disk
        )

    def new(self, size: int) -> bytes:
        self.number += 1
        return b"%d:" % self.number + b"\xa7\xd1" * (size // 2)

    @rule(sizes=st.lists(st.integers(0, 120), min_size=1, max_size=5), many=st.booleans())
    def append(self, sizes: list[int], many: bool) -> None:
        payloads = [self.new(size) for size in sizes]
        room = self.log.pending_bytes + sum(map(len, payloads)) + 10 * len(payloads) <= MAX_BYTES
        try:
            if many:
                place = self.log.append_many(payloads)
                self.pending += payloads
            else:
                for payload in payloads:
                    place = self.log.append(payload)
                    self.pending.append(payload)
        except LogFullError:
            assert self.disk.full or self.disk.writes_fail or not room
        else:
            assert place > self.last, "a place is never given twice"
            self.last = place

    @rule(fail=st.sampled_from([False, False, True]))
    def sync(self, fail: bool) -> None:
        self.disk.syncs_fail = fail
        try:
            self.log.sync()
        except LogSyncError:
            assert fail
            # What was not durable before may never become so, whatever later calls say.
            self.suspect |= {*self.forgettable, *self.pending} - self.durable
        else:
            self.durable |= set(self.pending) - self.suspect
        finally:
            self.disk.syncs_fail = False

    @rule()
    def seal(self) -> None:
        self.log.seal()

    @rule(
        records=st.integers(1, 6),
        size=st.sampled_from([1, 100, 10_000]),
        durable=st.booleans(),
        fail=st.sampled_from([False, False, False, True]),
    )
    def read_and_acknowledge(self, records: int, size: int, durable: bool, fail: bool) -> None:
        batch = self.log.read(records, size)
        assert batch.records == self.pending[: len(batch.records)]
        assert bool(batch.records) == bool(self.pending)
        self.disk.syncs_fail = fail
        try:
            self.log.acknowledge(batch.end, durable=durable)
            noted = durable
            self.note_failed = self.note_failed and not batch.records
        except LogSyncError:
            assert fail or self.disk.full or self.disk.writes_fail
            noted = False
            self.note_failed = True
        finally:
            self.disk.syncs_fail = False
        if noted and batch.records:
            self.forgettable = []
        elif not noted:
            self.forgettable += batch.records
        del self.pending[: len(batch.records)]

    @rule(full=st.booleans(), writes_fail=st.booleans())
    def disk_runs_full_or_not(self, full: bool, writes_fail: bool) -> None:
        self.disk.full = full
        self.disk.writes_fail = writes_fail

    @rule()
    def reopen(self) -> None:
        self.disk.full = self.disk.writes_fail = False
        self.log.close()
        self.durable |= set(self.pending) - self.suspect
        self.open()
        if self.note_failed:
            # A closed log has tried once more to note what is acknowledged.
            self.note_failed = False

    @rule()
    def kill_the_process(self) -> None:
        """What was written stays, for the operating system has it."""
        self.disk.full = self.disk.writes_fail = False
        self.disk.locked.clear()
        self.open()
        found = self.everything()
        if self.note_failed:
            returned = found[: len(found) - len(self.pending)]
            assert is_subsequence(returned, self.forgettable)
            self.pending = returned + self.pending
            del self.forgettable[len(self.forgettable) - len(returned) :]
            self.note_failed = False
        assert found == self.pending
        self.durable |= set(self.pending) - self.suspect

    @precondition(lambda self: self.number)
    @rule(seed=st.integers(0, 2**32))
    def cut_the_power(self, seed: int) -> None:
        self.disk.full = self.disk.writes_fail = False
        self.was_cut = True
        self.disk.power_cut(random.Random(seed))
        self.open()
        found = self.everything()
        candidates = [*self.forgettable, *self.pending]
        assert is_subsequence(found, candidates), "unknown, repeated or out of order"
        lost = [p for p in self.pending if p in self.durable and p not in set(found)]
        assert not lost, "durable records are lost"
        self.pending = found
        self.durable |= set(found)  # what was read from the platter is on it
        self.suspect -= set(found)
        self.last = self.log.end
        self.forgettable = []
        self.note_failed = False

    def everything(self) -> list[bytes]:
        found: list[bytes] = []
        after = None
        while (batch := self.log.read(3, 200, after=after)).records:
            found += batch.records
            after = batch.end
        return found

    @invariant()
    def it_holds_what_the_model_holds(self) -> None:
        if self.number:
            assert self.everything() == self.pending
            assert self.log.pending_records == len(self.pending)
            size = sum(map(len, self.pending)) + 10 * len(self.pending)
            # Damaged stretches between records take room until they are behind the cursor.
            extra = self.log.pending_bytes - size
            assert extra == 0 or (self.was_cut and extra > 0)


def is_subsequence(short: list[bytes], long: list[bytes]) -> bool:
    rest = iter(long)
    return all(any(item == other for other in rest) for item in short)


TestLog = LogMachine.TestCase
TestLog.settings = settings(
    # The same walks every time, unless more are asked for.
    max_examples=EXAMPLES or 100,
    derandomize=not EXAMPLES,
    stateful_step_count=30,
    deadline=None,
    report_multiple_bugs=False,
)


def test_a_failed_sync_is_never_believed_later() -> None:
    """The trap this guards against: fsync, failed once, succeeds when it is asked again."""
    disk = FakeDisk()
    log = Journal.open(FOLDER, files=disk)
    log.append(b"before")
    log.sync()
    log.append(b"doubtful")
    disk.syncs_fail = True
    with pytest.raises(LogSyncError):
        log.sync()
    disk.syncs_fail = False
    place = log.append(b"after")
    assert log.sync() == place
    assert [segment.name for segment in sorted(disk.shown) if segment.suffix == ".log"] == [
        f"{1:016x}.log",
        f"{2:016x}.log",
    ], "a new segment is begun"
    disk.power_cut(random.Random(0))
    log = Journal.open(FOLDER, files=disk)
    before = log.read()
    assert before.records == [b"before"]
    assert log.read(after=before.end).records == [b"after"]

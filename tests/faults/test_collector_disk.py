"""The disk below the spool fails at every possible place; what was acknowledged is there."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import msgspec
import pytest

from desirepath.errors import DesirepathError
from desirepath.journal import DiskFileSystem, Journal
from desirepath_collector.http.answers import Refusal
from desirepath_collector.spool import Spool

COMMITS = 12
SEGMENT_BYTES = 4096


class FaultyFiles(DiskFileSystem):
    """Fails the `nth` call with an error; with `dead`, that call and all later ones.

    A dead disk stands for a dead process: nothing after that moment happens any more.
    """

    def __init__(self, nth: int, number: int, *, dead: bool) -> None:
        super().__init__()
        self.calls = 0
        self.nth = nth
        self.number = number
        self.dead = dead

    def step(self) -> None:
        self.calls += 1
        if self.calls == self.nth or (self.dead and self.calls > self.nth):
            raise OSError(self.number, "injected")

    def create(self, path: Path, size: int) -> Any:
        self.step()
        return _FaultyFile(self, super().create(path, size))

    def open(self, path: Path) -> Any:
        self.step()
        return _FaultyFile(self, super().open(path))

    def rename(self, old: Path, new: Path) -> None:
        self.step()
        super().rename(old, new)

    def unlink(self, path: Path) -> None:
        self.step()
        super().unlink(path)

    def sync_folder(self, folder: Path) -> None:
        self.step()
        super().sync_folder(folder)


class _FaultyFile:
    def __init__(self, files: FaultyFiles, file: Any) -> None:
        self._files = files
        self._file = file

    def size(self) -> int:
        return self._file.size()

    def read(self, offset: int, size: int) -> bytes:
        return self._file.read(offset, size)

    def write(self, offset: int, data: bytes) -> None:
        try:
            self._files.step()
        except OSError:
            # A torn write: half of it is there.
            self._file.write(offset, data[: len(data) // 2])
            raise
        self._file.write(offset, data)

    def truncate(self, size: int) -> None:
        self._files.step()
        self._file.truncate(size)

    def sync(self) -> None:
        self._files.step()
        self._file.sync()

    def close(self) -> None:
        self._file.close()


def record(number: int) -> bytes:
    return msgspec.json.encode([f"record {number}", "x" * 600])


async def scenario(folder: Path, files: FaultyFiles) -> set[int] | None:
    """Which commits were acknowledged; None if not even the start succeeded."""
    acknowledged: set[int] = set()
    try:
        journal = Journal.open(folder, segment_bytes=SEGMENT_BYTES, files=files)
    except DesirepathError:
        return None
    spool = Spool(journal)
    refusals: list[Refusal] = []
    try:
        for number in range(COMMITS):
            try:
                await spool.commit([record(number)])
                acknowledged.add(number)
            except Refusal as refusal:
                refusals.append(refusal)
    finally:
        await spool.close()
    assert {refusal.kind.status for refusal in refusals} <= {503}
    return acknowledged


def present(folder: Path) -> list[int]:
    """What a new process finds."""
    with Journal.open(folder, segment_bytes=SEGMENT_BYTES) as journal:
        found, after = [], None
        while records := (batch := journal.read(1000, 1 << 30, after=after)).records:
            found += [int(msgspec.json.decode(one)[0].split()[1]) for one in records]
            after = batch.end
        return found


@pytest.mark.parametrize("dead", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
async def test_every_file_operation_fails(tmp_path: Path, number: int, dead: bool) -> None:
    nth = 0
    while True:
        nth += 1
        folder = tmp_path / str(nth)
        files = FaultyFiles(nth, number, dead=dead)
        survived = await scenario(folder, files)
        acknowledged = survived or set()
        found = present(folder)
        assert acknowledged <= set(found), f"call {nth} lost an acknowledged record"
        assert set(found) <= set(range(COMMITS))
        assert len(found) == len(set(found)), f"call {nth} doubled a record"
        if files.calls < nth:
            # Fewer calls than that are made: every place was tried.
            assert acknowledged == set(range(COMMITS))
            break
        if not dead and survived is not None:
            # One failure does not stop a collector that runs.
            assert len(acknowledged) >= COMMITS - 2
    assert nth > 20

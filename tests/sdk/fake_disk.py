"""A disk in memory that forgets what was not synced, runs full, and fails to sync on request.

Pessimistic on purpose: in a power cut every unsynced write of a file survives whole, in part or
not at all, independently of the others, and so does every unsynced change of a name. After a
failed sync the writes it was for are gone for good, although the file still shows them and the
next sync succeeds, as on Linux.
"""

from __future__ import annotations

import errno
import random
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Inode:
    durable: bytearray
    shown: bytearray
    unsynced: list[tuple[int, bytes] | int] = field(default_factory=list)
    """(offset, bytes) of a write, or the size of a truncation."""


def apply(data: bytearray, change: tuple[int, bytes] | int) -> None:
    if isinstance(change, int):
        size = change
        if size < len(data):
            del data[size:]
        else:
            data.extend(bytes(size - len(data)))
        return
    offset, new = change
    if len(data) < offset + len(new):
        data.extend(bytes(offset + len(new) - len(data)))
    data[offset : offset + len(new)] = new


class FakeFile:
    def __init__(self, disk: FakeDisk, inode: Inode) -> None:
        self._disk = disk
        self._inode = inode
        self._closed = False

    def size(self) -> int:
        return len(self._inode.shown)

    def read(self, offset: int, size: int) -> bytes:
        assert not self._closed
        return bytes(self._inode.shown[offset : offset + size])

    def write(self, offset: int, data: bytes) -> None:
        assert not self._closed
        if self._disk.writes_fail:
            data = data[: len(data) // 2]
        self._change((offset, bytes(data)))
        if self._disk.writes_fail:
            raise OSError(errno.ENOSPC, "No space left on device")

    def truncate(self, size: int) -> None:
        assert not self._closed
        self._change(size)

    def _change(self, change: tuple[int, bytes] | int) -> None:
        apply(self._inode.shown, change)
        self._inode.unsynced.append(change)

    def sync(self) -> None:
        assert not self._closed
        changes, self._inode.unsynced = self._inode.unsynced, []
        if self._disk.syncs_fail:
            raise OSError(errno.EIO, "Input/output error")
        for change in changes:
            apply(self._inode.durable, change)

    def close(self) -> None:
        self._closed = True


class FakeLock:
    def __init__(self, disk: FakeDisk, path: Path) -> None:
        self._disk = disk
        self._path = path

    def release(self) -> None:
        self._disk.locked.discard(self._path)

    forget = release


class FakeDisk:
    """The file system object of `desirepath.journal`."""

    def __init__(self) -> None:
        self.durable: dict[Path, Inode] = {}
        self.shown: dict[Path, Inode] = {}
        self.folders: set[Path] = set()
        self.locked: set[Path] = set()
        self.full = False
        self.writes_fail = False
        self.syncs_fail = False

    def power_cut(self, rng: random.Random) -> None:
        """Forget what was not synced, each change by the throw of a coin."""
        names = self.durable.keys() | self.shown.keys()
        survivors = {}
        for path in sorted(names):
            inode = rng.choice([self.durable.get(path), self.shown.get(path)])
            if inode is not None:
                survivors[path] = inode
        for inode in {id(inode): inode for inode in survivors.values()}.values():
            for change in inode.unsynced:
                fate = rng.random()
                if fate < 0.4:
                    apply(inode.durable, change)
                elif fate < 0.7 and isinstance(change, tuple):
                    offset, data = change
                    start, stop = sorted(rng.randrange(len(data) + 1) for _ in "ab")
                    apply(inode.durable, (offset + start, data[start:stop]))
            inode.unsynced.clear()
            inode.shown[:] = inode.durable
        self.durable = dict(survivors)
        self.shown = dict(survivors)
        self.locked.clear()

    def make_folder(self, folder: Path) -> None:
        self.folders.add(folder)

    def names(self, folder: Path) -> list[str]:
        return [path.name for path in self.shown if path.parent == folder]

    def create(self, path: Path, size: int) -> FakeFile:
        if path in self.shown:
            raise FileExistsError(errno.EEXIST, "exists", str(path))
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        inode = Inode(bytearray(), bytearray(size), [size])
        self.shown[path] = inode
        return FakeFile(self, inode)

    def open(self, path: Path) -> FakeFile:
        if path not in self.shown:
            raise FileNotFoundError(errno.ENOENT, "none", str(path))
        return FakeFile(self, self.shown[path])

    def rename(self, old: Path, new: Path) -> None:
        self.shown[new] = self.shown.pop(old)

    def unlink(self, path: Path) -> None:
        self.shown.pop(path, None)

    def remove_folder(self, folder: Path) -> None:
        if self.names(folder):
            raise OSError(errno.ENOTEMPTY, "not empty")
        self.folders.discard(folder)

    def sync_folder(self, folder: Path) -> None:
        if self.syncs_fail:
            raise OSError(errno.EIO, "Input/output error")
        for path in [path for path in self.durable if path.parent == folder]:
            del self.durable[path]
        for path, inode in self.shown.items():
            if path.parent == folder:
                self.durable[path] = inode

    def lock(self, path: Path) -> FakeLock | None:
        if path in self.locked:
            return None
        self.locked.add(path)
        return FakeLock(self, path)

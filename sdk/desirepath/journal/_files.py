"""The few file operations that the log needs, as an object that tests can replace.

The real one writes through a shared memory map: a plain `write` gives up the interpreter lock,
and with four busy threads that costs 82 us a record instead of 12. A map over a hole would kill
the process with SIGBUS when the disk is full, hence files are allocated before they are mapped.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
from pathlib import Path
from typing import Final, Protocol

from desirepath.errors import LogError, LogFullError

__all__ = ["DiskFileSystem", "File", "FileSystem", "Lock", "failed", "newer"]

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_FOLDER_MODE: Final = 0o700
_FILE_MODE: Final = 0o600


class File(Protocol):
    """An open file."""

    def size(self) -> int:
        """Bytes now."""

    def read(self, offset: int, size: int) -> bytes:
        """At most `size` bytes at `offset`."""

    def write(self, offset: int, data: bytes) -> None:
        """Write all of `data` at `offset`, within what was allocated."""

    def truncate(self, size: int) -> None:
        """Cut to `size`; nothing is written behind it afterwards."""

    def sync(self) -> None:
        """Return when all that was written is durable; OSError if that cannot be promised."""

    def close(self) -> None:
        """Give the descriptor back."""


class Lock(Protocol):
    """A held lock."""

    def release(self) -> None:
        """Give it up."""

    def forget(self) -> None:
        """In a forked child: drop the copy, leaving the parent's lock as it is."""


class FileSystem(Protocol):
    """Where the log lives."""

    def make_folder(self, folder: Path) -> None:
        """Make the folder and its parents."""

    def names(self, folder: Path) -> list[str]:
        """The names in it."""

    def create(self, path: Path, size: int) -> File:
        """A new file with `size` bytes of zeros, allocated; no trace of it if that fails."""

    def open(self, path: Path) -> File:
        """An existing file."""

    def rename(self, old: Path, new: Path) -> None:
        """Replace `new` by `old`."""

    def unlink(self, path: Path) -> None:
        """Remove it, if it is there."""

    def remove_folder(self, folder: Path) -> None:
        """Remove a folder; OSError where it is not empty."""

    def sync_folder(self, folder: Path) -> None:
        """Make creations, renames and removals in it durable."""

    def lock(self, path: Path) -> Lock | None:
        """Take the lock, or None while a living process has it."""


class _DiskFile:
    def __init__(self, descriptor: int, mapped_bytes: int = 0) -> None:
        self._descriptor = descriptor
        self._map = mmap.mmap(descriptor, mapped_bytes) if mapped_bytes else None

    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def read(self, offset: int, size: int) -> bytes:
        mapped = self._map
        if mapped is not None:
            # ValueError: another thread sealed the segment between the two lines.
            with contextlib.suppress(ValueError):
                return mapped[offset : offset + size]
        parts = []
        while size > 0 and (part := os.pread(self._descriptor, size, offset)):
            parts.append(part)
            offset += len(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def write(self, offset: int, data: bytes) -> None:
        mapped = self._map
        if mapped is not None:
            mapped[offset : offset + len(data)] = data
            return
        view = memoryview(data)
        while view:
            written = os.pwrite(self._descriptor, view, offset)
            offset += written
            view = view[written:]

    def truncate(self, size: int) -> None:
        self._unmap()
        os.ftruncate(self._descriptor, size)

    def sync(self) -> None:
        if hasattr(os, "fdatasync"):
            # On Linux this covers what was written through the map.
            os.fdatasync(self._descriptor)
        else:
            mapped = self._map
            if mapped is not None:
                mapped.flush()
            os.fsync(self._descriptor)

    def close(self) -> None:
        self._unmap()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _unmap(self) -> None:
        mapped, self._map = self._map, None
        if mapped is not None:
            mapped.close()


class _DiskLock:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        if self._descriptor >= 0:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            self.forget()

    def forget(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class DiskFileSystem:
    """The machine's own file system."""

    def make_folder(self, folder: Path) -> None:
        """Make the folder and its parents; the new ones are readable by their owner only."""
        if folder.is_dir():
            return
        if not folder.parent.is_dir():
            self.make_folder(folder.parent)
        folder.mkdir(mode=_FOLDER_MODE, exist_ok=True)
        # Best effort: without it a power cut may lose the (still empty) folder.
        with contextlib.suppress(OSError):
            self.sync_folder(folder.parent)

    def names(self, folder: Path) -> list[str]:
        """The names in it."""
        return os.listdir(folder)

    def create(self, path: Path, size: int) -> File:
        """A new file with `size` bytes of zeros, allocated; no trace of it if that fails."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, _FILE_MODE)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(descriptor, 0, size)
            else:
                os.pwrite(descriptor, bytes(size), 0)
            return _DiskFile(descriptor, size)
        except BaseException:
            os.close(descriptor)
            os.unlink(path)
            raise

    def open(self, path: Path) -> File:
        """An existing file."""
        return _DiskFile(os.open(path, os.O_RDWR))

    def rename(self, old: Path, new: Path) -> None:
        """Replace `new` by `old`."""
        os.replace(old, new)

    def unlink(self, path: Path) -> None:
        """Remove it, if it is there."""
        path.unlink(missing_ok=True)

    def remove_folder(self, folder: Path) -> None:
        """Remove a folder; OSError where it is not empty."""
        folder.rmdir()

    def sync_folder(self, folder: Path) -> None:
        """Make creations, renames and removals in it durable."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def lock(self, path: Path) -> Lock | None:
        """Take the lock, or None while a living process has it."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, _FILE_MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink == 0:
                # An owner who took the log over has just removed the folder.
                os.close(descriptor)
                return None
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        return _DiskLock(descriptor)


def failed(message: str, error: OSError) -> LogError:
    """The exception that says what the machine refused."""
    if error.errno in _FULL:
        return LogFullError(f"{message}: the disk is full", hint="free space on that disk")
    return LogError(f"{message}: {error.strerror or error}", hint="check the folder's permissions")


def newer(folder: Path) -> LogError:
    """The exception that leaves a folder as it is, because a later version has written it."""
    return LogError(
        f"{folder} was written by a newer version of Desirepath",
        hint="use that version, or let it finish its work there first",
    )

"""Who holds a data folder, and how others reach the warehouse in it.

chDB allows one process a folder, and complains on stderr when a second one tries. So whoever opens
the engine first takes an flock on `data/lock`; within a process it is shared and counted. A server
leaves `data/server.json` (mode 0600) behind while it runs, with the ports and the token through
which other processes read, and holds the lock as long, also where its ClickHouse is elsewhere. A
file in a folder whose lock is free is stale and ignored: a pid would not tell, others get it again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from pathlib import Path
from typing import Final

import msgspec

from desirepath.errors import WarehouseError, WarehouseHeldError

__all__ = [
    "FolderLock",
    "ServerFile",
    "make_folder",
    "read_server_file",
    "remove_server_file",
    "write_server_file",
]

LOCK_NAME: Final = "lock"
SERVER_NAME: Final = "server.json"
WAREHOUSE_NAME: Final = "warehouse"

_GLANCE_S: Final = 0.2
_PAUSE_S: Final = 0.02
"""Others hold the lock for an instant to see whether it is free."""

OWNER_WAIT_S: Final = 5.0
"""An owner waits so long for a reader to let go."""


class ServerFile(msgspec.Struct, frozen=True):
    """What a running server tells other processes of the same user.

    Parameters
    ----------
    pid
        The server's process.
    http
        Base URL of the collector, e.g. `http://127.0.0.1:8000`.
    clickhouse
        URL of its read-only ClickHouse port, e.g. `http://127.0.0.1:8123`, with the database as
        path where that is not the default one.
    user, password
        Credentials for that port.
    """

    pid: int
    http: str
    clickhouse: str
    user: str
    password: str

    def __repr__(self) -> str:
        return f"ServerFile(pid={self.pid}, http={self.http!r}, clickhouse={self.clickhouse!r})"


def make_folder(folder: str | os.PathLike[str]) -> None:
    """Make a data folder, for its owner's eyes only; one that is there stays as it is."""
    Path(folder).parent.mkdir(parents=True, exist_ok=True)
    Path(folder).mkdir(mode=0o700, exist_ok=True)


def write_server_file(folder: str | os.PathLike[str], content: ServerFile) -> None:
    """Tell other processes how to reach this server; readable by the same user only.

    Raises
    ------
    WarehouseHeldError
        If another living process holds the folder.
    """
    path = Path(folder) / SERVER_NAME
    with _telling_guard:
        key = str(path.parent.resolve())
        if key not in _telling:
            _telling[key] = FolderLock(path.parent, wait_s=OWNER_WAIT_S)
    draft = path.with_suffix(".tmp")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(content))
    draft.replace(path)


def read_server_file(folder: str | os.PathLike[str]) -> ServerFile | None:
    """The server that holds `folder` now; None if there is none, or it is gone."""
    content = _content(Path(folder))
    return content if content is not None and _is_locked(Path(folder)) else None


def remove_server_file(folder: str | os.PathLike[str]) -> None:
    """Take back what `write_server_file` told, if it was this process that told it."""
    path = Path(folder) / SERVER_NAME
    content = _content(path.parent)
    if content is None or content.pid == os.getpid():
        path.unlink(missing_ok=True)
    with _telling_guard:
        lock = _telling.pop(str(path.parent.resolve()), None)
    if lock is not None:
        lock.release()


class FolderLock:
    """The right to open the engine on a folder. Shared and counted within a process.

    Parameters
    ----------
    folder
        The data folder.
    wait_s
        How long to wait, in seconds, for another process to let go; not for a running server.
    """

    _guard = threading.Lock()
    _held: dict[str, tuple[int, int]] = {}  # noqa: RUF012 (guarded by _guard; real path -> fd, count)

    def __init__(self, folder: Path, *, wait_s: float = _GLANCE_S) -> None:
        self._key = str(folder.resolve())
        self._released = False
        begun = time.monotonic()
        while True:
            passed = time.monotonic() - begun
            if self._taken(
                folder, last=passed >= wait_s or (passed >= _GLANCE_S and _serves(folder))
            ):
                break
            time.sleep(_PAUSE_S)

    def _taken(self, folder: Path, *, last: bool) -> bool:
        with FolderLock._guard:
            held = FolderLock._held.get(self._key)
            try:
                descriptor = held[0] if held else _lock(folder)
            except WarehouseHeldError:
                if last:
                    raise
                return False
            FolderLock._held[self._key] = (descriptor, (held[1] if held else 0) + 1)
        return True

    @staticmethod
    def held_here(folder: Path) -> bool:
        """Whether this process holds `folder` for more than a server's file."""
        with FolderLock._guard:
            key = str(folder.resolve())
            return FolderLock._held.get(key, (0, 0))[1] > (key in _telling)

    def release(self) -> None:
        """Give this share back; the last one frees the folder."""
        with FolderLock._guard:
            if self._released:
                return
            self._released = True
            descriptor, count = FolderLock._held[self._key]
            if count > 1:
                FolderLock._held[self._key] = (descriptor, count - 1)
                return
            del FolderLock._held[self._key]
            os.close(descriptor)


def _lock(folder: Path) -> int:
    try:
        descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise WarehouseError(
            f"the data folder {folder} cannot be written: {error.strerror}",
            hint="choose another one with --data, or mend its permissions",
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
        os.close(descriptor)
        by = f"process {holder}" if holder.isdigit() else "another process"
        if not _serves(folder):
            by += ", which may be a reader: a notebook, or a query that runs"
        raise WarehouseHeldError(
            f"the data folder {folder} is held by {by}",
            hint="end that process, or choose another folder with --data",
        ) from error
    # Whoever wrote it is gone; from here on the lock would make it look alive.
    with contextlib.suppress(OSError):
        (folder / SERVER_NAME).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        # Only for the message above; a full disk must not keep the folder shut.
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor


def _content(folder: Path) -> ServerFile | None:
    try:
        return msgspec.json.decode((folder / SERVER_NAME).read_bytes(), type=ServerFile)
    except (OSError, msgspec.DecodeError):
        return None


def _serves(folder: Path) -> bool:
    """Whether a server told of itself, in a folder whose lock was found taken."""
    return (folder / SERVER_NAME).exists()


def _is_locked(folder: Path) -> bool:
    """Whether a process, this one too, holds the lock."""
    try:
        descriptor = os.open(folder / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        # Gives back what was just got; who wants the folder in that instant tries again.
        os.close(descriptor)
    return False


_telling_guard: Final = threading.Lock()
_telling: Final[dict[str, FolderLock]] = {}
"""The lock behind each server file of this process."""

"""Who holds a data folder, and how others reach the warehouse in it.

chDB allows one process a folder, and complains on stderr when a second one tries. So whoever opens
the engine first takes an flock on `data/lock`; within a process it is shared and counted. A server
leaves `data/server.json` (mode 0600) behind while it runs, with the ports and the token through
which other processes read; a file whose process is gone is stale and ignored.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from pathlib import Path
from typing import Final

import msgspec

from desirepath.errors import WarehouseError, WarehouseHeldError

__all__ = [
    "FolderLock",
    "ServerFile",
    "read_server_file",
    "remove_server_file",
    "write_server_file",
]

LOCK_NAME: Final = "lock"
SERVER_NAME: Final = "server.json"
WAREHOUSE_NAME: Final = "warehouse"


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


def write_server_file(folder: str | os.PathLike[str], content: ServerFile) -> None:
    """Tell other processes how to reach this server; readable by the same user only."""
    path = Path(folder) / SERVER_NAME
    draft = path.with_suffix(".tmp")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(content))
    draft.replace(path)


def read_server_file(folder: str | os.PathLike[str]) -> ServerFile | None:
    """The server that holds `folder` now; None if there is none, or its process is gone."""
    try:
        content = msgspec.json.decode((Path(folder) / SERVER_NAME).read_bytes(), type=ServerFile)
    except (OSError, msgspec.DecodeError):
        return None
    return content if _alive(content.pid) else None


def remove_server_file(folder: str | os.PathLike[str]) -> None:
    """Take back what `write_server_file` told, if it was this process that told it."""
    path = Path(folder) / SERVER_NAME
    content = read_server_file(folder)
    if content is None or content.pid == os.getpid():
        path.unlink(missing_ok=True)


class FolderLock:
    """The right to open the engine on a folder. Shared and counted within a process."""

    _guard = threading.Lock()
    _held: dict[str, tuple[int, int]] = {}  # noqa: RUF012 (guarded by _guard; real path -> fd, count)

    def __init__(self, folder: Path) -> None:
        self._key = str(folder.resolve())
        self._released = False
        with FolderLock._guard:
            held = FolderLock._held.get(self._key)
            descriptor = held[0] if held else _lock(folder)
            FolderLock._held[self._key] = (descriptor, (held[1] if held else 0) + 1)

    @staticmethod
    def held_here(folder: Path) -> bool:
        """Whether this process holds the lock of `folder`."""
        with FolderLock._guard:
            return str(folder.resolve()) in FolderLock._held

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
        raise WarehouseHeldError(
            f"the data folder {folder} is held by {by}",
            hint="stop that process, or choose another folder with --data",
        ) from error
    with contextlib.suppress(OSError):
        # Only for the message above; a full disk must not keep the folder shut.
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

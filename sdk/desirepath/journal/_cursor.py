"""The file that says how far everything is acknowledged."""

from __future__ import annotations

import contextlib
from pathlib import Path

from desirepath.journal._files import File, FileSystem, newer
from desirepath.journal._format import (
    CURSOR_BYTES,
    Position,
    decode_cursor,
    encode_cursor,
    is_newer,
)
from desirepath.journal._recovery import refuse_newer

__all__ = ["Cursor"]


class Cursor:
    """The cursor of one folder; for the thread that acknowledges.

    Made with its file, so that a disk that runs full later cannot keep progress from being noted.
    """

    def __init__(self, folder: Path, files: FileSystem) -> None:
        self._folder = folder
        self._files = files
        self._file: File | None = None
        self._generation = 0
        # The slot that must survive: it holds the newest position that is durable.
        self._kept_slot = 1
        self._unnoted = False
        self.position = Position(0, 0, 0)
        self._load()

    def note(self, position: Position, *, durable: bool) -> None:
        """Write `position` down; OSError if that, or making it durable, failed."""
        self.position = position
        self._unnoted = True
        self._generation += 1
        free = 1 - self._kept_slot
        offset, slot = encode_cursor(position, self._generation, free)
        if self._file is None:
            self._make(offset, slot)
            self._kept_slot = free
        else:
            try:
                self._file.write(offset, slot)
                if durable:
                    self._file.sync()
                    self._kept_slot = free
            except OSError:
                # A descriptor whose sync has failed is not asked again: the next note goes to a
                # new file, and this one stays what it is.
                self._drop()
                raise
        self._unnoted = False

    def close(self) -> None:
        """Try once more what could not be noted, and close the file."""
        if self._unnoted:
            with contextlib.suppress(OSError):
                self.note(self.position, durable=True)
        self._drop()

    def forget(self) -> None:
        """Close the file, without a word to it."""
        self._drop()

    def _load(self) -> None:
        refuse_newer(self._folder, self._files)
        try:
            file = self._files.open(self._folder / "cursor")
        except FileNotFoundError:
            with contextlib.suppress(OSError):
                self._make(*encode_cursor(self.position, self._generation, 0))
                self._kept_slot = 0
            return
        data = file.read(0, CURSOR_BYTES)
        if is_newer(data) or is_newer(data[CURSOR_BYTES // 2 :]):
            file.close()
            raise newer(self._folder)
        found = decode_cursor(data)
        if found is not None:
            self.position, self._generation, self._kept_slot = found
        if found is None or len(data) < CURSOR_BYTES:
            file.close()
            if found is None and data.strip(b"\0"):
                damaged = self._folder / "damaged"
                self._files.make_folder(damaged)
                self._files.rename(self._folder / "cursor", damaged / "cursor")
            return
        self._file = file
        with contextlib.suppress(OSError):
            # Noted by a dead owner, perhaps never synced.
            file.sync()

    def _make(self, offset: int, slot: bytes) -> None:
        fresh = self._folder / "cursor.new"
        self._files.unlink(fresh)
        file = self._files.create(fresh, CURSOR_BYTES)
        try:
            file.write(offset, slot)
            file.sync()
            self._files.rename(fresh, self._folder / "cursor")
            self._files.sync_folder(self._folder)
        except BaseException:
            file.close()
            raise
        self._file = file

    def _drop(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()

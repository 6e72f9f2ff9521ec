"""Where events wait: on disk, one log a process, or in memory where the disk refuses.

A destination (collector and write key) has one folder; in it each process has a log of its own,
so that processes share nothing. The log of a dead process is adopted by whoever looks next. What
`put` took is delivered at least once, or stays on disk; only what is in memory dies with the
process.

A key names a source, so nobody sends what waits under another key, but for one case: where the
collector has refused the key (a file `refused` in the folder tells) and no living process uses it,
the events are nobody's any more, and whoever sends to the same collector adopts them.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

from desirepath.errors import LogError, LogFullError, LogHeldError
from desirepath.journal import Journal, Position

__all__ = ["Mark", "Queue", "Take", "destination_folder"]

_DISK_RETRY_S: Final = 1.0
_OPEN_ATTEMPTS: Final = 3
_PURGE_BYTES: Final = 1 << 20
_REFUSED: Final = "refused"


class Take(msgspec.Struct, frozen=True):
    """Records handed out for sending; `log` is None where they wait in memory."""

    records: list[bytes]
    log: Journal | None = None
    end: Position | None = None


class Mark(msgspec.Struct, frozen=True):
    """What was waiting at one moment."""

    place: Position | None
    remembered: int
    adopted: frozenset[int]


def destination_folder(root: Path | None, endpoint: str, write_key: str) -> Path:
    """The folder of one destination's logs, below `root` or the user's state folder."""
    # Imported where it is needed, like all that an import of the SDK can do without.
    import hashlib

    if root is None:
        root = _state_folder()
    name = hashlib.blake2b(f"{endpoint}\n{write_key}".encode(), digest_size=8).hexdigest()
    return root / name


def _state_folder() -> Path:
    home = os.environ.get("XDG_STATE_HOME")
    if home:
        return Path(home) / "desirepath"
    with contextlib.suppress(RuntimeError):
        state = Path.home() / ".local" / "state"
        probe = state
        while not probe.exists():
            probe = probe.parent
        if os.access(probe, os.W_OK):
            return state / "desirepath"
    import tempfile

    return Path(tempfile.gettempdir()) / f"desirepath-{os.getuid()}"


class Queue:
    """Takes records from any thread, hands them to one.

    Parameters
    ----------
    folder
        The destination's folder; None keeps everything in memory.
    endpoint
        The collector's URL.
    max_bytes
        The bound on disk.
    memory_bytes
        The bound on what waits in memory.
    on_trouble
        Told, in words, when the disk refuses.
    on_note
        Told a kind and words of what else is wrong on disk, and costs no event.
    on_lost
        Told a reason, a number of records and why, when a log cannot be read any more.
    """

    def __init__(
        self,
        folder: Path | None,
        *,
        endpoint: str,
        max_bytes: int,
        memory_bytes: int,
        on_trouble: Callable[[str], None],
        on_note: Callable[[str, str], None],
        on_lost: Callable[[str, int, str], None],
    ) -> None:
        self._folder = folder
        self._endpoint = endpoint
        self._max_bytes = max_bytes
        self._memory_bytes = memory_bytes
        self._on_trouble = on_trouble
        self._on_note = on_note
        self._on_lost = on_lost
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.RLock()
        self._inside = False
        self._log: Journal | None = None
        self._adopted: list[Journal] = []
        self._disk_again_s = 0.0
        self._is_refused: bool | None = None
        self._memory: deque[bytes] = deque()
        self._in_memory_bytes = 0
        self._remembered = 0
        self._recalled = 0
        self._refused = 0
        self._again = 0
        self._appended = 0
        self._left = 0

    def put(self, record: bytes) -> bool:
        """Keep one record; False where there is no room left anywhere.

        Without a lock of its own: the log has one, and this is paid by every event.
        """
        log = self._log
        if log is not None and not self._disk_again_s:
            try:
                log.append(record)
            except LogFullError as error:
                self._trouble(error)
            except LogError as error:
                # Also where a signal handler or a finaliser runs inside our own `append`.
                if not log.busy:
                    self._trouble(error)
            else:
                return True
        return self._put_slowly(record)

    def _put_slowly(self, record: bytes) -> bool:
        """The first record, and those that come while the disk refuses."""
        with self._lock:
            if self._inside:
                return self._remember(record)
            self._inside = True
            try:
                log = self._log or self._open()
                if log is not None and time.monotonic() >= self._disk_again_s and not log.busy:
                    try:
                        log.append(record)
                    except LogFullError as error:
                        self._trouble(error)
                    except LogError as error:
                        # Its folder is gone, perhaps. What it holds is read, and the next record
                        # goes to a new one.
                        self._trouble(error)
                        self._adopted.append(log)
                        self._appended += log.appended
                        self._log = None
                    else:
                        self._disk_again_s = 0.0
                        return True
                return self._remember(record)
            finally:
                self._inside = False

    def peek(self, max_records: int, max_bytes: int) -> Take:
        """The next records, oldest first, which stay until `done`."""
        for log in (*self._adopted, self._log):
            if log is None or not log.pending_records:
                continue
            missing, damaged = log.missing, log.damaged
            try:
                batch = log.read(max_records, max_bytes)
            except (LogError, OSError) as error:
                if self._folder is None:
                    raise
                self._leave(log, error)
                continue
            if log.missing > missing:
                self._on_lost("disk", log.missing - missing, f"{log.folder} has been emptied")
            if log.damaged > damaged:
                self._tell_damage(log, log.damaged - damaged)
            if batch.records:
                return Take(batch.records, log, batch.end)
            if log.pending_records:
                # Only damage was left.
                log.acknowledge(batch.end)
        records: list[bytes] = []
        size = 0
        with self._lock:
            for record in islice(self._memory, max_records):
                size += len(record)
                if records and size > max_bytes:
                    break
                records.append(record)
        return Take(records)

    def done(self, take: Take) -> None:
        """Forget what was handed out."""
        if take.log is not None and take.end is not None:
            try:
                take.log.acknowledge(take.end, durable=False)
            except LogError as error:
                if take.log is self._log or take.log in self._adopted:
                    self._note("progress", error)
            return
        with self._lock:
            for _ in take.records[: len(self._memory)]:
                self._in_memory_bytes -= len(self._memory.popleft())
            self._recalled += len(take.records)

    @property
    def taken(self) -> int:
        """How many records were put, kept or not."""
        log = self._log
        appended = self._appended + (0 if log is None else log.appended)
        return appended + self._remembered + self._refused - self._again

    @property
    def pending(self) -> int:
        """How many records wait."""
        waiting = len(self._memory) + self._left
        log = self._log
        if log is not None:
            waiting += log.pending_records
        for log in self._adopted:
            waiting += log.pending_records
        return waiting

    @property
    def memory_records(self) -> int:
        """How many of them wait in memory only."""
        return len(self._memory)

    def mark(self) -> Mark:
        """What waits now, for `passed`."""
        with self._lock:
            return Mark(
                None if self._log is None else self._log.end,
                self._remembered,
                frozenset(map(id, self._adopted)),
            )

    def passed(self, mark: Mark) -> bool:
        """Whether all of it has been dealt with."""
        log = self._log
        return self._recalled >= mark.remembered and (
            mark.place is None or log is None or log.cursor >= mark.place
        )

    def adopted_passed(self, mark: Mark) -> bool:
        """Whether all of it that dead processes had left has been dealt with."""
        return not any(id(one) in mark.adopted and one.pending_records for one in self._adopted)

    def purge(self, refused: Callable[[bytes], bool]) -> int:
        """Take out everything that is refused now; how many records that were.

        By the thread that reads. The rest is appended again behind, so the order among events
        that wait may change; their times do not. Where there is no room for that, the rest stays as
        it is: the sender looks at each event once more.
        """
        purged = 0
        log = self._log
        if log is not None:
            # What stays goes to another file, so that this one can be removed.
            with contextlib.suppress(LogError):
                log.seal()
        mark = self.mark()
        while not (self.passed(mark) and self.adopted_passed(mark)):
            take = self.peek(1000, _PURGE_BYTES)
            dealt = 0
            for record in take.records:
                if refused(record):
                    purged += 1
                else:
                    kept = self.put(record)
                    # Counted once more by `put`, kept or not.
                    self._again += 1
                    if not kept:
                        break
                dealt += 1
            if not dealt:
                break
            self.done(take if dealt == len(take.records) else _beginning(take, dealt))
        self._drop_empty()
        return purged

    def sync(self) -> None:
        """Make what waits on disk safe from a power cut."""
        if self._log is not None:
            try:
                self._log.sync()
            except LogError as error:
                self._note("sync", error)

    def adopt(self) -> int:
        """Take over the logs of processes that are gone; how many records they hold."""
        self._drop_empty()
        # Once: another thread may be closing.
        folder = self._folder
        if folder is None:
            return 0
        logs, _ = self._left_in(folder)
        return self._take_over(logs)

    def adopt_refused(self) -> int:
        """Take over what waits under keys that the collector refuses and that nobody uses."""
        own = self._folder
        if own is None or self._is_refused:
            return 0
        found = 0
        for folder in _refused_folders(own, self._endpoint):
            logs, in_use = self._left_in(folder)
            if not in_use:
                found += self._take_over(logs)
                continue
            for log in logs:
                with contextlib.suppress(LogError):
                    log.close()
        return found

    def note_refused(self, refused: bool) -> None:
        """Leave word whether the collector refuses the key, for `adopt_refused` of others."""
        folder = self._folder
        if folder is None or self._is_refused is refused:
            return
        self._is_refused = refused
        marker = folder / _REFUSED
        with contextlib.suppress(OSError):
            if refused:
                marker.write_bytes(self._endpoint.encode())
            else:
                marker.unlink(missing_ok=True)

    def _left_in(self, folder: Path) -> tuple[list[Journal], bool]:
        """The logs of dead processes, now ours, and whether there are living ones."""
        logs: list[Journal] = []
        in_use = False
        try:
            names = sorted(os.listdir(folder))
        except OSError:
            return [], False
        own = {log.folder for log in (*self._adopted, self._log) if log is not None}
        for name in names:
            if folder / name in own or not _is_log(name):
                continue
            try:
                logs.append(Journal.open(folder / name, max_bytes=self._max_bytes))
            except LogHeldError:
                in_use = True
            except LogError as error:
                # Our own log is none the worse for it. One that is gone is its next owner's.
                if not isinstance(error.__cause__, FileNotFoundError):
                    self._note("neighbour", error)
        return logs, in_use

    def _take_over(self, logs: list[Journal]) -> int:
        found = 0
        for log in logs:
            if log.damaged:
                found += log.damaged
                self._tell_damage(log, log.damaged)
            if log.pending_records:
                self._adopted.append(log)
                found += log.pending_records
            else:
                log.remove()
        return found

    def close(self, *, for_good: bool = True) -> int:
        """Give the logs up; how many records were in memory only and are gone.

        What waits on disk is for the next start. Where it is not for good, what is put from here on
        waits there, too.
        """
        with self._lock:
            self._drop_empty()
            dropped = len(self._memory)
            self._memory.clear()
            self._in_memory_bytes = 0
            logs = [*self._adopted, self._log]
            self._adopted = []
            self._appended += 0 if self._log is None else self._log.appended
            self._log = None
            if for_good:
                self._folder = None
        for log in logs:
            if log is None:
                continue
            self._left += log.pending_records
            try:
                if log.pending_records:
                    log.close()
                else:
                    log.remove()
            except LogError as error:
                self._note("close", error)
        return dropped

    def forget(self) -> None:
        """In a forked child: leave everything to the parent and begin anew."""
        for log in (*self._adopted, self._log):
            if log is not None:
                log.forget()
        self._reset()

    def _open(self) -> Journal | None:
        if self._folder is None or time.monotonic() < self._disk_again_s:
            return None
        for attempt in range(_OPEN_ATTEMPTS):
            name = f"{os.getpid()}-{os.urandom(4).hex()}"
            try:
                self._log = Journal.open(self._folder / name, max_bytes=self._max_bytes)
            except LogError as error:
                # Somebody who looks for orphans may take the folder before we have locked it.
                if attempt == _OPEN_ATTEMPTS - 1:
                    self._trouble(error)
            else:
                return self._log
        return None

    def _leave(self, log: Journal, error: Exception) -> None:
        """Give up a log whose files were taken away or cannot be read."""
        with self._lock:
            if log is self._log:
                self._appended += log.appended
                self._log = None
            else:
                self._adopted.remove(log)
        lost = log.pending_records
        with contextlib.suppress(LogError, OSError):
            log.close()
        self._on_lost("disk", lost, str(error))

    def _remember(self, record: bytes) -> bool:
        if self._in_memory_bytes + len(record) > self._memory_bytes:
            self._refused += 1
            return False
        self._memory.append(record)
        self._in_memory_bytes += len(record)
        self._remembered += 1
        return True

    def _trouble(self, error: LogError) -> None:
        self._disk_again_s = time.monotonic() + _DISK_RETRY_S
        self._on_trouble(error.message)

    def _note(self, kind: str, error: LogError) -> None:
        self._on_note(kind, error.message)

    def _tell_damage(self, log: Journal, stretches: int) -> None:
        """Each stretch of damaged bytes held at least one record; how many more, nobody knows."""
        place = log.folder / "damaged"
        self._on_lost("disk", stretches, f"damaged bytes were set aside in {place}")

    def _drop_empty(self) -> None:
        for log in [log for log in self._adopted if not log.pending_records]:
            self._adopted.remove(log)
            try:
                log.remove()
            except LogError as error:
                self._note("remove", error)


def _beginning(take: Take, records: int) -> Take:
    """The first records of a take."""
    if take.log is None:
        return Take(take.records[:records])
    batch = take.log.read(records, _PURGE_BYTES)
    return Take(batch.records, take.log, batch.end)


def _refused_folders(own: Path, endpoint: str) -> list[Path]:
    """The folders of other keys that this collector has refused."""
    try:
        markers = [one for one in sorted(own.parent.glob(f"*/{_REFUSED}")) if one.parent != own]
        return [one.parent for one in markers if one.read_bytes() == endpoint.encode()]
    except OSError:
        return []


def _is_log(name: str) -> bool:
    pid, dash, token = name.partition("-")
    return bool(dash) and pid.isdigit() and len(token) == 8

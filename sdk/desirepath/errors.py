"""Every exception that Desirepath raises, in one tree.

    DesirepathError
    ├── SettingsError            a setting, environment variable or argument is wrong
    ├── PlanError                the tracking plan is wrong; carries file, line and column
    ├── ViolationError           an event broke its plan and the app asked for on_violation="raise"
    ├── InputError               a file or record that was handed in cannot be read
    ├── DeliveryError            a collector could not be reached or refused what was sent
    ├── LogError                 the durable log
    │   ├── LogFullError         its size bound, or the disk, is reached
    │   ├── LogCorruptError      a record or file does not hold what it says
    │   ├── LogSyncError         fsync failed; nothing since the last good one may be believed
    │   └── LogHeldError         another living process owns it
    ├── WarehouseError           ClickHouse; `retryable`: the same call may succeed later
    │   └── WarehouseHeldError   another living process holds the embedded folder
    ├── QueryError               a question cannot be asked like that
    └── NotEstimable             there is too little, or too uniform, data to give a number

Rejected events are not exceptions: they are data (`desirepath.plan.Violation`). An exception is
the caller's mistake or the machine's failure. Each says what is wrong and where in its message,
and what to do about it in `hint`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from desirepath.plan.violations import Violation

__all__ = [
    "DeliveryError",
    "DesirepathError",
    "InputError",
    "LogCorruptError",
    "LogError",
    "LogFullError",
    "LogHeldError",
    "LogSyncError",
    "NotEstimable",
    "PlanError",
    "QueryError",
    "SettingsError",
    "ViolationError",
    "WarehouseError",
    "WarehouseHeldError",
]


class DesirepathError(Exception):
    """The root. `message` says what is wrong and where, `hint` what to do, if that is known."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class SettingsError(DesirepathError):
    """A setting, an environment variable or a command line argument is wrong."""


class PlanError(DesirepathError):
    """The plan is wrong at `path`:`line`:`column` (both counted from 1; None where unknown)."""

    def __init__(
        self,
        message: str,
        *,
        path: str | None = None,
        line: int | None = None,
        column: int | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.path = path
        self.line = line
        self.column = column

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.path, self.line, self.column) if part)
        return f"{place}: {self.message}" if place else self.message


class ViolationError(DesirepathError):
    """An event broke its plan; raised only where the app asked for `on_violation="raise"`."""

    def __init__(self, event: str, violations: Sequence[Violation]) -> None:
        reasons = "; ".join(str(violation) for violation in violations)
        super().__init__(f"{event!r} breaks the tracking plan: {reasons}")
        self.event = event
        self.violations = tuple(violations)


class InputError(DesirepathError):
    """A file or record that was handed in cannot be read as what it should be."""


class DeliveryError(DesirepathError):
    """A collector could not be reached, or refused what was sent."""


class LogError(DesirepathError):
    """The durable log on disk could not do what was asked."""


class LogFullError(LogError):
    """The log's size bound, or the disk below it, is reached. Nothing was written."""


class LogCorruptError(LogError):
    """A record or a segment file does not hold what it says."""


class LogSyncError(LogError):
    """fsync failed: what was appended since the last good one may not be on disk."""


class LogHeldError(LogError):
    """Another living process owns this log."""


class WarehouseError(DesirepathError):
    """ClickHouse refused or failed. `retryable`: the same call may succeed later."""

    def __init__(self, message: str, *, retryable: bool = False, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retryable = retryable


class WarehouseHeldError(WarehouseError):
    """Another living process holds the embedded warehouse's folder."""


class QueryError(DesirepathError):
    """A question cannot be asked like that: an unknown name, an empty range, a limit passed."""


class NotEstimable(DesirepathError):
    """The data does not allow the number that was asked for; the message is the reason."""

    @property
    def reason(self) -> str:
        """Why no number can be given."""
        return self.message

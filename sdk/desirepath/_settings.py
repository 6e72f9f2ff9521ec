"""The tracker's settings: arguments first, then the environment, then these defaults."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, cast

import msgspec

from desirepath.errors import SettingsError

__all__ = [
    "ENVIRONMENT",
    "OnViolation",
    "QueueKind",
    "Secret",
    "Settings",
    "read",
    "without_password",
]

OnViolation = Literal["report", "raise"]
QueueKind = Literal["disk", "memory"]


class Secret(str):
    """A string that does not show itself."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a tracker runs with; `Tracker` documents each."""

    endpoint: str = "http://127.0.0.1:8000"
    write_key: str = Secret("dev")
    queue: QueueKind = "disk"
    queue_dir: Path | None = None
    max_queue_bytes: int = 512 << 20
    max_memory_bytes: int = 16 << 20
    max_event_bytes: int = 256 << 10
    batch_events: int = 1000
    batch_bytes: int = 900_000
    flush_interval_s: float = 1.0
    timeout_s: float = 10.0
    exit_timeout_s: float = 2.0
    gzip: bool | None = None
    on_violation: OnViolation = "report"
    session_timeout_s: float | None = None
    enabled: bool = True


ENVIRONMENT: Final[dict[str, str]] = {
    f"DESIREPATH_{name.upper()}": name for name in Settings.__struct_fields__
}
"""Environment variable -> setting."""

_UNTOLD: Final = ("endpoint", "write_key")
"""What may hold a secret."""

_POSITIVE: Final = (
    "max_queue_bytes",
    "max_memory_bytes",
    "max_event_bytes",
    "batch_events",
    "batch_bytes",
    "timeout_s",
)


def read(arguments: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings from `arguments` (None where not given), then `environment`, then defaults.

    Raises
    ------
    SettingsError
        If a value is of the wrong type or out of range; it names the argument or the variable.
    """
    values: dict[str, Any] = {}
    for variable, name in ENVIRONMENT.items():
        if arguments.get(name) is None and (text := environment.get(variable)):
            values[name] = _convert(variable, name, text)
    for name, value in arguments.items():
        if value is not None:
            values[name] = _convert(name, name, value)
    if "write_key" in values:
        values["write_key"] = Secret(values["write_key"])
    settings = Settings(**values)
    for name in _POSITIVE:
        if getattr(settings, name) <= 0:
            raise SettingsError(f"{name} is {getattr(settings, name)}, not above 0")
    for name in settings.__struct_fields__:
        value = getattr(settings, name)
        if isinstance(value, float) and not math.isfinite(value):
            raise SettingsError(f"{name} is {value}, not a number of seconds")
    return settings


def without_password(endpoint: str) -> str:
    """A URL to show."""
    before, at, place = endpoint.rpartition("@")
    scheme, colons, _ = before.partition("://")
    return f"{scheme if colons else ''}{colons}***@{place}" if at else endpoint


_types: Final = {field.name: field.type for field in msgspec.structs.fields(Settings)}


def _convert(place: str, name: str, value: object) -> Any:
    if name == "queue_dir":
        return Path(cast("str", value))
    try:
        return msgspec.convert(value, _types[name], strict=not isinstance(value, str))
    except msgspec.ValidationError as error:
        shown = type(value).__name__ if name in _UNTOLD else repr(value)
        raise SettingsError(f"{place}: {error}", hint=f"it is {shown}") from None

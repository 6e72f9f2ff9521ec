"""ClickHouse's own error codes, names and HTTP statuses, as its clients expect them."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["DoorError", "error_body", "from_engine", "status_of"]

_NAMES: Final = {
    62: "SYNTAX_ERROR",
    73: "UNKNOWN_FORMAT",
    81: "UNKNOWN_DATABASE",
    115: "UNKNOWN_SETTING",
    164: "READONLY",
    202: "TOO_MANY_SIMULTANEOUS_QUERIES",
    344: "SUPPORT_IS_DISABLED",
    452: "SETTING_CONSTRAINT_VIOLATION",
    497: "ACCESS_DENIED",
    516: "AUTHENTICATION_FAILED",
}

# HTTPHandler's exceptionCodeToHTTPStatus, the codes that a reader can meet.
_STATUS: Final = {
    **dict.fromkeys((194,), 401),
    **dict.fromkeys((192, 193, 516), 403),
    **dict.fromkeys((6, 26, 27, 36, 38, 41, 43, 53, 62, 69, 72, 117, 131, 427, 456, 457), 400),
    **dict.fromkeys((16, 46, 47, 50, 60, 71, 73, 75, 81, 110, 115), 404),
    159: 408,
    202: 503,
    48: 501,
}

_CODE: Final = re.compile(r"Code: (\d+)\.")


class DoorError(Exception):
    """One refusal or failure, as ClickHouse would say it."""

    def __init__(self, code: int, message: str, name: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.name = name or _NAMES.get(code, "UNKNOWN_EXCEPTION")


def from_engine(error: Exception) -> DoorError:
    """What the embedded engine raised; its text keeps its own name and code."""
    text = str(error)
    start = text.find("Code: ")
    text = text[start:] if start >= 0 else text
    match = _CODE.match(text)
    code = int(match[1]) if match else 1002
    message = text.partition("DB::Exception: ")[2] or text
    message = re.sub(r"\s*\(version [^)]*\)", "", message).strip()
    name = re.search(r" \(([A-Z_0-9]+)\)$", message)
    if name:
        message = message[: name.start()]
    return DoorError(code, message, name[1] if name else "UNKNOWN_EXCEPTION")


def status_of(error: DoorError) -> int:
    """The HTTP status that ClickHouse answers with."""
    return _STATUS.get(error.code, 500)


def error_body(error: DoorError, version: str) -> str:
    """The body, in ClickHouse's form."""
    return (
        f"Code: {error.code}. DB::Exception: {error.message}. ({error.name}) (version {version})\n"
    )

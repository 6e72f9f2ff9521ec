"""The head of an intake request: the strict few forms that the short way takes.

A client sends the same head again and again, but for its Content-Length. So the length is cut out
first, and what remains is looked up; only a head that was never seen is taken apart.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from desirepath.event import Kind

__all__ = ["INTAKE_PATHS", "Head", "Heads"]

_KINDS: Final[dict[str, Kind]] = {
    "track": "track",
    "identify": "identify",
    "page": "page",
    "screen": "screen",
    "group": "group",
    "alias": "alias",
    "t": "track",
    "i": "identify",
    "p": "page",
    "s": "screen",
    "g": "group",
    "a": "alias",
}

INTAKE_PATHS: Final[dict[str, Kind | None]] = {
    **{f"/v1/{name}": kind for name, kind in _KINDS.items()},
    **dict.fromkeys(("/v1/batch", "/v1/import", "/v1/b"), None),
}
"""Where events are posted, with the kind that the address says; None for batches."""

_MAX_CACHED: Final = 512
_MAX_CACHED_BYTES: Final = 2048

_LENGTH_NAMES: Final = (b"\r\nContent-Length: ", b"\r\ncontent-length: ")
_LINES: Final = {f"POST {path} HTTP/1.1".encode(): path for path in INTAKE_PATHS}
_WANTED: Final = frozenset(
    {b"content-type", b"content-encoding", b"authorization", b"x-write-key", b"origin",
     b"x-forwarded-for", b"connection"}
)  # fmt: skip
_EXOTIC: Final = frozenset(
    {b"content-length", b"transfer-encoding", b"expect", b"upgrade", b"te", b"trailer"}
)
_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+").fullmatch
"""A header's name, RFC 9110, in lower case."""


class Head(NamedTuple):
    """What the intake looks at of a request's head."""

    path: str
    kind: Kind | None
    content_type: str = ""
    content_encoding: str = ""
    authorization: str = ""
    write_key: str = ""
    origin: str = ""
    forwarded: str = ""
    keep: bool = True


class Heads:
    """Reads heads, and remembers them."""

    def __init__(self) -> None:
        self._known: dict[bytes, Head] = {}

    def read(self, data: bytes, end: int) -> tuple[Head, int] | None:
        """The head in `data[:end]` and its body's length; None for one that is not expected."""
        start = data.find(_LENGTH_NAMES[0], 0, end)
        if start < 0:
            start = data.find(_LENGTH_NAMES[1], 0, end)
            if start < 0:
                return None
        stop = data.find(b"\r\n", start + 2, end)
        if stop < 0:
            stop = end
        length = data[start + 18 : stop]
        if not length.isdigit() or len(length) > 12:
            return None
        rest = data[:start] + data[stop:end]
        head = self._known.get(rest)
        if head is None:
            head = _parsed(rest)
            if head is None:
                return None
            if len(rest) <= _MAX_CACHED_BYTES:
                if len(self._known) >= _MAX_CACHED:
                    self._known.clear()
                self._known[rest] = head
        return head, int(length)


def _parsed(data: bytes) -> Head | None:
    line, *lines = data.split(b"\r\n")
    path = _LINES.get(line)
    if path is None:
        return None
    found: dict[bytes, str] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        name = name.lower()
        if not colon or name in _EXOTIC or name in found or not _NAME(name):
            return None
        if b"\n" in line or b"\r" in line or b"\0" in line:
            return None
        if name in _WANTED:
            found[name] = value.strip(b" \t").decode("latin-1")
    get = found.get
    connection = get(b"connection", "").lower()
    if connection not in ("", "keep-alive", "close"):
        return None
    return Head(
        path,
        INTAKE_PATHS[path],
        get(b"content-type", ""),
        get(b"content-encoding", "").lower(),
        get(b"authorization", ""),
        get(b"x-write-key", ""),
        get(b"origin", ""),
        get(b"x-forwarded-for", ""),
        connection != "close",
    )

"""What the tests of the web integrations share."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from desirepath import Tracker

SECRET = "a secret of more than sixteen bytes"
BROWSER = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept-Language": "sv-SE,sv;q=0.8,en;q=0.5",
    "Sec-Fetch-Dest": "document",
}
HTML = "<!doctype html><title>Hello</title>"


class Seen:
    """A tracker whose events end in a list."""

    def __init__(self, **settings: Any) -> None:
        self.messages: list[dict[str, Any]] = []
        self.tracker = Tracker(queue="memory", before_send=self._take, **settings)

    def _take(self, message: dict[str, Any]) -> None:
        self.messages.append(message)

    def pages(self) -> list[dict[str, Any]]:
        return [each for each in self.messages if each["type"] == "page"]

    def events(self, name: str) -> list[dict[str, Any]]:
        return [each for each in self.messages if each.get("event") == name]

    def only(self, name: str | None = None) -> dict[str, Any]:
        found = self.pages() if name is None else self.events(name)
        assert len(found) == 1, self.messages
        return found[0]


@contextmanager
def seen(**settings: Any) -> Iterator[Seen]:
    """Such a tracker, closed at the end."""
    recorder = Seen(**settings)
    try:
        yield recorder
    finally:
        recorder.tracker.close(timeout=0.0)


def cookie_of(headers: Mapping[str, str], name: str = "dp_visitor") -> str | None:
    """The value of a cookie that an answer sets."""
    found = re.search(rf"(?:^|, ?){name}=([^;]*)", headers.get("set-cookie") or "")
    return found[1] if found else None

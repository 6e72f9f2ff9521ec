"""What a browser is told about sending from another origin."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from desirepath_collector.settings import Source

__all__ = ["PREFLIGHT", "Origins", "granted"]

PREFLIGHT: Final = (
    ("Access-Control-Allow-Methods", "GET, POST, OPTIONS"),
    (
        "Access-Control-Allow-Headers",
        "Authorization, Content-Type, Content-Encoding, AnonymousId, SentAt, X-Write-Key",
    ),
    ("Access-Control-Max-Age", "86400"),
)
"""Headers of the answer to a preflight, beside those of `granted`."""


class Origins:
    """Which origins any source may be used from; the source itself is checked with the key.

    A preflight carries no key, so it can only be answered for all sources together.
    """

    def __init__(self, sources: Iterable[Source]) -> None:
        found = {origin for source in sources for origin in source.origins}
        self._any = "*" in found
        self._known = frozenset(found)

    def allow(self, origin: str) -> bool:
        """Whether pages of this origin may send here at all."""
        return self._any or origin in self._known


def granted(origin: str) -> tuple[tuple[str, str], ...]:
    """Headers that let pages of this origin read the answer."""
    return (
        ("Access-Control-Allow-Origin", origin),
        # navigator.sendBeacon sends in credentials mode, where `*` would not do.
        ("Access-Control-Allow-Credentials", "true"),
        ("Vary", "Origin"),
    )

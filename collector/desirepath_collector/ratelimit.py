"""Rate limits: a token bucket for each source, and one for each address of a source.

A batch larger than the whole bucket passes when the bucket is full and overdraws it, or it would
be refused for ever; who comes after it waits until the debt is paid. What is remembered is
bounded: beyond `MAX_BUCKETS` addresses the one not heard of for longest is forgotten.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from desirepath_collector.settings import Source

__all__ = ["MAX_BUCKETS", "Limiter"]

MAX_BUCKETS: Final = 50_000


class Limiter:
    """Counts events against the rates of sources."""

    def __init__(self) -> None:
        # Key to (tokens left, when that was, in monotonic seconds); the latest used are last.
        self._buckets: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()

    def wait_s(self, source: Source, address: str, events: int, now_s: float) -> float:
        """Take `events` from the buckets and return 0, or take none and return how long to wait."""
        limits = []
        if source.rate_per_s:
            limits.append(((source.name, ""), source.rate_per_s))
        if source.rate_per_address_per_s and address:
            limits.append(((source.name, address), source.rate_per_address_per_s))
        taken = []
        for key, rate_per_s in limits:
            full = rate_per_s * source.burst_s
            tokens, at_s = self._buckets.get(key, (full, now_s))
            tokens = min(full, tokens + (now_s - at_s) * rate_per_s)
            missing = min(events, full) - tokens
            if missing > 0:
                return missing / rate_per_s
            taken.append((key, tokens - events))
        for key, tokens in taken:
            self._buckets[key] = (tokens, now_s)
            self._buckets.move_to_end(key)
        while len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)
        return 0.0

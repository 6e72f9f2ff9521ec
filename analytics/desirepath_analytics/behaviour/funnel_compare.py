"""Whether two groups get along a funnel differently, or only seem to.

For each step after the first: the difference of the shares of the start with Newcombe's 95 %
interval, the two-sided p value (pooled z, Fisher's exact test where an expected count is below 5),
and the p value corrected for the number of tests made at once (Benjamini and Hochberg).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from desirepath.errors import QueryError
from desirepath_analytics.behaviour.estimate import (
    Estimate,
    adjust_benjamini_hochberg,
    compare_proportions,
    wilson,
)

if TYPE_CHECKING:
    from desirepath_analytics.behaviour.funnel import FunnelResult, FunnelStep

__all__ = ["Difference", "compare_results", "compare_values"]

Counts = tuple[int, ...]


class Difference(msgspec.Struct, frozen=True):
    """One group's share at one step beside another's; p values None with `reason`."""

    group: str
    other: str
    step: int
    share: Estimate
    other_share: Estimate
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    p_adjusted: float | None
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        plain: dict[str, Any] = msgspec.structs.asdict(self)
        plain["share"] = self.share.to_dict()
        plain["other_share"] = self.other_share.to_dict()
        return plain


def compare_results(
    result: FunnelResult, other: FunnelResult, names: tuple[str, str]
) -> tuple[Difference, ...]:
    """Two answers of the same steps, of people who are in only one of them."""
    if result.question.steps != other.question.steps:
        raise QueryError("only answers of the same steps can be compared")
    return _tested([(names, result.counts, other.counts)], range(1, len(result.counts)))


def compare_values(
    result: FunnelResult, baseline: Sequence[str | None] | None
) -> tuple[Difference, ...]:
    """Each value of a breakdown beside a baseline, or beside all other values together."""
    from desirepath_analytics.figures import value_name

    groups = {values: _counts(steps) for values, steps in result.breakdown}
    if baseline is None and result.question.attribution == "all":
        raise QueryError(
            "compare: with attribution 'all' people are in several values at once",
            hint="name a baseline value, or use the attribution first",
        )
    pairs = []
    if baseline is None:
        for values, counts in groups.items():
            rest = tuple(t - c for t, c in zip(result.counts, counts, strict=True))
            pairs.append(((value_name(values), "all others"), counts, rest))
    else:
        base = tuple(baseline)
        if base not in groups:
            raise QueryError(f"compare: the breakdown has no value {value_name(base)!r}")
        for values, counts in groups.items():
            if values != base:
                pairs.append(((value_name(values), value_name(base)), counts, groups[base]))
    return _tested(pairs, [len(result.counts) - 1])


def _tested(
    pairs: Sequence[tuple[tuple[str, str], Counts, Counts]], slots: Sequence[int] | range
) -> tuple[Difference, ...]:
    found = [
        _difference(names, slot + 1, (a[slot], a[0]), (b[slot], b[0]))
        for names, a, b in pairs
        for slot in slots
    ]
    adjusted = adjust_benjamini_hochberg([one.p for one in found])
    return tuple(
        msgspec.structs.replace(one, p_adjusted=p) for one, p in zip(found, adjusted, strict=True)
    )


def _difference(
    names: tuple[str, str], step: int, a: tuple[int, int], b: tuple[int, int]
) -> Difference:
    share, other = wilson(*a), wilson(*b)
    if share.value is None or other.value is None:
        empty = names[0] if share.value is None else names[1]
        return Difference(
            *names, step, share, other, None, None, None, None, None, f"nobody began in {empty}"
        )
    assert share.low is not None and share.high is not None  # noqa: S101, PT018 (value is known)
    assert other.low is not None and other.high is not None  # noqa: S101, PT018
    difference = share.value - other.value
    # Newcombe (1998), method 10: the interval of a difference from the two Wilson intervals.
    below = math.hypot(share.value - share.low, other.high - other.value)
    above = math.hypot(share.high - share.value, other.value - other.low)
    p = compare_proportions(*a, *b)
    return Difference(
        *names, step, share, other, difference, difference - below, difference + above, p, None
    )


def _counts(steps: Sequence[FunnelStep]) -> Counts:
    return tuple(step.count for step in steps)

"""Numbers with their uncertainty: proportions with Wilson intervals, tests, corrections.

A proportion always carries how many it was taken from. Where nothing was observed the value is
None and `reason` says why, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import msgspec

__all__ = ["Estimate", "adjust_benjamini_hochberg", "compare_proportions", "wilson"]

Z_95: Final = 1.959963984540054
"""The 97.5 % point of the normal distribution: two-sided intervals of 95 %."""


class Estimate(msgspec.Struct, frozen=True):
    """A number, its 95 % interval, and the `n` it was taken from."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data; `reason` only where there is one."""
        plain: dict[str, Any] = {
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "n": self.n,
        }
        if self.reason is not None:
            plain["reason"] = self.reason
        return plain


def wilson(successes: int, n: int, z: float = Z_95) -> Estimate:
    """The share of `successes` among `n`, with Wilson's score interval.

    References
    ----------
    E. B. Wilson (1927), Probable inference, the law of succession, and statistical inference.
    Journal of the American Statistical Association 22, 209-212.
    """
    if n == 0:
        return Estimate(None, None, None, 0, "nobody to take a share of")
    share = successes / n
    spread = z * z / n
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / n + spread / (4 * n))
    # At 0 and n the bound is exactly 0 and 1; rounding must not push it across.
    low = 0.0 if successes == 0 else max(0.0, middle - half)
    high = 1.0 if successes == n else min(1.0, middle + half)
    return Estimate(share, low, high, n)


def compare_proportions(a: int, n_a: int, b: int, n_b: int) -> float | None:
    """The two-sided p value that two shares are equal; None if there is nothing to compare.

    The pooled z test; with small counts (an expected cell below 5) Fisher's exact test.
    """
    if n_a == 0 or n_b == 0:
        return None
    total, n = a + b, n_a + n_b
    if total in (0, n):
        return 1.0
    pooled = total / n
    if min(n_a, n_b) * min(pooled, 1 - pooled) < 5:
        return _fisher(a, n_a, total, n)
    error = math.sqrt(pooled * (1 - pooled) * (1 / n_a + 1 / n_b))
    return math.erfc(abs(a / n_a - b / n_b) / error / math.sqrt(2))


def _fisher(a: int, n_a: int, total: int, n: int) -> float:
    """The sum of all tables with the same margins that are no likelier than this one."""

    def log_table(k: int) -> float:
        return _log_choose(n_a, k) + _log_choose(n - n_a, total - k)

    tables = [log_table(k) for k in range(max(0, total - (n - n_a)), min(n_a, total) + 1)]
    here, top = log_table(a), max(tables)
    weights = [math.exp(table - top) for table in tables]
    # 1e-7: equal probabilities may differ in the last bits.
    extreme = math.exp(here - top) * (1 + 1e-7)
    return min(1.0, sum(w for w in weights if w <= extreme) / sum(weights))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def adjust_benjamini_hochberg(p_values: Sequence[float | None]) -> list[float | None]:
    """P values corrected for their number (the false discovery rate); None stays None.

    References
    ----------
    Y. Benjamini and Y. Hochberg (1995), Controlling the false discovery rate. Journal of the
    Royal Statistical Society B 57, 289-300.
    """
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    smallest = 1.0
    for rank in range(len(known), 0, -1):
        p, i = known[rank - 1]
        smallest = min(smallest, p * len(known) / rank)
        adjusted[i] = smallest
    return adjusted

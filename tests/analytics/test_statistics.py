"""Intervals, tests and corrections, beside scipy and published numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from tests.analytics.kit import event, insert

from desirepath.errors import QueryError
from desirepath_analytics import Funnel
from desirepath_analytics.behaviour.estimate import (
    adjust_benjamini_hochberg,
    compare_proportions,
    wilson,
)
from desirepath_collector.warehouse import Warehouse


@given(n=st.integers(1, 10**6), data=st.data())
def test_wilson_is_scipys(n: int, data: st.DataObject) -> None:
    """For any count."""
    k = data.draw(st.integers(0, n))
    mine = wilson(k, n)
    theirs = stats.binomtest(k, n).proportion_ci(method="wilson")
    assert (mine.low, mine.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    assert mine.value is not None
    assert mine.low is not None
    assert mine.high is not None
    assert 0 <= mine.low <= mine.value <= mine.high <= 1


def test_a_share_of_nobody_is_no_number() -> None:
    """None, with a reason."""
    nobody = wilson(0, 0)
    assert nobody.value is None
    assert nobody.reason == "nobody to take a share of"
    assert compare_proportions(0, 0, 1, 2) is None


@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 12), st.integers(0, 12))
def test_small_counts_are_tested_exactly(a: int, b: int, c: int, d: int) -> None:
    """As scipy's fisher_exact, where an expected count is below 5."""
    n_a, n_b = a + b, c + d
    if not n_a or not n_b or not 0 < a + c < n_a + n_b:
        return
    pooled = (a + c) / (n_a + n_b)
    if min(n_a, n_b) * min(pooled, 1 - pooled) >= 5:
        return
    expected = stats.fisher_exact([[a, b], [c, d]]).pvalue
    assert compare_proportions(a, n_a, c, n_b) == pytest.approx(expected, rel=1e-6)


def test_large_counts_are_tested_by_the_normal_distribution() -> None:
    """The pooled z test is the square root of the chi-squared test without correction."""
    table = [[120, 880], [90, 910]]
    expected = stats.chi2_contingency(table, correction=False).pvalue
    assert compare_proportions(120, 1000, 90, 1000) == pytest.approx(expected)
    assert compare_proportions(0, 100, 0, 200) == 1.0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_the_correction_is_scipys(p_values: list[float]) -> None:
    """Benjamini and Hochberg; what is not known stays so."""
    expected = list(stats.false_discovery_control(p_values))
    assert adjust_benjamini_hochberg(p_values) == pytest.approx(expected)
    assert adjust_benjamini_hochberg([None, *p_values])[0] is None


@pytest.fixture
def shop(warehouse: Warehouse) -> Warehouse:
    """Mail converts 8 of 10, ads 2 of 10, search 5 of 10."""
    rows = []
    for source, buyers in (("mail", 8), ("ad", 2), ("search", 5)):
        for i in range(10):
            rows.append(event(f"{source}{i}", "visit", 0, {"source": source}))
            if i < buyers:
                rows.append(event(f"{source}{i}", "buy", 1))
    insert(warehouse, rows)
    return warehouse


def test_values_of_a_breakdown_are_compared(shop: Warehouse) -> None:
    """Each beside all others, or beside a baseline; corrected for their number."""
    result = Funnel(["visit", "buy"], by="source").run(shop)
    found = {one.group: one for one in result.compare()}
    assert found["mail"].p == pytest.approx(compare_proportions(8, 10, 7, 20))
    assert found["mail"].difference == pytest.approx(0.8 - 0.35)
    assert found["mail"].p_adjusted == pytest.approx(3 * (found["mail"].p or 0), rel=0.6)
    assert found["search"].p_adjusted == found["search"].p
    low, high = found["mail"].low, found["mail"].high
    assert low is not None
    assert high is not None
    assert 0 < low < 0.45 < high < 1
    beside = result.compare(baseline="ad")
    assert [(one.group, one.other) for one in beside] == [("mail", "ad"), ("search", "ad")]
    with pytest.raises(QueryError, match="no value 'tv'"):
        result.compare(baseline="tv")
    every = Funnel(["visit", "buy"], by="source", attribution="all").run(shop)
    with pytest.raises(QueryError, match="in several values at once"):
        every.compare()


def test_two_answers_are_compared(shop: Warehouse) -> None:
    """Two segments, step by step."""
    mail = Funnel(["visit", "buy"], where={"source": "mail"})
    buyers = Funnel(["visit", "buy"], segment={"did": "buy"}).run(shop)
    (one,) = buyers.against(Funnel(["visit", "buy"]).run(shop), names=("buyers", "all"))
    assert one.share.value == 1
    assert one.other_share.n == 30
    nobody = mail.run(shop, since="2027-01-01")
    (none,) = nobody.against(buyers)
    assert none.p is None
    assert none.reason == "nobody began in this"
    with pytest.raises(QueryError, match="same steps"):
        buyers.against(Funnel(["buy", "visit"]).run(shop))

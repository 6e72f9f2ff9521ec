"""Segments against the reference, on random people."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.analytics.people import NAMES, TRAITS, Crowd, crowd, long_histories, thorough
from tests.reference.segment import members

from desirepath_analytics import Segment


@pytest.fixture(scope="module")
def people(engine: str) -> Iterator[Crowd]:
    """Random histories over some weeks."""
    with crowd(engine, "segment_exact", long_histories()) as found:
        yield found


steps_ = st.one_of(st.sampled_from(NAMES), st.lists(st.sampled_from(NAMES), min_size=2, max_size=2))
spans_ = st.sampled_from(["3d", "10d", "30d"])


@st.composite
def dids(draw: st.DrawFn) -> dict[str, Any]:
    """Something done, or not."""
    spec: dict[str, Any] = {"did": draw(steps_)}
    kind = draw(st.sampled_from(["", "at_least", "at_most", "exactly", "on_days", "sum"]))
    if kind == "sum":
        spec["sum"] = {"of": "v", draw(st.sampled_from(["at_least", "at_most"])): 4}
    elif kind:
        spec[kind] = draw(st.integers(0, 4))
    how = "" if kind else draw(st.sampled_from(["", "first", "more_than_before"]))
    if how:
        spec[how] = True
    if how or draw(st.booleans()):
        spec["within"] = draw(spans_)
    if draw(st.booleans()):
        spec["where"] = draw(st.sampled_from([{"v": 1}, {"w": {"!=": "x"}}]))
    return spec


leaves_ = st.one_of(
    dids(),
    st.builds(lambda s, w: {"did_not": s, "within": w}, steps_, spans_),
    st.builds(
        lambda s, w: {"then": s, **({"within": w} if w else {})},
        st.lists(steps_, min_size=2, max_size=3),
        st.sampled_from([None, "6h", "3d"]),
    ),
    st.sampled_from([{"trait": {"tier": "gold"}}, {"trait": {"tier": {"not_in": ["tin"]}}}]),
    st.just({"people": ["p1", "p2", "p3"]}),
)
rules_ = st.recursive(
    leaves_,
    lambda inner: st.one_of(
        st.builds(lambda r: {"all": r}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda r: {"any": r}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda r: {"not": r}, inner),
    ),
    max_leaves=4,
)


@thorough
@given(spec=rules_, day=st.integers(8, 55))
def test_a_segment_agrees_with_the_reference(people: Crowd, spec: dict[str, Any], day: int) -> None:
    """The same people, at any moment; and the plain form is read back."""
    segment = Segment.from_spec(spec)
    assert Segment.from_spec(segment.to_spec()) == segment
    until = datetime.fromtimestamp(datetime(2026, 1, 1, tzinfo=UTC).timestamp() + day * 86_400, UTC)
    found = segment.run(people.warehouse, until=until)
    assert list(found.people) == members(segment.rule, people.events, until, TRAITS)

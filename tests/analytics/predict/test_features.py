"""Features as of a cut-off: they agree with plain Python, and the future cannot reach them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from desirepath_analytics.predict import Propensity, features
from desirepath_analytics.predict.features import Inventory
from desirepath_analytics.predict.inventory import joined_later
from desirepath_analytics.predict.matrix import Rows, add_labels, fetch, person_ids

from .conftest import event

if TYPE_CHECKING:
    from desirepath_collector.warehouse import EventRow, Warehouse

CUTOFF = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
EVENTS = ("Order Completed", "Page Viewed", "Product Viewed")
INVENTORY = Inventory(
    events=EVENTS,
    numbers=(("Order Completed", "total"),),
    context=("campaign.source", "device.type", "source"),
    trait_numbers=("age",),
    trait_categories=("country",),
)
SPEC = Propensity("Order Completed", "7d", lookback="30d")
_numbers = itertools.count(1)

# Moments near the borders of windows, where a wrong comparison shows.
_OFFSETS_S = st.one_of(
    st.integers(0, 60 * 86_400),
    st.sampled_from([0, 1, 86_399, 86_400, 86_401, 7 * 86_400, 28 * 86_400, 30 * 86_400]),
)


@st.composite
def _happening(draw: st.DrawFn) -> tuple[int, str, dict[str, Any], dict[str, Any]]:
    """(seconds from the cut-off, kind or event, properties or traits, context)"""
    what = draw(st.sampled_from([*EVENTS, "identify", "Something Else"]))
    properties: dict[str, Any] = {}
    if what == "identify":
        properties = draw(
            st.fixed_dictionaries(
                {}, optional={"age": st.integers(1, 99), "country": st.sampled_from(["SE", "NL"])}
            )
        )
    elif draw(st.booleans()):
        properties = {"total": draw(st.integers(-50, 500) | st.sampled_from(["n/a", "", "1e999"]))}
    context = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "campaign.source": st.sampled_from(["search", "news", ""]),
                "device.type": st.sampled_from(["phone", "desk"]),
            },
        )
    )
    return draw(_OFFSETS_S), what, properties, context


Life = list[tuple[int, str, dict[str, Any], dict[str, Any]]]
_lives = st.lists(_happening(), min_size=1, max_size=14)


def _rows(person: str, life: Life, *, after: bool) -> Iterator[EventRow]:
    for offset, what, properties, context in life:
        # The past ends one millisecond before the cut-off, the future begins at it.
        at = CUTOFF + offset * timedelta(seconds=1)
        if not after:
            at = CUTOFF - offset * timedelta(seconds=1) - timedelta(milliseconds=1)
        kind = "identify" if what == "identify" else "track"
        yield event(person, at, what, properties, context, kind)


def _features(warehouse: Warehouse, end: datetime, k: int) -> dict[str, list[Any]]:
    """Each person's features at the cut-off `k` days before `end`."""
    rows = fetch(warehouse, SPEC, INVENTORY, end, (k,))
    ids = person_ids(warehouse, rows, end)
    columns = [_plain(column) for column in rows.values]
    return {
        person: [float(rows.recency_days[row]), *(column[row] for column in columns)]
        for row, person in enumerate(ids)
    }


def _plain(column: Any) -> list[Any]:
    if isinstance(column, np.ndarray):
        return [None if np.isnan(value) else float(value) for value in column]
    return [value or None for value in column.to_pylist()]


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(past=_lives, future=_lives)
def test_the_future_cannot_change_a_feature(warehouse: Warehouse, past: Life, future: Life) -> None:
    _check_future(warehouse, past, future)


def _check_future(warehouse: Warehouse, past: Life, future: Life) -> None:
    number = next(_numbers)
    plain, lucky = f"plain{number}", f"lucky{number}"
    rows = [*_rows(plain, past, after=False), *_rows(lucky, past, after=False)]
    warehouse.insert_events(rows, f"past{number}")
    before = _features(warehouse, CUTOFF, 0)
    assert before.get(plain) == before.get(lucky)
    warehouse.insert_events([*_rows(lucky, future, after=True)], f"future{number}")
    # Also as one of several cut-offs of a later end, the way training asks.
    for end, k in ((CUTOFF, 0), (CUTOFF + 61 * DAY, 61)):
        found = _features(warehouse, end, k)
        assert found.get(plain) == before.get(plain)
        assert found.get(lucky) == before.get(lucky)


@pytest.mark.parametrize(
    ("right", "planted"),
    [
        ("WHERE age >= k", "WHERE age >= 0"),
        ("t0.1 < cutoff_ms", "t0.1 < cutoff_ms + 1000"),
        ("WHERE ms < end_ms - k", "WHERE ms <= end_ms - k"),
    ],
)
def test_a_planted_leak_would_be_caught(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, right: str, planted: str
) -> None:
    import msgspec

    real = warehouse.query

    def leaking(sql: Any) -> Any:
        return real(msgspec.structs.replace(sql, text=sql.text.replace(right, planted)))

    monkeypatch.setattr(warehouse, "query", leaking)
    past: Life = [(100, "Page Viewed", {}, {})]
    future: Life = [
        (0, "Order Completed", {"total": 5}, {"campaign.source": "news"}),
        (0, "identify", {"age": 30, "country": "SE"}, {}),
    ]
    with pytest.raises(AssertionError):
        _check_future(warehouse, past, future)


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(past=_lives)
def test_features_agree_with_plain_python(warehouse: Warehouse, past: Life) -> None:
    number = next(_numbers)
    person = f"one{number}"
    warehouse.insert_events([*_rows(person, past, after=False)], f"oracle{number}")
    found = _features(warehouse, CUTOFF, 0).get(person)
    told = _reference(past)
    if told is None:
        assert found is None
        return
    names = ["recency", *(f.name for f in features.features(SPEC, INVENTORY))]
    assert found is not None
    got = dict(zip(names, found, strict=True))
    for name, value in told.items():
        assert got[name] == (value if isinstance(value, str) else pytest.approx(value)), name


def _reference(past: Life) -> dict[str, Any] | None:
    """The features by their definitions, for a person with these happenings before the cut-off."""
    ago = [(offset + 0.001, what, props, context) for offset, what, props, context in past]
    acts = [one for one in ago if one[1] != "identify"]
    if not acts or min(one[0] for one in acts) >= 30 * 86_400:
        return None
    told: dict[str, Any] = {"recency": min(one[0] for one in acts) / 86_400}
    told["days since the first event"] = max(one[0] for one in acts) / 86_400
    for days in (1, 7, 28, 30):
        inside = [one for one in acts if one[0] < days * 86_400 + 0.001]
        label = "1 day" if days == 1 else f"{days} days"
        told[f"events in {label}"] = len(inside)
        if days > 1:
            active = {int((one[0] - 0.001) // 86_400) for one in inside}
            told[f"active days in {days} days"] = len(active)
            for name in EVENTS:
                times = sum(one[1] == name for one in inside)
                told[f"{name}, times in {days} days"] = times
    orders = [one for one in acts if one[1] == "Order Completed"]
    told["Order Completed, times ever"] = len(orders)
    for name in EVENTS:
        times_s = [one[0] for one in acts if one[1] == name]
        told[f"{name}, days since the last"] = min(times_s) / 86_400 if times_s else None
    totals = [
        (one[0], float(one[2]["total"])) for one in orders if isinstance(one[2].get("total"), int)
    ]
    told["Order Completed.total, sum in 28 days"] = sum(
        total for at, total in totals if at < 28 * 86_400 + 0.001
    )
    told["Order Completed.total, mean"] = (
        sum(total for _, total in totals) / len(totals) if totals else None
    )
    for field in ("campaign.source", "device.type"):
        having = [(-one[0], one[3][field]) for one in acts if one[3].get(field)]
        told[f"first {field}"] = min(having)[1] if having else None
    told["first source"] = "web"
    for trait in ("age", "country"):
        known = [
            (-one[0], str(one[2][trait])) for one in ago if one[1] == "identify" and trait in one[2]
        ]
        value = max(known)[1] if known else None
        told[f"trait {trait}"] = float(value) if trait == "age" and value else value
    return told


def test_labels_begin_at_the_cutoff_and_end_before_the_horizon(warehouse: Warehouse) -> None:
    second = timedelta(seconds=1)
    bought = {
        "early": CUTOFF - second,
        "first": CUTOFF,
        "last": CUTOFF + 7 * DAY - second,
        "late": CUTOFF + 7 * DAY,
    }
    warehouse.insert_events(
        [
            row
            for person, at in bought.items()
            for row in (event(person, CUTOFF - 2 * DAY), event(person, at, "Order Completed"))
        ],
        "labels",
    )
    end = CUTOFF + 10 * DAY
    rows = fetch(warehouse, SPEC, INVENTORY, end, (10,))
    rows = add_labels(rows, warehouse, SPEC, end, (10,))
    assert _labelled(warehouse, rows) == {
        "early": False,
        "first": True,
        "last": True,
        "late": False,
    }


def test_where_and_population_are_judged_as_of_the_cutoff(warehouse: Warehouse) -> None:
    before, after = CUTOFF - 2 * DAY, CUTOFF + DAY
    warehouse.insert_events(
        [
            event("new", before),
            event("new", after, "Order Completed", {"total": 60}),
            event("cheap", before),
            event("cheap", after, "Order Completed", {"total": 6}),
            event("old", before, "Order Completed", {"total": 60}),
            event("old", after, "Order Completed", {"total": 60}),
            event("gone", CUTOFF - 20 * DAY),
            event("later", after, "Order Completed", {"total": 60}),
        ],
        "population",
    )
    spec = Propensity.from_spec(
        {
            "outcome": "Order Completed",
            "horizon": "7d",
            "where": {"total": {">": 50}},
            "population": {"active_within": "10d", "did_not": ["Order Completed"]},
        }
    )
    end = CUTOFF + 7 * DAY
    rows = add_labels(fetch(warehouse, spec, INVENTORY, end, (7,)), warehouse, spec, end, (7,))
    assert _labelled(warehouse, rows) == {"new": True, "cheap": False}


def test_names_with_quotes_and_braces_are_only_values(warehouse: Warehouse) -> None:
    odd = "Odd' {x:String} \\ \"; DROP TABLE events --"
    warehouse.insert_events([event("p", CUTOFF - DAY, odd, {odd: 3})], "odd")
    spec = Propensity(odd, "7d", where={odd: {">": 1}})
    inventory = Inventory(
        events=(odd,), numbers=((odd, odd),), context=(odd,), trait_numbers=(odd,)
    )
    rows = fetch(warehouse, spec, inventory, CUTOFF, (0,))
    assert len(rows) == 1


def test_persons_joined_only_later_are_counted(warehouse: Warehouse) -> None:
    # Two devices, then one person; the features at the cut-off add both up, which is said.
    rows = [
        event("", CUTOFF - 3 * DAY, anonymous_id="phone"),
        event("u1", CUTOFF - 2 * DAY, anonymous_id="desk"),
        event("", CUTOFF - 2 * DAY, anonymous_id="other"),
        event("u2", CUTOFF - 2 * DAY, anonymous_id="other"),
        event("u2", CUTOFF - 2 * DAY, kind="identify", anonymous_id="other"),
    ]
    warehouse.insert_events(rows, "before")
    assert joined_later(warehouse, SPEC, CUTOFF) == 0
    late = event("u1", CUTOFF + DAY, kind="identify", anonymous_id="phone")
    warehouse.insert_events([late], "after")
    found = _features(warehouse, CUTOFF, 0)
    assert set(found) == {"u1", "u2"}
    assert joined_later(warehouse, SPEC, CUTOFF) == 1


def _labelled(warehouse: Warehouse, rows: Rows) -> dict[str, bool]:
    assert rows.label is not None
    ids = person_ids(warehouse, rows, CUTOFF + 30 * DAY)
    return dict(zip(ids, map(bool, rows.label), strict=True))

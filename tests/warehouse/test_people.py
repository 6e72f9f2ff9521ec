"""Who is one person: the rules against a naive reference, in memory and through the engine."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.warehouse.rows import T0, alias, event, identify

from desirepath_collector.warehouse import EventRow, Sql, Warehouse, identity, people
from desirepath_collector.warehouse.identity import Link, resolve

USERS = ("u1", "u2", "u3", "u4")
DEVICES = ("a1", "a2", "a3", "a4", "null")
_tokens = itertools.count()
LIMITS = {"MAX_USERS_OF_A_DEVICE": 2, "MAX_DEVICES_OF_A_USER": 3, "MAX_ALIASES_OF_AN_ID": 2}


@pytest.fixture(autouse=True)
def reloaded_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No reload is put off, however slow the machine is: that has a test of its own."""
    monkeypatch.setattr(people, "RELOAD_FREE_S", 3600.0)


@pytest.fixture
def low_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that a small history passes."""
    for name, value in LIMITS.items():
        monkeypatch.setattr(identity, name, value)
    followed = dict(zip(("device", "owner", "alias"), LIMITS.values(), strict=True))
    monkeypatch.setattr(people, "_FOLLOWED", followed)


def reference(links: Iterable[Link], limits: dict[str, int] = LIMITS) -> list[set[str]]:
    """The people, by sets that are merged until nothing changes."""
    said = [x for x in links if x.id != x.other and not {x.id, x.other} & identity.PLACEHOLDERS]
    device_pairs = {(x.id, x.other) for x in said if x.relation == "device"}
    alias_pairs = {frozenset((x.id, x.other)) for x in said if x.relation == "alias"}
    users_of = Counter(device for device, _ in device_pairs)
    devices_of = Counter(user for _, user in device_pairs)
    aliases_of = Counter(node for pair in alias_pairs for node in pair)
    shared = {n for n, c in users_of.items() if c > limits["MAX_USERS_OF_A_DEVICE"]}
    shared |= {n for n, c in devices_of.items() if c > limits["MAX_DEVICES_OF_A_USER"]}
    shared |= {n for n, c in aliases_of.items() if c > limits["MAX_ALIASES_OF_AN_ID"]}
    joined = [set(pair) for pair in alias_pairs if not pair & shared]
    for device in users_of:
        first = min((x.first_ms, x.other) for x in said if (x.id, x.relation) == (device, "device"))
        if not {device, first[1]} & shared:
            joined.append({device, first[1]})
    groups = [{node} for x in said for node in (x.id, x.other)] + joined
    while True:
        for one, other in itertools.combinations(groups, 2):
            if one & other:
                groups.remove(other)
                one |= other
                break
        else:
            return groups


calls = st.lists(
    st.tuples(
        st.sampled_from(["device", "alias"]),
        st.sampled_from(DEVICES + USERS),
        st.sampled_from(USERS),
        st.integers(T0, T0 + 20),
    ),
    max_size=14,
)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(calls, st.randoms())
def test_the_rules_agree_with_a_naive_reference(
    low_limits: None, history: list[tuple[str, str, str, int]], random: object
) -> None:
    links = [Link(one, other, relation, at) for relation, one, other, at in history]  # type: ignore[arg-type]
    answer = resolve(links)
    expected = reference(links)
    assert _groups(answer.person_of) == sorted(map(sorted, expected))
    for group in expected:
        assert {answer.person_of[node] for node in group} <= group
    random.shuffle(links)  # type: ignore[attr-defined]
    assert resolve(links) == answer


class Memory:
    """As much of a ClickHouse client as `attribute` needs, in memory."""

    def __init__(self) -> None:
        self.links: dict[tuple[str, str, str], int] = {}
        self.people: dict[str, str] = {}

    def say(self, relation: str, one: str, other: str, at: int) -> None:
        reverse = {"device": "owner", "alias": "aliased"}[relation]
        for key in ((one, other, relation), (other, one, reverse)):
            self.links[key] = min(at, self.links.get(key, at))

    def query(self, text: str, parameters: dict[str, Any]) -> Any:
        ids = parameters["ids"]
        if "identity_links" in text:
            rows = [[*key, at] for key, at in self.links.items() if key[0] in ids]
        else:
            rows = [[node, person] for node, person in self.people.items() if node in ids]
        return SimpleNamespace(result_rows=rows)

    def insert(self, _: str, rows: list[list[Any]], column_names: list[str]) -> None:
        self.people.update({row[0]: row[1] for row in rows})


@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(calls, st.data())
def test_step_by_step_agrees_with_all_at_once(
    low_limits: None, history: list[tuple[str, str, str, int]], data: st.DataObject
) -> None:
    client = Memory()
    start = 0
    while start < len(history):
        batch = history[start : start + data.draw(st.integers(1, 5))]
        for call in batch:
            if call[1] != call[2]:
                client.say(*call)
        people.attribute(client, {node for call in batch for node in call[1:3]})  # type: ignore[arg-type]
        start += len(batch)
    answer = resolve(
        Link(one, other, relation, at)  # type: ignore[arg-type]
        for relation, one, other, at in history
    ).person_of
    nodes = DEVICES + USERS
    assert {n: client.people.get(n, n) for n in nodes} == {n: answer.get(n, n) for n in nodes}


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(calls, st.data())
def test_batches_in_any_order_agree_with_the_reference(
    low_limits: None,
    warehouse: Warehouse,
    history: list[tuple[str, str, str, int]],
    data: st.DataObject,
) -> None:
    for table in ("events", "identity_links", "identities", "traits"):
        warehouse.command(Sql(f"TRUNCATE TABLE {table}"))
    warehouse._people.forget()
    warehouse._people.reload()
    rows: list[EventRow] = [
        identify(f"m{i}", other, one, at)
        if relation == "device"
        else alias(f"m{i}", other, one, at)
        for i, (relation, one, other, at) in enumerate(history)
    ]
    rows += [event(f"d-{node}", anonymous_id=node) for node in DEVICES]
    rows += [event(f"u-{node}", user_id=node) for node in USERS]
    rows = data.draw(st.permutations(rows))
    start = 0
    while start < len(rows):
        size = data.draw(st.integers(2, 12))
        warehouse.insert_events(rows[start : start + size], f"{next(_tokens)}")
        start += size
    found = warehouse.query(
        Sql("SELECT substring(message_id, 3) AS id, person_id, person FROM resolved_events "
            "WHERE kind = 'track'")
    ).to_pylist()  # fmt: skip
    person_of = {row["id"]: row["person_id"] for row in found}
    links = [Link(one, other, relation, at) for relation, one, other, at in history]  # type: ignore[arg-type]
    answer = resolve(links).person_of
    assert person_of == {node: answer.get(node, node) for node in DEVICES + USERS}
    assert _groups({row["id"]: str(row["person"]) for row in found}) == _groups(person_of)


def test_a_device_of_two_people_belongs_to_the_first() -> None:
    links = [Link("a", "u2", "device", 1), Link("a", "u1", "device", 2)]
    assert resolve(links).person_of == {"a": "u2", "u1": "u1", "u2": "u2"}


def test_an_earlier_identify_that_comes_late_wins(
    warehouse: Warehouse, ask: Callable[..., list[tuple[object, ...]]]
) -> None:
    warehouse.insert_events([event("m1", anonymous_id="a")], "1")
    warehouse.insert_events([identify("m2", "u1", "a", T0 + 100)], "2")
    assert ask("SELECT person_id FROM resolved_events WHERE message_id = 'm1'") == [("u1",)]
    warehouse.insert_events([identify("m3", "u2", "a", T0 + 50)], "3")
    assert ask("SELECT person_id FROM resolved_events WHERE message_id = 'm1'") == [("u2",)]


def test_a_chain_and_a_cycle_of_aliases_are_one_person(
    warehouse: Warehouse, ask: Callable[..., list[tuple[object, ...]]]
) -> None:
    rows = [alias("m1", "b", "a", T0), alias("m2", "c", "b", T0 + 1), alias("m3", "a", "c", T0 + 2)]
    for number, row in enumerate(rows):
        warehouse.insert_events([row], str(number))
    assert ask("SELECT DISTINCT person_id FROM resolved_events") == [("b",)]


def test_a_kiosk_joins_nobody(
    warehouse: Warehouse,
    ask: Callable[..., list[tuple[object, ...]]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    many = identity.MAX_USERS_OF_A_DEVICE + 1
    rows = [identify(f"m{i}", f"u{i}", "kiosk", T0 + i) for i in range(many)]
    warehouse.insert_events([event("k", anonymous_id="kiosk"), *rows[:-1]], "1")
    assert ask("SELECT person_id FROM resolved_events WHERE message_id = 'k'") == [("u0",)]
    warehouse.insert_events(rows[-1:], "2")
    assert ask("SELECT person_id FROM resolved_events WHERE message_id = 'k'") == [("kiosk",)]
    assert ask("SELECT uniqExact(person_id) FROM resolved_events") == [(many + 1,)]
    assert "shared by too many people" in caplog.text


@pytest.mark.parametrize(
    "placeholder", ["null", "Undefined", "00000000-0000-0000-0000-000000000000"]
)
def test_placeholders_never_merge(
    warehouse: Warehouse, ask: Callable[..., list[tuple[object, ...]]], placeholder: str
) -> None:
    rows = [identify("m1", "u1", placeholder), identify("m2", "u2", placeholder)]
    warehouse.insert_events([*rows, alias("m3", "u3", placeholder)], "1")
    assert ask("SELECT uniqExact(person_id) FROM resolved_events") == [(3,)]
    assert ask("SELECT count() FROM identities") == [(0,)]


def test_a_repeated_identify_costs_no_query(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    attribute = people.attribute
    monkeypatch.setattr(people, "attribute", lambda *a: asked.append(a) or attribute(*a))
    for number in range(5):
        warehouse.insert_events([identify(f"m{number}", "u", "a", T0 + number)], str(number))
    assert len(asked) == 1


def test_a_dictionary_that_is_slow_to_load_is_loaded_later(
    warehouse: Warehouse,
    ask: Callable[..., list[tuple[object, ...]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(people, "RELOAD_FREE_S", 0.0)
    monkeypatch.setattr(people, "RELOAD_SHARE", 1_000_000)
    warehouse.insert_events([identify("m1", "u1", "a1")], "1")
    warehouse.insert_events([identify("m2", "u2", "a2")], "2")
    timer = warehouse._people._timer
    assert timer is not None
    timer.function()
    assert ask("SELECT count() FROM people") == [(2,)]


def _groups(person_of: dict[str, str]) -> list[list[str]]:
    groups: dict[str, list[str]] = {}
    for node, person in sorted(person_of.items()):
        groups.setdefault(person, []).append(node)
    return sorted(groups.values())

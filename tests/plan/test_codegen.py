"""`desirepath.plan.codegen`: the module is typed, deterministic, and sends what the plan asks."""

from __future__ import annotations

import keyword
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from desirepath.plan import Plan
from desirepath.plan.codegen import generate
from desirepath.plan.emit import to_yaml
from desirepath.plan.example import example_payload
from desirepath.plan.names import Names
from desirepath.resources import starter_plan
from desirepath.testing import Tracked
from desirepath.tracker import Tracker
from desirepath.typed import TypedEvent

NASTY = r'''
plan: nasty
version: 2.0.1
owner: platform
types:
  place:
    type: object
    description: Where.
    properties: {city: {type: string, required: true}, zip: string}
events:
  42_--terrible==event'++name~!3: {description: 'A "quoted" \ back``slash """ text.'}
  Type: {}
  type: {status: deprecated}
  Order Completed:
    description: "Two\nlines, ending in a quote: \"so\""
    status: planned
    properties:
      class: {type: string, required: true}
      self: integer
      str: {type: string, description: Shadows a built-in.}
      date: {type: string, format: date}
      at: {type: string, format: date-time, required: true}
      regex property: {type: string, pattern: 'a\d"'}
      regex-property: string
      größe: number
      日本: string
      1st: integer
      __dunder: boolean
      to_properties: boolean
      level: {enum: [gold, 'sil"ver', "a\\b"], required: true}
      maybe: {enum: [1, 2, null]}
      many:
        enum: [aaaaaaaaaaaaaaaaaaaa, bbbbbbbbbbbbbbbbbbbbbbb, cccccccccccccccccccc, dddddddddddd, e]
      ratio: {enum: [0.5, 1.5]}
      fixed: {const: true}
      nullable: {type: [string, 'null'], required: true}
      mixed: {type: [string, integer, number]}
      either: {anyOf: [{type: string}, {type: 'null'}]}
      free: true
      nothing: {type: 'null'}
      tags: {type: array, items: {type: string}, maxItems: 3}
      pairs: {type: array, prefixItems: [{type: string}]}
      bag: object
      to: {$ref: place}
      from: {$ref: place}
      stops: {type: array, items: {$ref: place}, required: true}
      grid: {type: array, items: {type: array, items: {type: object, properties: {x: integer}}}}
      maybe_stop: {type: [object, 'null'], required: true, properties: {name: string}}
      total: {type: number, minimum: 0, unit: EUR, pii: keep, description: The sum}
      email: {type: string, pii: hash}
'''


def load(text: str, name: str = "generated") -> ModuleType:
    module = ModuleType(name)
    sys.modules[name] = module
    exec(compile(text, name, "exec"), module.__dict__)
    return module


@pytest.fixture(scope="module")
def nasty() -> ModuleType:
    return load(generate(Plan.parse(NASTY)))


def order(module: ModuleType, **more: Any) -> Any:
    given: dict[str, Any] = {
        "class_": "c", "at": datetime(2026, 1, 1, tzinfo=UTC), "level": "gold", "nullable": None,
        "stops": [module.Place(city="Lund")], "maybe_stop": None,
    }  # fmt: skip
    return module.OrderCompleted(**{**given, **more})


def test_what_is_not_set_is_left_out(nasty: ModuleType) -> None:
    assert order(nasty).to_properties() == {
        "class": "c", "at": datetime(2026, 1, 1, tzinfo=UTC), "level": "gold", "nullable": None,
        "stops": [{"city": "Lund"}], "maybe_stop": None,
    }  # fmt: skip


def test_names_in_the_plan_are_what_is_sent(nasty: ModuleType) -> None:
    event = order(
        nasty, regex_property="x", regex_property_2="y", n_1st=1, dunder=True, größe=1.5, 日本="n",
        to_properties_=True, self_=1, str_="s", from_=nasty.Place(city="Oslo", zip="0150"),
        date=date(2026, 1, 1), grid=[[nasty.OrderCompletedGridItemItem(x=1)]],
        maybe_stop=nasty.OrderCompletedMaybeStop(name="n"), tags=("a", "b"),
    )  # fmt: skip
    found = event.to_properties()
    assert {key: found[key] for key in ("regex property", "regex-property", "1st", "__dunder")} == {
        "regex property": "x", "regex-property": "y", "1st": 1, "__dunder": True
    }  # fmt: skip
    assert found["from"] == {"city": "Oslo", "zip": "0150"}
    assert found["to_properties"] is True
    assert (found["self"], found["str"], found["größe"], found["日本"]) == (1, "s", 1.5, "n")
    assert found["grid"] == [[{"x": 1}]]
    assert found["maybe_stop"] == {"name": "n"}
    assert found["tags"] == ["a", "b"]


def test_classes_are_frozen_typed_events(nasty: ModuleType) -> None:
    event = order(nasty)
    assert isinstance(event, TypedEvent)
    assert (event.__event__, event.__plan__) == ("Order Completed", "nasty 2.0.1")
    with pytest.raises(AttributeError):
        event.level = "silver"
    with pytest.raises(TypeError):
        nasty.OrderCompleted("c")
    with pytest.raises(TypeError):
        nasty.OrderCompleted(level="gold")


def test_event_names_become_classes(nasty: ModuleType) -> None:
    names = {
        getattr(nasty, name).__event__: name
        for name in nasty.__all__
        if hasattr(getattr(nasty, name), "__event__")
    }
    assert names == {
        "42_--terrible==event'++name~!3": "Event42TerribleEventName3",
        "Type": "Type",
        "type": "Type_2",
        "Order Completed": "OrderCompleted",
    }


def test_documentation(nasty: ModuleType) -> None:
    text = generate(Plan.parse(NASTY))
    assert nasty.OrderCompleted.__doc__ == (
        'Two lines, ending in a quote: "so"\n\n    Owner: platform.\n\n'
        "    Planned: nothing sends it yet.\n    "
    )
    assert "Deprecated" in nasty.Type_2.__doc__
    assert '"""The sum. In EUR, at least 0."""' in text
    assert '"""Personal: stored as a keyed hash."""' in text


def test_regenerating_gives_the_same_bytes() -> None:
    assert generate(Plan.parse(NASTY)) == generate(Plan.parse(NASTY))
    assert generate(Plan.parse("# c\n" + NASTY)) == generate(Plan.parse(NASTY))


def test_an_empty_plan_is_an_empty_module() -> None:
    assert load(generate(Plan.parse("plan: p\nversion: 1.0.0\n"))).__all__ == []


USE = """
from datetime import UTC, datetime

from desirepath import Tracker
from nasty import OrderCompleted, Place
from shop import OrderCompleted as ShopOrder


order = OrderCompleted(
    class_="c", at=datetime.now(UTC), level="gold", nullable=None, maybe_stop=None,
    stops=[Place(city="Lund")],
)


def send(tracker: Tracker) -> None:
    tracker.track(order, user_id="u1")
    tracker.track(Place(city="Lund"))  # E: no event


order.level = "tin"  # E: read-only
OrderCompleted(class_="c", at="2026-01-01T00:00:00Z", level="tin", nullable=None,  # E: Literal
               maybe_stop=None, stops=[])
ShopOrder()  # E: missing
"""


def test_mypy_strict(tmp_path: Path) -> None:
    """The modules pass, and mistakes in their use do not."""
    (tmp_path / "nasty.py").write_text(generate(Plan.parse(NASTY)))
    (tmp_path / "shop.py").write_text(generate(Plan.load(starter_plan("shop"))))
    (tmp_path / "use.py").write_text(USE)
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache")]
    result = subprocess.run(
        [*command, "nasty.py", "shop.py", "use.py"], cwd=tmp_path, capture_output=True, text=True
    )
    lines = [line for line in result.stdout.splitlines() if ": error: " in line]
    marked = [str(n) for n, line in enumerate(USE.splitlines(), 1) if "# E:" in line]
    assert list(dict.fromkeys(line.split(":")[1] for line in lines)) == marked, result.stdout


def test_ruff_leaves_it_alone(tmp_path: Path) -> None:
    path = tmp_path / "shop.py"
    path.write_text(generate(Plan.load(starter_plan("shop"))))
    config = Path(__file__).parents[2] / "pyproject.toml"
    for words in (["format", "--check"], ["check"]):
        subprocess.run(
            [sys.executable, "-m", "ruff", *words, "--config", str(config), str(path)], check=True
        )


@example(["_", "_", "__"])
@given(st.lists(st.text(max_size=12), max_size=20))
def test_every_text_becomes_its_own_identifier(texts: list[str]) -> None:
    attributes, types = Names(), Names()
    for found in (
        [attributes.attribute(text) for text in texts],
        [types.type(text) for text in texts],
    ):
        assert len(set(found)) == len(found)
        for name in found:
            assert name.isidentifier()
            assert not keyword.iskeyword(name)
            assert not name.startswith("__")


TEXT = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='"\\'),
    min_size=1, max_size=10,
).filter(lambda text: text == text.strip() and text[0] != "$" and text != "<<")  # fmt: skip
SCHEMAS = st.sampled_from(
    [{"type": "string"}, {"type": ["integer", "null"]}, {"enum": ["a", None]}, {"type": "array"},
     {"type": "object", "properties": {"k": {"type": "string"}}}, {}]
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(TEXT, st.dictionaries(TEXT, SCHEMAS, max_size=4), min_size=1, max_size=4),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
)
def test_any_plan_gives_a_module_that_runs(
    events: dict[str, dict[str, Any]], description: str
) -> None:
    document = {
        "plan": "test",
        "version": "1.0.0",
        "events": {
            name: {"description": description, "properties": properties}
            for name, properties in events.items()
        },
    }
    plan = Plan.parse(to_yaml(document))
    module = load(generate(plan), "any_plan")
    classes = [getattr(module, name) for name in module.__all__]
    assert {cls.__event__ for cls in classes if hasattr(cls, "__event__")} == set(events)


@pytest.mark.parametrize("name", ["shop", "saas", "media", "bank"])
def test_what_a_typed_event_sends_is_what_the_plan_admits(name: str) -> None:
    plan = Plan.load(starter_plan(name))
    module = load(generate(plan), f"typed_{name}")
    validator = plan.compile(pii_key=b"0123456789abcdef")
    classes = {
        c.__event__: c for n in module.__all__ if hasattr(c := getattr(module, n), "__event__")
    }
    assert set(classes) == set(plan.events)
    for event, cls in classes.items():
        payload = example_payload(plan.events[event].properties)
        fields = {key if hasattr(cls, key) else f"{key}_": value for key, value in payload.items()}
        typed = msgspec.convert(fields, cls)
        verdict = validator.check("track", event, msgspec.json.encode(typed.to_properties()))
        assert verdict.violations == (), event
        assert msgspec.json.decode(msgspec.json.encode(typed.to_properties())) == payload


def test_the_tracker_takes_typed_events(tracked: Tracked, nasty: ModuleType) -> None:
    plan = Plan.parse(NASTY)
    with Tracker("http://127.0.0.1:9", write_key="dev", plan=plan, queue="memory") as tracker:
        tracker.track(order(nasty), user_id="u1")
    (event,) = tracked.events()
    assert (event.name, event.user_id, event.violations) == ("Order Completed", "u1", ())
    assert event.properties["at"] == "2026-01-01T00:00:00Z"

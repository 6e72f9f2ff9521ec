"""The strict loader: what a plan says comes out, and every mistake has its place and its cure."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desirepath.errors import PlanError
from desirepath.plan import Plan

HEAD = "plan: t\nversion: 1.0.0\n"


def wrong(text: str | bytes) -> PlanError:
    with pytest.raises(PlanError) as caught:
        Plan.parse(text, path="p.yaml")
    return caught.value


def test_everything_that_is_written_comes_out() -> None:
    plan = Plan.parse(
        HEAD
        + """
description: What a plan can say.
owner: growth
defaults: {on_violation: drop, unplanned_events: accept}
types:
  money: {type: number, minimum: 0, unit: EUR, description: Before tax.}
  price: {$ref: money, maximum: 10}
context:
  app_version: {type: string, pattern: '^[0-9]+'}
traits:
  email: {type: string, format: email, pii: hash}
groups:
  seats: integer
events:
  Order Completed:
    description: Paid.
    owner: checkout
    status: planned
    on_violation: accept
    unplanned_properties: drop
    properties:
      total: {$ref: money, required: true, description: All of it.}
      item: {$ref: price, multipleOf: 0.5}
      lines: {type: array, items: {properties: {sku: {type: string, required: true}}}}
      note: true
      never: false
  Logged Out:
"""
    )
    assert (plan.name, plan.version, plan.owner) == ("t", "1.0.0", "growth")
    event = plan.events["Order Completed"]
    assert (event.status, event.on_violation, event.owner) == ("planned", "accept", "checkout")
    assert event.unplanned_properties == "drop"
    total = event.properties["total"]
    assert (total.required, total.unit, total.description) == (True, "EUR", "All of it.")
    assert total.schema == {"type": "number", "minimum": 0}
    item = event.properties["item"].schema
    assert item == {"type": "number", "minimum": 0, "maximum": 10, "multipleOf": 0.5}
    lines = event.properties["lines"].schema["items"]
    assert lines == {"required": ["sku"], "properties": {"sku": {"type": "string"}}}
    assert event.properties["note"].schema == {}
    assert event.properties["never"].schema == {"not": {}}
    other = plan.events["Logged Out"]
    assert (other.on_violation, other.unplanned_properties) == ("drop", "reject")
    assert plan.traits["email"].pii == "hash"
    assert plan.type_uses == {"money": 2, "price": 1}
    assert (total.place.line, total.place.column) == (24, 7)


def test_a_reference_beside_a_constraint_of_the_same_name_asks_for_both() -> None:
    types = "types: {a: {type: number, minimum: 1}}\n"
    text = types + "events: {E: {properties: {x: {$ref: a, minimum: 5}}}}"
    schema = Plan.parse(HEAD + text).events["E"].properties["x"].schema
    assert schema == {"allOf": [{"type": "number", "minimum": 1}, {"minimum": 5}]}


MISTAKES = [
    ("", 1, 1, "the file is empty"),
    ("- a", 1, 1, "expected a plan"),
    ("version: 1.0.0", 1, 1, "`plan` is missing"),
    ("plan: t", 1, 1, "`version` is missing"),
    ("plan: t\nversion: 1.2", 2, 10, "not major.minor.patch"),
    ("plan: t\nversion: 01.2.0", 2, 10, "not major.minor.patch"),
    ("plan: 7\nversion: 1.0.0", 1, 7, "the plan's name must be"),
    (HEAD + "evnts: {}", 3, 1, "unknown key of a plan 'evnts'"),
    (HEAD + "events:\n\tA: {}", 4, 1, "a tab in the indentation"),
    ("\ufeffplan: t", 1, 1, "a byte order mark"),
    (b"\xff\xfep\x00", 1, 1, "UTF-16"),
    (b"plan: t\nowner: \xff", 2, 8, "not UTF-8"),
    ("plan: t\x07", 1, 8, "the character U+0007"),
    ("x" * (1024 * 1024 + 1), 1, 1, "larger than 1 MiB"),
    ("[" * 100, 1, 65, "nested deeper than 64"),
    (HEAD + "a: &x [1]\nb: *x", 3, 4, "an anchor (&x)"),
    (HEAD + "b: *x", 3, 4, "an alias (*x)"),
    (HEAD + "b: !!python/name:os.system", 3, 4, "a tag"),
    (HEAD + "types: {<<: {a: string}}", 3, 9, "a merge key"),
    (HEAD + "plan: u", 3, 1, "the key 'plan' is there twice"),
    (HEAD + "---\nplan: u", 3, 1, "a second YAML document"),
    (HEAD + "types: {a: [1", 4, 1, "not valid YAML"),
    (HEAD + "types: {[a]: string}", 3, 9, "a key must be a plain name"),
    (HEAD + "events: {A: {properties: {1: string}}}", 3, 27, "the key `1` is not text"),
    (HEAD + "events: {A: {properties: {true: string}}}", 3, 27, "the key `true` is not text"),
    (HEAD + "types: {a: {enum: [SE, NO]}}", 3, 24, "unquoted `NO`"),
    (HEAD + "types: {a: {enum: [on]}}", 3, 20, "unquoted `on`"),
    (HEAD + "types: {a: {const: 12:30}}", 3, 20, "unquoted `12:30`"),
    (HEAD + "types: {a: {const: 0123}}", 3, 20, "unquoted `0123`"),
    (HEAD + "types: {a: {const: 1_000}}", 3, 20, "unquoted `1_000`"),
    (HEAD + "types: {a: {const: 0x1F}}", 3, 20, "unquoted `0x1F`"),
    (HEAD + "types: {a: {const: .nan}}", 3, 20, "not a JSON number"),
    (HEAD + "types: {a: {const: 18446744073709551616}}", 3, 20, "does not fit 64 bits"),
    (HEAD + "types: {a: {minimum: 0.1000000000000000055}}", 3, 22, "more digits than a double"),
    (HEAD + "types: {a: {minimum: 1e99999999999999999999}}", 3, 22, "more digits than a double"),
    (HEAD + "types: {a: {maxLength: 1e30}}", 3, 24, "at most 2^53"),
    (HEAD + "types: {a: {minLength: 18446744073709551615}}", 3, 24, "at most 2^53"),
    (HEAD + "types: {a: {maxItems: 9007199254740993}}", 3, 23, "at most 2^53"),
    (HEAD + 'types: {a: {const: "\\ud800"}}', 3, 23, "not valid YAML"),
    (HEAD + "defaults: {on_violation: rejct}", 3, 26, "'rejct' is not one of"),
    (HEAD + "defaults: {on_violations: drop}", 3, 12, "unknown policy 'on_violations'"),
    (HEAD + "types: {a: {required: true}}", 3, 23, "belongs on a property, not on a type"),
    (HEAD + "types: {number: string}", 3, 9, "the type's name 'number' is taken"),
    (HEAD + "types: {a b: string}", 3, 9, "the type's name 'a b'"),
    (HEAD + "types: {a: {$ref: b}, b: {$ref: a}}", 3, 33, "the type 'a' contains itself"),
    (HEAD + "types: {a: {items: {$ref: a}}}", 3, 27, "the type 'a' contains itself"),
    (HEAD + "types: {a: {$ref: '#/$defs/b'}}", 3, 19, "`$ref` takes the bare name"),
    (HEAD + "events: {A: {propertys: {}}}", 3, 14, "unknown key of an event 'propertys'"),
    (HEAD + "events: {A: {status: liev}}", 3, 22, "'liev' is not one of"),
    (HEAD + "events: {A: {properties: {a: nubmer}}}", 3, 30, "unknown type 'nubmer'"),
    (HEAD + "events: {A: {properties: {a: }}}", 3, 30, "no type"),
    (HEAD + "events: {A: {properties: {a: {typ: string}}}}", 3, 31, "unknown keyword 'typ'"),
    (
        HEAD + "events: {A: {properties: {a: {contains: string}}}}",
        3,
        31,
        "`contains` is not support",
    ),
    (HEAD + "events: {A: {properties: {a: {nullable: true}}}}", 3, 31, "`nullable` is not support"),
    (
        HEAD + "events: {A: {properties: {a: {type: [string, null]}}}}",
        3,
        46,
        "`null` without quotes",
    ),
    (HEAD + "events: {A: {properties: {a: {pattern: '(?=a)'}}}}", 3, 40, "look-ahead"),
    (HEAD + "events: {A: {properties: {a: {pattern: '['}}}}", 3, 40, "it ends too early"),
    (HEAD + "events: {A: {properties: {a: {format: emial}}}}", 3, 39, "unknown format 'emial'"),
    (HEAD + "events: {A: {properties: {a: {minLength: -1}}}}", 3, 42, "not negative"),
    (HEAD + "events: {A: {properties: {a: {multipleOf: 0}}}}", 3, 43, "greater than 0"),
    (HEAD + "events: {A: {properties: {a: {maximum: '3'}}}}", 3, 40, "expected a number"),
    (HEAD + "events: {A: {properties: {a: {pii: hsah}}}}", 3, 36, "`pii` is one of"),
    (HEAD + "events: {A: {properties: {a: {anyOf: [{pii: drop}]}}}}", 3, 40, "`pii` belongs on a"),
    (
        HEAD + "events: {A: {properties: {a: {items: {required: true}}}}}",
        3,
        39,
        "`required: true` bel",
    ),
    (
        HEAD + "events: {A: {properties: {a: {required: true, pii: drop}}}}",
        3,
        27,
        "`pii: drop` removes",
    ),
    (HEAD + "events: {A: {properties: {$a: string}}}", 3, 27, "starts with $"),
    (HEAD + "events: {' A': {}}", 3, 10, "padded with space"),
    (HEAD + "events: {'a\"b': {}}", 3, 10, "has a quote"),
    (HEAD + "types: {a: {description: 7}}", 3, 26, "`description` must be text"),
    (HEAD + "types: {a: [string]}", 3, 12, "expected a type or a mapping"),
    (HEAD + "types: {a: {properties: [b]}}", 3, 25, "expected a mapping of property names"),
    (HEAD + "types: {a: {enum: []}}", 3, 19, "a list with at least one"),
    (HEAD + "types: {a: {type: strng}}", 3, 19, "unknown type 'strng'"),
    (HEAD + "types: {a: {type: [string, string]}}", 3, 19, "a type is listed twice"),
    (HEAD + "types: {a: {pattern: 7}}", 3, 22, "a regular expression as text"),
    (HEAD + "types: {a: {uniqueItems: 1}}", 3, 26, "expected true or false"),
    (HEAD + "types: {a: {required: b}}", 3, 23, "true, false or a list"),
    (HEAD + "types: {a: {required: [1]}}", 3, 24, "expected a property name"),
    (HEAD + "types: {a: {required: [b, b]}}", 3, 23, "a name is listed twice"),
    (HEAD + "types: {a: {dependentRequired: [b]}}", 3, 32, "a mapping of names"),
    (HEAD + "types: {a: {dependentRequired: {b: c}}}", 3, 36, "a list of property names"),
    (HEAD + "types: {a: {unit: 7}}", 3, 19, "`unit` is text"),
    (HEAD + "types: {a: {$ref: b}}", 3, 19, "the unknown type 'b'"),
    (HEAD + "events: {A: [b]}", 3, 13, "expected a mapping of the event 'A'"),
    (HEAD + "events: [A]", 3, 9, "expected a mapping of `events`"),
    (HEAD + "description: [a]", 3, 14, "`description` must be text"),
    (HEAD + "include: other.yaml", 3, 1, "cannot include files"),
]


@pytest.mark.parametrize(("text", "line", "column", "words"), MISTAKES)
def test_each_mistake_is_one_error_at_its_place(
    text: str | bytes, line: int, column: int, words: str
) -> None:
    error = wrong(text)
    assert words in error.message
    assert (error.path, error.line, error.column) == ("p.yaml", line, column)
    assert str(error) == f"p.yaml:{line}:{column}: {error.message}"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("evnts: {}", "did you mean 'events'?"),
        ("types: {a: nubmer}", "did you mean 'number'?"),
        ("types: {a: {minimun: 1}}", "did you mean 'minimum'?"),
        ("types: {a: {enum: [NO]}}", "write 'NO' for the text, or true or false"),
        ("types: {a: {definitions: {}}}", "put shared types under `types`"),
        ("types: {a: {b: {}}, b: {$ref: ab}}", None),
    ],
)
def test_the_hint_says_what_to_write(text: str, hint: str | None) -> None:
    assert wrong(HEAD + text).hint == hint


def test_types_that_unfold_without_end_are_refused() -> None:
    names = [f"t{index}" for index in range(30)]
    lines = [
        f"  {one}: {{properties: {{x: {{$ref: {two}}}, y: {{$ref: {two}}}}}}}"
        for one, two in pairwise(names)
    ]
    for one, two in (("x", "y"), ("default", "const"), ("enum", "required")):
        text = "\n".join([*lines, "  t29: string"])
        text = text.replace("{x:", f"{{{one}:").replace(" y:", f" {two}:")
        assert "unfolds to more than 5,000" in wrong(f"{HEAD}types:\n{text}").message
    text = "types:\n" + "\n".join([*lines, "  t29: string"])
    assert (
        "unfolds to more than 5,000"
        in wrong(f"{HEAD}{text}\nevents: {{E: {{properties: {{p: {{$ref: t0}}}}}}}}").message
    )


def test_a_long_chain_of_types_is_refused_whichever_comes_first() -> None:
    text = "".join(f"  t{index + 1}: {{items: {{$ref: t{index}}}}}\n" for index in range(5000))
    assert "deeper than 64" in wrong(f"{HEAD}types:\n  t0: string\n{text}").message
    text = "".join(f"  t{index}: {{items: {{$ref: t{index + 1}}}}}\n" for index in range(5000))
    assert "deeper than 64" in wrong(f"{HEAD}types:\n{text}  t5000: string\n").message
    text = "".join(f"  t{index}: t{index + 1}\n" for index in range(5000))
    assert "more than 64 levels" in wrong(f"{HEAD}types:\n{text}  t5000: string\n").message


def test_the_largest_count_compiles() -> None:
    sizes = "minLength: 9007199254740992, maxItems: 9007199254740992, minProperties: 1e15"
    kinds = ("string", "array", "object")
    named = "".join(f"{kind}: {{type: {kind}, items: string, {sizes}}}, " for kind in kinds)
    plan = Plan.parse(f"{HEAD}events: {{E: {{properties: {{{named}}}}}}}")
    assert plan.compile().check("track", "E", b"{}").decision == "accept"


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=80) | st.binary(max_size=80))
def test_no_text_can_crash_the_loader(text: str | bytes) -> None:
    with pytest.raises(PlanError):
        Plan.parse(text)


WORDS = """plan version types events properties type $ref enum items required pii E a journeys
steps segments all did not metrics kind sum where trait models outcome within experiments
defaults context"""
KEYS = st.sampled_from(WORDS.split())
LEAVES = st.sampled_from(
    [None, True, False, 0, 1.5, "string", "E", "a", "E.a", "1.0.0", "7d", "kpi", "hash", "", "*"]
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=25,
)


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(KEYS, TREES, max_size=6))
def test_no_plan_can_crash_the_loader_and_a_good_one_can_be_read_again(tree: Any) -> None:
    document = {**tree, "plan": "t", "version": "1.0.0"}
    try:
        plan = Plan.parse(json.dumps(document))
    except PlanError:
        return
    assert Plan.parse(plan.source) == plan
    plan.compile().check("track", "E", b'{"a":1}')


def test_included_files_make_one_plan(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "plan.yaml").write_text(
        HEAD + "include: [parts/types.yaml, parts/events.yaml]\nevents: {A: {}}\n"
    )
    (tmp_path / "parts/types.yaml").write_text('types: {id: {type: string, const: "\\x85 😀"}}\n')
    (tmp_path / "parts/events.yaml").write_text(
        "include: more.yaml\nevents: {B: {properties: {x: {$ref: id}}}}\n"
    )
    (tmp_path / "parts/more.yaml").write_text("journeys: {j: {steps: [A, B]}}\n")
    plan = Plan.load(tmp_path / "plan.yaml")
    assert [*plan.events] == ["A", "B"]
    assert plan.events["B"].place.path.endswith("events.yaml")
    again = Plan.parse(plan.source)
    assert again.digest == plan.digest
    assert again.types == plan.types
    assert again.journeys["j"].spec == plan.journeys["j"].spec


@pytest.mark.parametrize(
    ("include", "words"),
    [
        ("../outside.yaml", "outside the plan's folder"),
        ("/etc/passwd", "outside the plan's folder"),
        ("link.yaml", "outside the plan's folder"),
        ("missing.yaml", "there is no file"),
        ("plan.yaml", "included twice"),
        ("[a.yaml, a.yaml]", "included twice"),
        ("twice.yaml", "'A' is there twice"),
        ("head.yaml", "`plan` belongs in the plan's first file"),
        ("3", "expected the path"),
        ('["a\\0b"]', "no path of a file"),
        ("a" * 5000, "no path of a file"),
        ("circle.yaml", "no path of a file"),
    ],
)
def test_what_may_not_be_included(tmp_path: Path, include: str, words: str) -> None:
    folder = tmp_path / "plans"
    folder.mkdir()
    (tmp_path / "outside.yaml").write_text("events: {}\n")
    (folder / "link.yaml").symlink_to(tmp_path / "outside.yaml")
    (folder / "circle.yaml").symlink_to(folder / "circle.yaml")
    (folder / "a.yaml").write_text("events: {X: {}}\n")
    (folder / "twice.yaml").write_text("events:\n  A: {}\n")
    (folder / "head.yaml").write_text("plan: u\n")
    (folder / "plan.yaml").write_text(f"{HEAD}events: {{A: {{}}}}\ninclude: {include}\n")
    with pytest.raises(PlanError) as caught:
        Plan.load(folder / "plan.yaml")
    assert words in caught.value.message


def test_a_plan_that_is_not_there_is_a_plan_error(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.yaml", tmp_path, "a\0b", "a" * 5000):
        with pytest.raises(PlanError) as caught:
            Plan.load(path)
        assert "cannot be read" in caught.value.message

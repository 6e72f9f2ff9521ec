"""`desirepath.plan.docs`: one page that is complete, well formed and safe."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desirepath.plan import Plan
from desirepath.plan.docs import page
from desirepath.plan.emit import to_yaml
from desirepath.plan.example import example_of, example_payload
from desirepath.plan.walker import compile_schema
from desirepath.plan.words import (
    constraints,
    filter_words,
    metric_words,
    plain,
    rule_words,
    step_words,
    type_words,
)
from desirepath.resources import starter_plan

RICH = r"""
plan: rich
version: 2.1.0
description: Something of everything, <b>even</b> & | this.
owner: growth
types: {money: {type: number, minimum: 0, unit: EUR}}
context: {app: {type: string, description: Which app.}}
groups: {size: integer}
traits:
  email: {type: string, format: email, pii: hash, description: Where to reach them.}
events:
  Product Viewed:
    {description: Seen., owner: web, properties: {sku: {type: string, required: true}}}
  Product  Viewed: {description: Almost the same name.}
  Product Added: {status: planned, on_violation: drop, properties: {sku: string}}
  "<script>alert('1')</script>": {status: deprecated, description: "</script><script>alert(2)"}
  Order Completed:
    properties:
      total: {$ref: money, required: true, description: What was paid.}
      lines: {type: array, items: {type: object, properties: {sku: {type: string, pii: hash}}}}
      level: {enum: [gold, silver]}
journeys:
  purchase:
    description: From a product to an order.
    steps: [Product Viewed, {event: Product Added, optional: true},
            {event: Order Completed, where: {total: {">": 0}, level: [gold]}}]
    within: 7d
    exclude: [Product Added]
segments:
  loyal: {all: [{did: Order Completed, at_least: 3, within: 30d}, {not: {did: Product Added}}]}
metrics:
  revenue: {kind: kpi, sum: Order Completed.total, every: day, goal: {at_least: 1000}}
  conversion: {kind: kpi, journey: purchase, segment: loyal}
  loyals: {kind: cpi, size: loyal}
models:
  will_buy: {kind: propensity, outcome: Order Completed, horizon: 14d}
experiments:
  cart: {hypothesis: Shorter sells., exposure: Product Viewed, metrics: [revenue, conversion]}
"""

VOID = {"meta", "input", "br"}


class Page(HTMLParser):
    """Checks that tags nest, and gathers ids, links and what would be fetched."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if found.get("id"):
            self.ids.append(str(found["id"]))
        if tag == "a":
            self.links.append(str(found["href"]))
        self.fetched += [str(found[key]) for key in ("src", "data") if key in found]
        self.fetched += ["link"] if tag == "link" else []

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def check(text: str) -> Page:
    found = Page(text)
    assert len(found.ids) == len(set(found.ids))
    assert {link.removeprefix("#") for link in found.links} <= set(found.ids)
    assert found.fetched == []
    assert "@import" not in text
    assert "url(" not in text
    return found


def test_the_page_stands_alone_and_its_links_lead_somewhere() -> None:
    found = check(page(Plan.parse(RICH)))
    for word in ("Product Viewed", "journey purchase", "pii: hash", "in EUR", "planned", "cpi"):
        assert word in found.text


def test_names_are_text_not_markup() -> None:
    text = page(Plan.parse(RICH))
    assert "<b>even</b>" not in text
    assert "alert('1')</script>" not in text
    assert text.count("<script>") == 1


@pytest.mark.parametrize("format", ["html", "markdown"])
def test_the_same_plan_gives_the_same_page(format: Literal["html", "markdown"]) -> None:
    assert page(Plan.parse(RICH), format) == page(Plan.parse(RICH), format)


def test_markdown() -> None:
    text = page(Plan.parse(RICH), "markdown")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {5}
    links, anchors = re.findall(r"\]\(#([^)]+)\)", text), re.findall(r'<a id="([^"]+)">', text)
    assert set(links) <= set(anchors)
    assert len(anchors) == len(set(anchors))
    assert r"\<b\>even" in text
    assert "| `lines[].sku` | string | pii: hash |  |" in text
    assert "3. [Order Completed](#events-order-completed) where total \\> 0 and level" in text
    assert "- Goal: at least 1000" in text
    for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL):
        assert set(json.loads(block)) == {"event", "properties"}


@pytest.mark.parametrize("name", ["shop", "saas", "media", "bank"])
def test_the_starter_plans(name: str) -> None:
    plan = Plan.load(starter_plan(name))
    check(page(plan))
    page(plan, "markdown")


def test_an_empty_plan() -> None:
    check(page(Plan.parse("plan: p\nversion: 1.0.0\n")))


@pytest.mark.parametrize("name", ["shop", "saas", "media", "bank"])
def test_examples_are_admitted(name: str) -> None:
    plan = Plan.load(starter_plan(name))
    validator = plan.compile(pii_key=b"0123456789abcdef")
    for event in plan.events.values():
        payload = example_payload(event.properties)
        assert set(payload) == set(event.properties)
        verdict = validator.check("track", event.name, json.dumps(payload).encode())
        assert verdict.violations == (), (event.name, verdict.violations)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": r"^[A-Z]{3}-\d{2,4}(?:x|y)+$"},
        {"type": "string", "minLength": 40},
        {"type": "string", "maxLength": 1},
        {"type": "integer", "minimum": 1000, "maximum": 1001},
        {"type": "number", "exclusiveMinimum": 7, "exclusiveMaximum": 8},
        {"type": "integer", "multipleOf": 7, "minimum": 50},
        {"type": "array", "items": {"type": "string"}, "minItems": 2},
        {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "minItems": 2},
        {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]},
        {"anyOf": [{"type": "integer", "minimum": 5}, {"type": "null"}]},
        {"allOf": [{"type": "integer"}, {"minimum": 5}]},
        {"const": [1]},
        {"default": 3},
        {"type": "null"},
        {},
    ],
)
def test_an_example_is_found(schema: dict[str, Any]) -> None:
    found: list[Any] = []
    compile_schema(schema)(next(example_of(schema, "x")), "", found)
    assert found == []


@pytest.mark.parametrize(
    "schema", [{"not": {}}, {"type": "string", "minLength": 3, "maxLength": 2}]
)
def test_no_example_is_better_than_a_wrong_one(schema: dict[str, Any]) -> None:
    assert list(example_of(schema, "x")) == []


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ({"total": 3}, "total is 3"),
        ({"total": {">": 0, "<=": 9}}, "total > 0 and total <= 9"),
        ({"country": ["SE", "NL"]}, "country is one of SE, NL"),
        ({"a": {"exists": False}}, "a is not there"),
        ({"b": {"between": [1, 2]}}, "b is between 1 and 2"),
        ({"any": [{"a": 1}, {"b": True}]}, "(a is 1 or b is true)"),
        ({"not": {"a": {"starts_with": "x"}}}, "not (a starts with x)"),
    ],
)  # fmt: skip
def test_filters_read_aloud(where: dict[str, Any], words: str) -> None:
    assert filter_words(where) == words


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"did": "A", "at_least": 3, "within": "30d"}, "did A at least 3 times in the last 30d"),
        ({"did_not": "A", "since": "2026-01-01"}, "did not do A since 2026-01-01"),
        ({"did": ["A", "B"], "exactly": 1}, "did A or B exactly once"),
        ({"all": [{"segment": "s"}, {"any": [{"trait": {"x": 1}}, {"people": ["u"]}]}]},
         "in s and (x is 1 or is one of 1 named people)"),
    ],
)  # fmt: skip
def test_rules_read_aloud(rule: dict[str, Any], words: str) -> None:
    assert plain(rule_words(rule)) == words


def test_steps_and_metrics_read_aloud() -> None:
    assert plain(step_words({"any_order": ["A", "B"]})) == "A and B, in any order"
    assert plain(step_words({"any": ["A", "B"], "optional": True})) == "A or B (optional)"
    assert plain(step_words("*")) == "any event"
    spec = {"kind": "kpi", "people": "A", "where": {"x": 1}, "by": ["p", "q"], "segment": "s"}
    assert plain(metric_words(spec)) == "people who did A where x is 1, of s, by p, q"
    assert plain(metric_words({"count": "A", "every": "day"})) == "number of A, every day"


def test_schemas_read_aloud() -> None:
    assert type_words({"type": ["string", "null"]}) == "string or null"
    assert type_words({"type": "array", "items": {"type": "number"}}) == "list of number"
    assert type_words({"enum": ["a", 1, None, True]}) == "string or integer or null or boolean"
    assert type_words({"anyOf": [{"type": "string"}, {}]}) == "string or anything"
    schema = {"minLength": 2, "maxLength": 2, "minItems": 1, "exclusiveMaximum": 9,
              "uniqueItems": True, "additionalProperties": {"not": {}}, "const": 1}  # fmt: skip
    assert list(constraints(schema, "s")) == [
        "in s", "always 1", "less than 9", "2 characters", "at least 1 item", "no item twice",
        "no other keys",
    ]  # fmt: skip


NAMES = st.text(min_size=1, max_size=8).filter(
    lambda text: text == text.strip() and text[0] != "$" and text != "<<"
    and all(char.isprintable() and char not in '"\\' for char in text)
)  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(NAMES, st.dictionaries(NAMES, st.just("string"), max_size=3), max_size=5),
       st.text(st.characters(exclude_categories=["Cs"]), max_size=30))  # fmt: skip
def test_any_plan_gives_a_sound_page(events: dict[str, dict[str, str]], text: str) -> None:
    planned = {name: {"description": text, "properties": inner} for name, inner in events.items()}
    plan = Plan.parse(to_yaml({"plan": "test", "version": "1.0.0", "events": planned}))
    check(page(plan))
    page(plan, "markdown")

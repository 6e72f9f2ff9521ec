"""The plans that Desirepath ships, and the schema that editors complete plans with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft7Validator

from desirepath.plan import Plan
from desirepath.plan.keywords import KEYWORDS
from desirepath.plan.schema import KEYWORD_HELP, plan_schema

FOLDER = Path(__file__).parents[2] / "tracking_plans"
PLANS = ["bank", "media", "saas", "shop"]


def test_the_folder_has_four_plans_and_the_schema() -> None:
    names = sorted(path.name for path in FOLDER.iterdir())
    assert names == sorted([*(f"{name}.yaml" for name in PLANS), "plan.schema.json"])


def test_the_schema_is_the_generated_one() -> None:
    written = (FOLDER / "plan.schema.json").read_text()
    assert written == json.dumps(plan_schema(), indent=2) + "\n", (
        "regenerate it with `desirepath plan schema > tracking_plans/plan.schema.json`"
    )
    Draft7Validator.check_schema(plan_schema())
    assert KEYWORD_HELP.keys() == {*KEYWORDS, "$ref"}


@pytest.mark.parametrize("name", PLANS)
def test_a_starter_plan_is_one_a_practitioner_would_accept(name: str) -> None:
    path = FOLDER / f"{name}.yaml"
    plan = Plan.load(path)
    assert (plan.name, plan.version) == (name, "1.0.0")
    assert Plan.parse(plan.source, path=plan.path) == plan
    assert len(plan.events) >= 15
    for event in plan.events.values():
        assert event.description.endswith("."), event.name
        assert event.owner, event.name
    assert plan.traits["email"].pii == "hash"
    assert all(uses for uses in plan.type_uses.values())
    for part in (plan.journeys, plan.segments, plan.metrics, plan.models):
        assert len(part) >= 1
    assert {section.spec["kind"] for section in plan.metrics.values()} == {"kpi", "cpi"}
    plan.compile()


@pytest.mark.parametrize("name", PLANS)
def test_editors_take_a_starter_plan(name: str) -> None:
    text = (FOLDER / f"{name}.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=plan.schema.json\n")
    errors = Draft7Validator(plan_schema()).iter_errors(yaml.safe_load(text))
    assert [f"{error.json_path}: {error.message}" for error in errors] == []


@pytest.mark.parametrize(
    "text",
    [
        "evnts: {}",
        "events: {A: {propertys: {}}}",
        "events: {A: {properties: {a: {typ: string}}}}",
        "events: {A: {properties: {a: {type: strng}}}}",
        "journeys: {j: {stepz: []}}",
        "metrics: {m: {kind: kip}}",
    ],
)
def test_editors_mark_mistakes(text: str) -> None:
    assert not Draft7Validator(plan_schema()).is_valid(yaml.safe_load(text))


def test_the_schema_takes_the_empty_parts_that_the_loader_takes() -> None:
    parts = ("types", "context", "traits", "groups", "events", "journeys", "segments", "metrics")
    empty = "".join(f"{part}:\n" for part in (*parts, "models", "experiments"))
    for text in (empty, "events: {A: , B: {properties: }}"):
        text = f"plan: t\nversion: 1.0.0\n{text}"
        assert Plan.parse(text)
        assert not [*Draft7Validator(plan_schema()).iter_errors(yaml.safe_load(text))]

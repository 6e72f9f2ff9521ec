"""docs/plan.md names everything that the language has, and its example is a plan."""

from __future__ import annotations

import re
from pathlib import Path

from desirepath.event import PAGE_EVENT, SCREEN_EVENT
from desirepath.plan import Defaults, Plan, sections
from desirepath.plan.conditions import OPERATORS
from desirepath.plan.formats import FORMATS
from desirepath.plan.keywords import ANNOTATIONS, KEYWORDS, OURS, TYPES, UNSUPPORTED
from desirepath.plan.model import PII, POLICIES, STATUSES
from desirepath.plan.schema import plan_schema
from desirepath.plan.violations import CODES

TEXT = (Path(__file__).parents[2] / "docs" / "plan.md").read_text()


def test_every_word_of_the_language_is_documented() -> None:
    words: set[str] = {*KEYWORDS, *OURS, *ANNOTATIONS, *TYPES, *UNSUPPORTED, *FORMATS, *OPERATORS}
    words |= {*PII, *POLICIES, *STATUSES, *CODES, *Defaults.__struct_fields__}
    words |= {*sections.AGGREGATES, *sections.METRIC_KINDS, *sections.MODEL_KINDS}
    words |= {*plan_schema()["properties"]}
    prose = re.sub(r"```.+?```", "", TEXT, flags=re.DOTALL)
    code = " ".join(re.findall(r"`([^`]+)`", prose))
    said = set(re.split(r"[\s,:\[\]{}()]+", code))
    assert sorted(word for word in words if word not in said) == []
    assert f"`{PAGE_EVENT}` and `{SCREEN_EVENT}`" in prose


def test_every_violation_code_is_explained_as_in_the_code() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", TEXT, re.MULTILINE))
    assert {code: rows.get(code) for code in CODES} == CODES


def test_the_example_is_a_plan_but_for_the_events_it_leaves_out() -> None:
    example = re.search(r"```yaml\n(.+?)```", TEXT, re.DOTALL)
    assert example is not None
    plan = Plan.parse(
        example[1].replace("events:\n", "events:\n  Product Viewed:\n  Product Added:\n")
    )
    assert plan.name == "shop"

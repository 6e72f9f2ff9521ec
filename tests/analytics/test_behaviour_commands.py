"""The commands that ask about behaviour, as a person calls them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.analytics.kit import DAY, event, identify, insert

from desirepath.cli import main
from desirepath.plan import Plan
from desirepath_analytics.commands import asking
from desirepath_analytics.commands.asking import parse_step
from desirepath_analytics.commands.tables import seconds
from desirepath_collector.warehouse import Warehouse

PLAN = """
plan: shop
version: 1.0.0
traits: {country: string}
events:
  view: {properties: {price: number}}
  cart: {}
  buy: {properties: {total: number}}
journeys:
  purchase: {steps: [view, cart, {event: buy, where: {total: {">": 5}}}], within: 7d}
segments:
  buyers: {all: [{did: buy}, {trait: {country: {in: [SE]}}}]}
"""


class Ask:
    """Calls `desirepath` against the test's warehouse."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: str, code: int = 0) -> str:
        """What it prints; on stderr if it fails."""
        assert main(words) == code
        printed = self._capsys.readouterr()
        return printed.err if code else printed.out

    def json(self, *words: str) -> Any:
        """The answer of `--json`."""
        return json.loads(self(*words, "--json"))


@pytest.fixture
def ask(
    warehouse: Warehouse, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Ask:
    """A small shop behind the command line."""
    warehouse.publish(Plan.parse(PLAN, path="plan.yaml"))
    insert(
        warehouse,
        [
            *(identify("p", {"country": "SE"}), identify("q", {"country": "DE"})),
            *(event("p", "view", 0, {"price": 3}), event("p", "cart", 1)),
            *(event("p", "buy", DAY, {"total": 9}), event("q", "view", 0), event("q", "cart", 5)),
            *(event("r", "view", 0, {"price": 8}), event("r", "buy", 1, {"total": 1})),
        ],
    )
    # The engine is this process's own: the command borrows it, and must not close it.
    monkeypatch.setattr(asking, "open_warehouse", lambda args: _Borrowed(warehouse))
    return Ask(capsys)


class _Borrowed:
    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse

    def __enter__(self) -> Warehouse:
        return self._warehouse

    def __exit__(self, *_: object) -> None:
        pass


def test_a_funnel_by_its_steps_and_by_its_name(ask: Ask) -> None:
    """The same numbers; options of the command line come on top of the journey's."""
    steps = ("--step", "view", "--step", "cart", "--step", "buy where total>5")
    answer = ask.json("funnel", *steps, "--within", "7d")
    assert [step["people"] for step in answer["steps"]] == [3, 2, 1]
    assert ask.json("funnel", "purchase")["steps"] == answer["steps"]
    by = ask.json("funnel", "purchase", "--by", "traits.country", "--where", "price exists")
    assert [part["value"] for part in by["breakdown"]] == [[None], ["SE"]]


def test_a_step_may_be_any_of_several(ask: Ask) -> None:
    """`A|B`; a bar in a name is written \\|."""
    answer = ask.json("funnel", "--step", "view", "--step", "cart|buy")
    assert [step["people"] for step in answer["steps"]] == [3, 3]
    assert answer["steps"][1]["name"] == "cart or buy"
    assert parse_step("a\\|b|c") == ["a|b", "c"]
    assert parse_step('{"event": "x"}') == {"event": "x"}
    assert parse_step("a|b where x in 1,SE and y exists") == {
        "event": ["a", "b"],
        "where": {"all": [{"x": {"in": [1, "SE"]}}, {"y": {"exists": True}}]},
    }


def test_a_question_from_a_file(ask: Ask, tmp_path: Path) -> None:
    """The JSON form, with and without its name around it."""
    file = tmp_path / "question.json"
    spec = {"steps": ["view", "cart"], "within": "7d"}
    file.write_text(json.dumps({"funnel": spec, "since": "2026-01-01", "until": "2026-02-01"}))
    answer = ask.json("funnel", "--spec", str(file))
    assert [step["people"] for step in answer["steps"]] == [3, 2]
    assert answer["until"] == "2026-02-01T00:00:00Z"
    file.write_text(json.dumps(spec))
    assert ask.json("funnel", "--spec", str(file))["steps"] == answer["steps"]


def test_tables_pictures_and_sql(ask: Ask, tmp_path: Path) -> None:
    """What a person sees."""
    page = tmp_path / "funnel.html"
    table = ask("funnel", "purchase", "--html", str(page))
    assert "66.7 %" in table
    assert "had not the whole window" in table
    assert "plotly" in page.read_text(encoding="utf-8")
    assert ask("funnel", "purchase", "--sql").startswith("SELECT")
    assert "2026-01-01 *" in ask("funnel", "purchase", "--over", "day")


def test_segments(ask: Ask) -> None:
    """Size by default, the people on demand."""
    assert ask("segment", "buyers", "--size") == "buyers: 1 people\n"
    assert ask("segment", "buyers", "--people") == "p\n"
    assert ask.json("segment", "buyers")["size"] == 1
    assert ask.json("segment", "buyers", "--people")["people"] == ["p"]
    assert ask.json("segment", "--rule", '{"did_not": "buy"}')["size"] == 1


JANUARY = ("--since", "2026-01-01", "--until", "2026-01-04")


def test_questions_about_periods(ask: Ask) -> None:
    """Retention, lifecycle and stickiness: as tables and as JSON."""
    words = ("retention", "--start", "view|cart", "--returning", "buy", "--periods", "1", *JANUARY)
    answer = ask.json(*words)
    assert answer["cohorts"][0]["people"] == [1, 1]
    assert "33.3 %" in ask(*words)
    assert ask.json(*words, "--by", "traits.country")["breakdown"][0]["value"] == [None]
    periods = ask.json("lifecycle", "--unit", "day", *JANUARY)["periods"]
    assert [one["active"] for one in periods] == [3, 1, 0]
    assert "resurrecting" in ask("lifecycle", "--unit", "day", *JANUARY)
    answer = ask.json("stickiness", "--event", "*", "--timezone", "Europe/Stockholm", *JANUARY)
    assert [group["exactly"] for group in answer["groups"]] == [2, 1, 0, 0]
    assert "1.33 days a person" in ask("stickiness", *JANUARY)
    words = ("trend", "--event", "buy", "--event", "view", "--measure", "people", *JANUARY)
    answer = ask.json(*words, "--formula", "A / B")
    assert answer["lines"][0]["total"]["value"] == 2 / 3
    assert "all" in ask(*words, "--by", "price")


def test_paths(ask: Ask) -> None:
    """From an event on, with names made one."""
    answer = ask.json("paths", "--start", "view", "--gap", "2d", "--rename", "[cb]*=act")
    assert answer["paths"][0]["nodes"] == ["view", "act"]
    assert answer["paths"][0]["visits"] == 3
    assert "view > act" in ask("paths", "--start", "view", "--gap", "2d", "--rename", "[cb]*=act")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["funnel"], "no steps"),
        (["funnel", "purchse"], "did you mean 'purchase'?"),
        (["funnel", "--step", "view", "--step", "by"], "did you mean 'buy'?"),
        (["funnel", "purchase", "--step", "view"], "has its own steps"),
        (["funnel", "purchase", "--within", "soon"], "no span of time"),
        (["funnel", "purchase", "--where", "price"], "is no condition"),
        (["funnel", "purchase", "--since", "yesterday"], "is no moment"),
        (["funnel", "--spec", "/nowhere.json"], "No such file"),
        (["retention"], "no start"),
        (["paths", "--start", "veiw"], "did you mean 'view'?"),
        (["paths", "--rename", "x"], "has no ="),
        (["trend"], "no series"),
        (["trend", "--event", "buy", "--measure", "sum"], "sum is of a property"),
        (["lifecycle", "--timezone", "Mars/Olympus"], "unknown time zone"),
        (["segment"], "no segment"),
        (["segment", "byers"], "did you mean 'buyers'?"),
        (["segment", "--rule", "{"], "not JSON"),
    ],
)
def test_a_mistake_is_one_message(ask: Ask, words: list[str], message: str) -> None:
    """A non-zero exit, what is wrong, the nearest name, no traceback."""
    printed = ask(*words, code=1)
    assert message in printed
    assert "Traceback" not in printed


def test_spans_as_people_read_them() -> None:
    """The two largest units."""
    assert seconds(None) == "-"
    assert seconds(0.84) == "0.8s"
    assert seconds(200) == "3m 20s"
    assert seconds(187_200) == "2d 4h"
    assert seconds(86_400) == "1d"

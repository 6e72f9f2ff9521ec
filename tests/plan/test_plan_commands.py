"""Every `desirepath plan` command, through the command line's own `main`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from desirepath.cli import main
from desirepath.plan import Plan
from desirepath.resources import starter_plan

GOOD = """
plan: test
version: 1.0.0
owner: us
events:
  Order Completed:
    description: The buyer paid.
    properties: {order_id: {type: string, required: true}, total: {type: number, minimum: 0}}
journeys:
  purchase: {steps: [Order Completed], within: 7d}
"""


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "plan.yaml"
    path.write_text(GOOD)
    return path


def answer(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_no_action_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["plan"])
    assert stop.value.code == 2
    assert "ACTION" in capsys.readouterr().err


def test_check(plan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "check", str(plan)]) == 0
    assert "1 event, 2 properties, 1 journey; no findings" in capsys.readouterr().out
    assert main(["plan", "check", str(plan), "--json"]) == 0
    assert answer(capsys)["ok"] is True


def test_check_findings_fail_only_when_strict(
    plan: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan.write_text(GOOD.replace("    description: The buyer paid.\n", ""))
    assert main(["plan", "check", str(plan)]) == 0
    out = capsys.readouterr().out
    assert f"{plan}:6:3: the event 'Order Completed' has no description [description]" in out
    assert "1 finding" in out
    assert main(["plan", "check", str(plan), "--strict"]) == 1
    capsys.readouterr()
    assert main(["plan", "check", str(plan), "--strict", "--json"]) == 1
    found = answer(capsys)
    assert found["ok"] is False
    assert found["findings"][0]["line"] == 6


def test_check_errors(plan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan.write_text(GOOD.replace("[Order Completed]", "[Order Complete]"))
    assert main(["plan", "check", str(plan)]) == 1
    err = capsys.readouterr().err
    assert f"{plan}:10:22: " in err
    assert "did you mean 'Order Completed'?" in err
    assert main(["plan", "check", str(plan), "--json"]) == 1
    found = answer(capsys)
    assert (found["ok"], found["errors"][0]["line"]) == (False, 10)
    assert main(["plan", "check", str(plan.parent / "none.yaml")]) == 1
    assert "none.yaml" in capsys.readouterr().err


def test_check_the_starter_plan(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "check", "--strict", str(starter_plan("shop"))]) == 0


def test_infer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events = tmp_path / "web shop.jsonl"
    record = {"type": "track", "event": "Bought", "properties": {"email": "a@example.com"}}
    events.write_text(f"{json.dumps(record)}\nnot json\n")
    draft = tmp_path / "draft.yaml"
    assert main(["plan", "infer", str(events), "-o", str(draft)]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "drafted 1 event from 1 call" in captured.err
    assert "'email' looks like an e-mail address" in captured.err
    assert "1 record skipped" in captured.err
    assert Plan.load(draft).name == "web_shop"
    assert main(["plan", "infer", str(events)]) == 0
    assert capsys.readouterr().out == draft.read_text()
    assert main(["plan", "infer", str(events), "--json", "--name", "mine"]) == 0
    found = answer(capsys)
    assert found["plan"]["plan"] == "mine"
    assert found["personal"][0]["treatment"] == "hash"
    assert found["skipped_first"][0]["place"].endswith(":2")


def test_infer_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "infer", str(tmp_path / "none.jsonl")]) == 1
    assert "No such file" in capsys.readouterr().err
    events = tmp_path / "events.jsonl"
    events.write_text('{"a": 1}\n')
    assert main(["plan", "infer", str(events)]) == 1
    assert "--event-field" in capsys.readouterr().err
    assert main(["plan", "infer", str(events), "--json"]) == 1
    assert "--event-field" in answer(capsys)["error"]["hint"]
    events.write_text('{"event": "A"}\n')
    assert main(["plan", "infer", str(events), "-o", str(tmp_path)]) == 1
    assert "directory" in capsys.readouterr().err


def test_import(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "order.json"
    schema = {"type": "object", "title": "Order", "properties": {"a": {"contains": {}}}}
    source.write_text(json.dumps(schema))
    target = tmp_path / "plan.yaml"
    assert main(["plan", "import", str(source), "-o", str(target)]) == 0
    err = capsys.readouterr().err
    assert "imported 1 event as order 1.0.0" in err
    assert "Order.a: `contains`" in err
    assert list(Plan.load(target).events) == ["Order"]
    assert main(["plan", "import", str(source), "--json", "--from", "json-schema"]) == 0
    assert answer(capsys)["notes"] == ["Order.a: `contains`"]
    source.write_text("[]")
    assert main(["plan", "import", str(source)]) == 1
    assert "--from" in capsys.readouterr().err

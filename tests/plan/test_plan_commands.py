"""Every `desirepath plan` command, through the command line's own `main`."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

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
  purchase: {steps: [Order Completed, Order Completed], within: 7d}
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
    plan.write_text(GOOD.replace("[Order Completed,", "[Order Complete,"))
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
    assert "no file" in capsys.readouterr().err
    events = tmp_path / "events.jsonl"
    events.write_text('{"a": 1}\n')
    assert main(["plan", "infer", str(events)]) == 1
    assert "--map event=FIELD" in capsys.readouterr().err
    assert main(["plan", "infer", str(events), "--json"]) == 1
    assert "--map event=FIELD" in answer(capsys)["error"]["hint"]
    assert main(["plan", "infer", str(events), "--map", "event"]) == 1
    assert "--map" in capsys.readouterr().err
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


class Collector(BaseHTTPRequestHandler):
    """A small stand-in for a collector's `/v1/plan`."""

    plan: ClassVar[bytes | None] = None
    error: ClassVar[tuple[int, bytes] | None] = None

    def do_GET(self) -> None:
        if not self._refused():
            self._answer(200 if self.plan else 404, self.plan or b"{}")

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self._refused():
            return
        type(self).plan = body
        found = Plan.parse(body)
        self._answer(
            200,
            json.dumps({"success": True, "plan": found.name, "version": found.version}).encode(),
        )

    def _refused(self) -> bool:
        key = b64decode(self.headers["Authorization"].removeprefix("Basic ")).decode()
        if key != "dev:":
            error = {"code": "unauthorized", "message": "unknown write key", "hint": None}
            self._answer(401, json.dumps({"success": False, "error": error}).encode())
            return True
        if self.error is not None:
            self._answer(*self.error)
            return True
        return False

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("DESIREPATH_ENDPOINT", "DESIREPATH_WRITE_KEY", "DESIREPATH_PLAN"):
        monkeypatch.delenv(name, raising=False)
    Collector.plan = Collector.error = None
    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_diff(plan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = tmp_path / "new.yaml"
    new.write_text(GOOD.replace("minimum: 0", "minimum: 1"))
    assert main(["plan", "diff", str(plan), str(plan)]) == 0
    assert "nothing changed" in capsys.readouterr().out
    assert main(["plan", "diff", str(plan), str(new)]) == 1
    out = capsys.readouterr().out
    assert "Order Completed.total: the smallest value: 0 -> 1" in out
    assert "journey 'purchase' is at risk" in out
    assert "the version must be 2.0.0 or later: a major bump is needed, it is the same" in out
    assert main(["plan", "diff", str(plan), str(new), "--json"]) == 1
    found = answer(capsys)
    assert found["changes"][0]["level"] == "breaking"
    assert found["changes"][0]["pointer"] == "/events/Order Completed/properties/total"
    assert found["affected"][0]["name"] == "purchase"
    assert found["bump"]["wanted_version"] == "2.0.0"
    new.write_text(new.read_text().replace("1.0.0", "2.0.0"))
    assert main(["plan", "diff", str(plan), str(new)]) == 0
    assert "the version is right" in capsys.readouterr().out


def test_diff_shows_the_first_reasons(
    plan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = tmp_path / "new.yaml"
    more = "".join(f"p{n}: {{type: string, required: true}}, " for n in range(9))
    new.write_text(GOOD.replace("order_id:", f"{more}order_id:"))
    assert main(["plan", "diff", str(plan), str(new)]) == 1
    assert "    and 5 more (all with --json)" in capsys.readouterr().out
    assert main(["plan", "diff", str(plan), str(new), "--json"]) == 1
    assert len(answer(capsys)["affected"][0]["reasons"]) == 9


def test_diff_usage(plan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["plan", "diff", str(plan)])
    assert stop.value.code == 2
    assert "OLD and NEW" in capsys.readouterr().err


def test_publish_then_diff_against(
    plan: Path, collector: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "diff", str(plan), "--against", collector]) == 1
    assert "no live plan" in capsys.readouterr().err
    assert main(["plan", "publish", str(plan), collector]) == 0
    assert capsys.readouterr().out == f"test 1.0.0 is live at {collector}\n"
    assert Collector.plan == plan.read_bytes()
    assert main(["plan", "diff", str(plan), "--against", collector]) == 0
    assert "nothing changed" in capsys.readouterr().out
    plan.write_text(GOOD.replace("    description: The buyer paid.\n", ""))
    assert main(["plan", "diff", str(plan), "--against", collector, "--json"]) == 1
    assert answer(capsys)["bump"]["needed"] == "patch"


def test_publish_takes_its_settings_from_the_environment(
    plan: Path,
    collector: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DESIREPATH_ENDPOINT", collector)
    monkeypatch.setenv("DESIREPATH_PLAN", str(plan))
    monkeypatch.setenv("DESIREPATH_WRITE_KEY", "dev")
    assert main(["plan", "publish", "--json"]) == 0
    assert answer(capsys) == {
        "success": True, "endpoint": collector, "plan": "test", "version": "1.0.0"
    }  # fmt: skip


def test_publish_refusals(plan: Path, collector: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", "publish", str(plan), "--endpoint", collector]
    assert main([*words, "--write-key", "wrong"]) == 1
    err = capsys.readouterr().err
    assert "refused the write key: unknown write key" in err
    assert "--write-key" in err
    error = {"code": "bad_plan", "message": "line 3: no", "hint": "mend it"}
    Collector.error = (422, json.dumps({"success": False, "error": error}).encode())
    assert main(words) == 1
    assert (
        f"desirepath: {collector} refused (422): line 3: no\n  mend it" in capsys.readouterr().err
    )
    Collector.error = (500, b"<html>")
    assert main([*words, "--json"]) == 1
    assert answer(capsys)["error"]["message"] == f"{collector} answered 500"
    Collector.error = (404, b"nothing here")
    assert main(words) == 1
    assert "no /v1/plan" in capsys.readouterr().err


def test_publish_to_nobody(plan: Path, collector: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "publish", str(plan), "http://127.0.0.1:9"]) == 1
    err = capsys.readouterr().err
    assert "http://127.0.0.1:9 cannot be reached: Connection refused" in err
    assert "desirepath serve" in err
    assert main(["plan", "publish", str(plan), "--endpoint", "localhost"]) == 1
    assert "no write key" in capsys.readouterr().err
    assert main(["plan", "publish", str(plan), "http://collector.example"]) == 1
    assert "--write-key" in capsys.readouterr().err
    assert main(["plan", "publish", str(plan), "ftp://x", "--write-key", "k"]) == 1
    assert "no URL of a collector" in capsys.readouterr().err
    assert main(["plan", "publish"]) == 1
    assert "no plan to publish" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        main(["plan", "publish", "a.yaml", "b.yaml"])
    assert stop.value.code == 2


def test_publish_checks_the_plan_first(
    plan: Path, collector: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plan.write_text("plan: x\n")
    assert main(["plan", "publish", str(plan), collector]) == 1
    assert "`version` is missing" in capsys.readouterr().err
    assert Collector.plan is None


def test_codegen(plan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "tracking.py"
    assert main(["plan", "codegen", str(plan), "-o", str(target)]) == 0
    assert capsys.readouterr().out == f"{target}: 1 typed event\n"
    before = target.read_bytes()
    assert main(["plan", "codegen", str(plan), "-o", str(target)]) == 0
    assert target.read_bytes() == before
    capsys.readouterr()
    assert main(["plan", "codegen", str(plan)]) == 0
    assert capsys.readouterr().out == before.decode()
    assert main(["plan", "codegen", str(plan), "--json"]) == 0
    assert answer(capsys) == {"output": None, "events": 1, "text": before.decode()}


def test_codegen_check(plan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "tracking.py"
    words = ["plan", "codegen", str(plan), "--check", "-o", str(target)]
    assert main(words) == 1
    assert "generate it again" in capsys.readouterr().out
    assert not target.exists()
    main(["plan", "codegen", str(plan), "-o", str(target)])
    capsys.readouterr()
    assert main(words) == 0
    assert "up to date" in capsys.readouterr().out
    assert main([*words, "--json"]) == 0
    assert answer(capsys)["fresh"] is True
    with pytest.raises(SystemExit) as stop:
        main(["plan", "codegen", str(plan), "--check"])
    assert stop.value.code == 2
    target.write_bytes(b"\xff")
    assert main(words) == 1


def test_docs(plan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    html, markdown = tmp_path / "plan.html", tmp_path / "plan.md"
    assert main(["plan", "docs", str(plan), "-o", str(html)]) == 0
    assert "bytes of html" in capsys.readouterr().out
    assert html.read_text().startswith("<!doctype html>")
    assert main(["plan", "docs", str(plan), "-o", str(markdown)]) == 0
    assert "bytes of markdown" in capsys.readouterr().out
    assert main(["plan", "docs", str(plan), "--format", "markdown"]) == 0
    assert capsys.readouterr().out == markdown.read_text()
    assert main(["plan", "docs", str(plan), "--json"]) == 0
    assert answer(capsys) == {"output": None, "format": "html", "text": html.read_text()}
    assert main(["plan", "docs", str(plan), "-o", str(tmp_path / "no" / "x.html")]) == 1
    assert "No such file" in capsys.readouterr().err


def test_schema(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "schema"]) == 0
    schema = answer(capsys)
    assert "properties" in schema
    target = tmp_path / "plan.schema.json"
    assert main(["plan", "schema", "-o", str(target), "--json"]) == 0
    assert json.loads(target.read_text()) == schema == answer(capsys)["schema"]

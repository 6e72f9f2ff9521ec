"""`desirepath send`: files of every shape, and every mistake as one clear message."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from capturing import Capture, Handler, wait_until

from desirepath._shape import parse_time
from desirepath.cli import main

PLAN = """
plan: test
version: 1.0.0
events:
  Paid: {properties: {total: number, count: integer, vip: boolean, code: string}}
"""


@pytest.fixture
def send(
    server: Capture, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Write a file and send it; the exit code and what was printed."""

    def run(text: str | bytes, *words: str, name: str = "events.csv") -> tuple[int, str, str]:
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        code = main(["send", str(path), "--endpoint", server.url, *words])
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return code, printed.out, printed.err

    return run


def test_a_csv_with_the_usual_columns(send: Any, server: Capture) -> None:
    code, out, _ = send(
        "user_id,event,timestamp,total,note\n"
        "u1,Paid,2026-01-02 03:04:05.678,007,\n"
        'u2,Paid,1767322800,1.5,"two\nlines"\n'
    )
    assert code == 0
    assert "2 events accepted" in out
    first, second = server.events
    assert first["userId"] == "u1"
    assert first["timestamp"] == "2026-01-02T03:04:05.678000Z"
    assert first["properties"] == {"total": "007"}, "cells are text, empty ones are absent"
    assert second["properties"]["note"] == "two\nlines"
    assert second["timestamp"] == "2026-01-02T03:00:00Z"


def test_sending_twice_stores_once_and_another_mapping_is_another_event(
    send: Any, server: Capture
) -> None:
    text = "user_id,event,other\nu1,A,x\nu1,A,x\n"
    for _ in range(2):
        assert send(text)[0] == 0
    assert len(server.events) == 4
    assert len(server.ids()) == 2, "the same line, the same id; equal lines are two events"
    assert send(text, "--map", "event=other")[0] == 0
    assert len(server.ids()) == 4


def test_rows_without_a_time_get_the_files(
    send: Any, server: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """The same whenever it is sent; what comes by standard input has the moment of the start."""
    text = "user_id,event,timestamp\nu1,A,\nu2,A,2026-01-02\n"
    path = tmp_path / "events.csv"
    for moment in (1767322800, 1767322800, 1767322801):
        path.write_text(text)
        os.utime(path, (moment, moment))
        assert main(["send", str(path), "--endpoint", server.url]) == 0
        assert "rows without a time: 1; they get that of the file's last change" in (
            capsys.readouterr().err
        )
    assert [event["timestamp"] for event in server.named("A") if event["userId"] == "u1"] == [
        "2026-01-02T03:00:00Z",
        "2026-01-02T03:00:00Z",
        "2026-01-02T03:00:01Z",
    ]
    assert len(server.ids()) == 2, "the file's time is no part of the id"
    code, out, err = send(gzip.compress(text.encode()), "--json", name="e.csv.gz")
    assert (code, json.loads(out)["without_time"], err) == (0, 1, "")
    before = datetime.now(UTC)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert main(["send", "-", "--endpoint", server.url]) == 0
    assert "may be stored twice" in capsys.readouterr().err
    assert before <= datetime.fromisoformat(server.events[-2]["timestamp"]) <= datetime.now(UTC)


def test_columns_are_mapped(send: Any, server: Capture) -> None:
    code, out, _ = send(
        "who;what;when;visit;ip;total\nu1;Paid;02.01.2026 03:04;s1;::1;7\n",
        *("--map", "user_id=who,event=what,timestamp=when", "--map", "session_id=visit"),
        *("--map", "context.ip=ip,properties.order.total=total"),
        *("--time-format", "%d.%m.%Y %H:%M", "--timezone", "Europe/Stockholm", "--json"),
    )
    assert code == 0
    assert json.loads(out)["accepted"] == 1
    (event,) = server.events
    assert event["timestamp"] == "2026-01-02T02:04:00Z"
    assert event["context"] == {"sessionId": "s1", "ip": "::1"}
    assert event["properties"] == {"order": {"total": "7"}}


def test_types_are_inferred_on_request_or_by_the_plan(
    send: Any, server: Capture, tmp_path: Path
) -> None:
    header, row = "user_id,event,total,count,vip,code,id", "u,Paid,1.50,7,TRUE,42,007"
    send(f"{header}\n{row}\n", "--infer-types")
    assert server.events[0]["properties"] == {
        "total": 1.5,
        "count": 7,
        "vip": True,
        "code": 42,
        "id": "007",
    }
    (tmp_path / "plan.yaml").write_text(PLAN)
    code, out, _ = send(f"{header}\n{row}\n", "--plan", str(tmp_path / "plan.yaml"), "--json")
    assert server.events[1]["properties"] == {
        "total": 1.5,
        "count": 7,
        "vip": True,
        "code": "42",
        "id": "007",
    }
    assert json.loads(out)["reasons"] == [
        {"code": "plan: unplanned_property", "pointer": "/properties/id", "events": 1}
    ]
    assert code == 0


def test_json_lines_of_segment_and_of_anybody(send: Any, server: Capture) -> None:
    rows = [
        {"type": "identify", "userId": "u1", "traits": {"a": 1}, "messageId": "m1"},
        {
            "type": "page",
            "anonymousId": "a1",
            "name": "Home",
            "properties": {"path": "/"},
            "originalTimestamp": "2026-01-02T00:00:00Z",
            "sentAt": "x",
            "integrations": {},
        },
        {"user_id": 7, "event": "Paid", "total": 2, "properties": {"x": 1}, "name": "Ann"},
    ]
    assert send("\n".join(map(json.dumps, rows)), name="events.jsonl")[0] == 0
    identify, page, paid = server.events
    assert (identify["messageId"], identify["traits"]) == ("m1", {"a": 1})
    assert (page["name"], page["timestamp"]) == ("Home", "2026-01-02T00:00:00Z")
    assert page["properties"] == {"path": "/"}
    assert paid["properties"] == {"total": 2, "x": 1, "name": "Ann"}


def test_a_mapped_json_row(send: Any, server: Capture) -> None:
    row = {"user": {"id": 7.0}, "ts": 1541105830796, "total": 2, "data": {"x": 1}}
    words = ("--map", "user_id=user.id,timestamp=ts,properties=data", "--event", "Paid")
    assert send(gzip.compress(json.dumps(row).encode()), *words, name="e.jsonl.gz")[0] == 0
    (event,) = server.events
    assert (event["userId"], event["event"]) == ("7", "Paid")
    assert event["timestamp"] == "2018-11-01T20:57:10.796000Z"
    assert event["properties"] == {"total": 2, "x": 1}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("u,A", "2 cells for 3 columns"),
        ('u,"A,1', "a quote is not closed"),
        (",A,1", "it names nobody"),
        ("u,,1", "it names no event"),
        ("u,A,\x00", ""),
    ],
)
def test_a_broken_line_is_reported_and_the_rest_goes_on(
    send: Any, server: Capture, bad: str, reason: str
) -> None:
    good = [f"u{n},A,{n}" for n in range(700)]
    lines = ["user_id,event,n", *good[:350], bad, "", *good[350:]]
    code, _, err = send("\n".join(lines) + "\n")
    if reason:
        assert (code, "line 352: " + reason in err) == (1, True)
    assert {event["userId"] for event in server.events} >= {f"u{n}" for n in range(700)}


def test_broken_json_lines_are_reported_by_number(send: Any, server: Capture) -> None:
    good = '{"user_id":"u","event":"A"}'
    lines = [
        good,
        '{"user_id": "u',
        "[1]",
        "",
        good,
        '{"a":' * 200_000,
        good.replace("A", "\ud800".encode("utf-8", "surrogatepass").decode("latin-1")),
    ]
    code, out, _ = send("\n".join(lines), "--json", name="e.jsonl")
    summary = json.loads(out)
    assert code == 1
    assert [line["line"] for line in summary["broken_lines"]] == [2, 3, 6]
    assert summary["accepted"] == len(server.events) == 3


@pytest.mark.parametrize("name", ["e.jsonl", "e.csv"])
def test_a_line_beyond_all_measure_is_one_broken_line(
    send: Any, server: Capture, name: str
) -> None:
    long = "x" * 2_500_000
    if name == "e.csv":
        lines = ["user_id,event,text", f"u,A,{long}", "u,A,short"]
    else:
        lines = [
            "",
            f'{{"user_id":"u","event":"A","text":"{long}"}}',
            '{"user_id":"u","event":"A"}',
        ]
    code, out, _ = send("\n".join(lines), "--json", name=name)
    summary = json.loads(out)
    assert (code, [line["line"] for line in summary["broken_lines"]]) == (1, [2])
    assert summary["accepted"] == 1


def test_a_time_that_is_none_breaks_its_line(send: Any, server: Capture) -> None:
    code, _, err = send("user_id,event,timestamp\nu,A,yesterday\nu,A,2026-01-01\n")
    assert (code, "line 2: 'yesterday' is no time" in err) == (1, True)
    assert len(server.events) == 1


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        ("who,event\nu,A\n", (), "says who"),
        ("user_id,what\nu,A\n", (), "names the event"),
        ("user_id,event\n", ("--map", "user_id=user"), "there is no column 'user'"),
        ("user_id,event\n", ("--map", "userid=user_id"), "'userid' is nothing an event has"),
        ("user_id,event\n", ("--map", "user_id"), "not of the form"),
        ("user_id,event\n", ("--timezone", "Mars/North"), "no time zone 'Mars/North'"),
        ("user_id,event,event\n", (), "the column 'event' is there twice"),
        ("", (), "is empty"),
    ],
)
def test_mistakes_are_one_message(
    send: Any, server: Capture, text: str, words: tuple[str, ...], message: str
) -> None:
    code, _, err = send(text, *words)
    assert code == 1
    assert message in err
    assert server.requests == 0


def test_a_missing_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["send", "/nowhere/events.csv"]) == 1
    assert "there is no file /nowhere/events.csv" in capsys.readouterr().err
    assert main(["send", "/nowhere/events.csv", "--json"]) == 1
    assert "no file" in json.loads(capsys.readouterr().out)["error"]["message"]


def test_a_wrong_key_and_an_unreachable_collector(send: Any, server: Capture) -> None:
    server.fault = lambda handler, events: handler.answer(401, {}) or True
    text = "user_id,event\nu,A\n"
    code, _, err = send(text)
    assert (code, "refuses the write key" in err, "not stored twice" in err) == (1, True, True)
    server.fault = lambda handler, events: handler.answer(404, {}) or True
    assert "is --endpoint the address of a collector" in send(text)[2]
    code, _, err = send(text, "--endpoint", "http://127.0.0.1:9")
    assert (code, "http://127.0.0.1:9 cannot be reached" in err) == (1, True)


def test_refused_events_are_reported_and_delivery_is_retried(send: Any, server: Capture) -> None:
    failures = [2]

    def fault(handler: Handler, events: list[dict[str, Any]]) -> bool:
        if failures[0]:
            failures[0] -= 1
            handler.answer(503, {})
            return True
        if any(event["userId"] == "u7" for event in events):
            handler.answer(400, {"error": {"message": "no sevens"}})
            return True
        return False

    server.fault = fault
    lines = ["user_id,event", *(f"u{n},A" for n in range(40))]
    code, _, err = send("\n".join(lines))
    assert code == 1
    assert "line 9: refused: HTTP 400: no sevens" in err
    assert len(server.ids()) == 39


def test_ctrl_c_does_not_wait_for_retry_after(server: Capture, tmp_path: Path) -> None:
    server.fault = lambda handler, events: handler.answer(429, {}, Retry_After="300") or True
    path = tmp_path / "events.csv"
    path.write_text("user_id,event\nu,A\n")
    command = [sys.executable, "-m", "desirepath", "send", str(path), "--endpoint", server.url]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_until(lambda: server.requests == 1)
            time.sleep(0.3)
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=10)
        finally:
            process.kill()
    assert process.returncode != 0
    assert server.requests == 1


@pytest.mark.parametrize("rich", [True, False])
def test_progress_is_shown_on_a_terminal(
    send: Any, monkeypatch: pytest.MonkeyPatch, rich: bool
) -> None:
    """With rich or without it; the result is the same."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    if not rich:
        monkeypatch.setitem(sys.modules, "rich.progress", None)
    lines = ["user_id,event", *(f"u{n},A" for n in range(1500))]
    code, out, err = send("\n".join(lines))
    assert (code, "1,500 events accepted" in out) == (0, True)
    assert rich or re.search(r"\r#* +\d+% [\d,]+ events", err)


def test_a_dry_run_sends_nothing(send: Any, server: Capture) -> None:
    code, out, _ = send("user_id,event\nu,A\nu,A\nu,B\n", "--dry-run")
    assert (code, server.requests) == (0, 0)
    assert "3 lines read" in out
    assert "         2  A" in out


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02 03:04:05+02:00", datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC)),
        ("2026-01-02", datetime(2026, 1, 2, tzinfo=UTC)),
        ("2026/01/02 03:04", datetime(2026, 1, 2, 3, 4, tzinfo=UTC)),
        ("Fri, 02 Jan 2026 03:04:05 GMT", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02 03:04:05 UTC", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (1767323045, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("1767323045.5", datetime(2026, 1, 2, 3, 4, 5, 500_000, tzinfo=UTC)),
        (1767323045000, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("1767323045000000", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (1767323045000000000, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
    ],
)
def test_times_in_the_usual_notations(value: Any, expected: datetime) -> None:
    assert parse_time(value, UTC) == expected


def test_times_without_a_zone_and_no_times() -> None:
    assert parse_time("2026-07-01 12:00", ZoneInfo("Europe/Stockholm")).astimezone(UTC).hour == 10
    for value in ("", "soon", True, None, [], {}, "12:30"):
        with pytest.raises(ValueError, match="not a time"):
            parse_time(value, UTC)

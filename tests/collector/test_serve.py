"""`desirepath serve` and its neighbours as a person uses them: real processes, real ClickHouse."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import urllib3
from tests.collector.conftest import Serve, Server
from tests.collector.kit import PLAN, basic, batch, track

from desirepath.cli import main

HEADERS = basic()


def desirepath(
    *words: str, cwd: Path | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    base = {k: v for k, v in os.environ.items() if not k.startswith("DESIREPATH_")}
    return subprocess.run(
        [sys.executable, "-m", "desirepath", *words],
        capture_output=True, text=True, timeout=60, env={**base, **env}, check=False,
    )  # fmt: skip


def call(method: str, url: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    with urllib3.PoolManager(retries=False) as http:
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        answer = http.request(method, url, body=data, headers={**HEADERS, **headers})
        kind = answer.headers.get("Content-Type", "")
        return answer.status, answer.json() if "json" in kind else answer.data.decode()


def ask(server: Server, statement: str) -> str:
    with urllib3.PoolManager(retries=False) as http:
        answer = http.request(
            "POST", f"{server.clickhouse}/?user=dev&password=dev", body=statement.encode()
        )
        assert answer.status == 200, answer.data
        return answer.data.decode().strip()


def eventually(server: Server, statement: str, expected: str, within_s: float = 10) -> None:
    end_s = time.monotonic() + within_s
    while (found := ask(server, statement)) != expected:
        assert time.monotonic() < end_s, f"{found!r}, not {expected!r}"
        time.sleep(0.05)


@pytest.fixture
def plan_file(tmp_path: Path) -> Path:
    path = tmp_path / "little.yaml"
    path.write_text(PLAN)
    return path


def test_an_event_is_queryable_soon_and_survives_a_restart(serve: Serve, plan_file: Path) -> None:
    server = serve("--plan", str(plan_file))
    assert server.facts["plan"] == {"name": "little", "version": "1.0.0"}
    assert server.facts["development"]
    body = batch(track("Bought", {"order_id": "A1"}, messageId="m1"), track("Bought", {}))
    status, answer = call("POST", server.url + "/v1/batch", body)
    assert (status, answer["accepted"], len(answer["quarantined"])) == (200, 1, 1)
    eventually(server, "SELECT message_id FROM resolved_events", "m1", within_s=5)
    code, errors = server.stop(signal.SIGINT)
    assert (code, "Traceback" in errors) == (0, False)
    # Without --plan the last one that was live is live again.
    server = serve()
    assert server.facts["plan"] == {"name": "little", "version": "1.0.0"}
    assert ask(server, "SELECT count() FROM resolved_events") == "1"


def test_what_was_answered_just_before_the_stop_is_there(serve: Serve) -> None:
    server = serve()
    assert call("POST", server.url + "/v1/batch", batch(*[track() for _ in range(10)]))[0] == 200
    server.stop(signal.SIGTERM)
    server = serve()
    assert ask(server, "SELECT count() FROM resolved_events") == "10"


def test_a_revoked_reader_loses_the_clickhouse_port(serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "desirepath.toml"
    text = "[sources.web]\nwrite_key = 'dev'\n[readers]\n"
    file.write_text(text + "old = 'o'\n")
    server = serve("--settings", str(file))

    def status(user: str, password: str) -> int:
        query = f"{server.clickhouse}/?query=SELECT+1&user={user}&password={password}"
        with urllib3.PoolManager(retries=False) as http:
            return http.request("GET", query).status

    assert (status("old", "o"), status("new", "n")) == (200, 403)
    file.write_text(text + "new = 'n'\n")
    os.kill(server.pid, signal.SIGHUP)
    end_s = time.monotonic() + 10
    while status("new", "n") != 200:
        assert time.monotonic() < end_s
        time.sleep(0.05)
    assert status("old", "o") == 403
    assert call("GET", server.url + "/v1/plan", Authorization="Bearer o")[0] == 401
    # This machine's own commands stay in.
    assert desirepath("sql", "SELECT 1", "--data", str(tmp_path / "data")).returncode == 0


def test_the_clickhouse_port_does_not_follow_the_host(serve: Serve) -> None:
    server = serve("--host", "127.0.0.2", DESIREPATH_READ_TOKENS="dev=dev")
    assert server.url.startswith("http://127.0.0.2:")
    assert server.clickhouse.startswith("http://127.0.0.1:")
    assert ask(server, "SELECT 1") == "1"
    port = int(server.clickhouse.rpartition(":")[2])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), timeout=5)
    server.stop()
    server = serve("--clickhouse-host", "127.0.0.3")
    assert server.clickhouse.startswith("http://127.0.0.3:")
    assert ask(server, "SELECT 1") == "1"


def test_publishing_a_plan(serve: Serve) -> None:
    server = serve()
    url = server.url + "/v1/plan"
    assert call("GET", url)[0] == 404
    status, answer = call("PUT", url, b"plan: x\nversion: 1.0.0\nevents:\n  A: {propertys: {}}\n")
    assert (status, answer["error"]["code"]) == (400, "bad_plan")
    assert "4:" in answer["error"]["message"]
    status, answer = call("PUT", url, PLAN.encode())
    assert (status, answer["plan"], answer["version"]) == (200, "little", "1.0.0")
    assert call("GET", url) == (200, PLAN)
    _, answer = call("POST", server.url + "/v1/track", track("Unheard"))
    assert answer["quarantined"][0]["violations"][0]["code"] == "unplanned_event"
    # A broken plan is refused, and the old one stays.
    assert call("PUT", url, b"plan: [")[0] == 400
    assert call("GET", url) == (200, PLAN)


def test_an_event_is_checked_by_the_version_it_names(serve: Serve) -> None:
    server = serve()
    url = server.url + "/v1/plan"
    wider = PLAN.replace("1.0.0", "2.0.0").replace(
        "total: {type: number, minimum: 0}", "sum: number"
    )
    assert call("PUT", url, PLAN.encode())[0] == 200
    assert call("PUT", url, wider.encode())[0] == 200
    old = track(
        "Bought",
        {"order_id": "A", "total": 1},
        context={"plan": {"name": "little", "version": "1.0.0"}},
    )
    new = track("Bought", {"order_id": "A", "sum": 1})
    unknown = track(
        "Bought",
        {"order_id": "A", "sum": 1},
        context={"plan": {"name": "little", "version": "9.9.9"}},
    )
    assert call("POST", server.url + "/v1/batch", batch(old, new, unknown))[1]["accepted"] == 3
    server.stop()
    # Versions that were published are known in the next life too.
    server = serve()
    assert call("POST", server.url + "/v1/batch", batch(old, new))[1]["accepted"] == 2


def test_quarantine_commands_while_the_server_runs(
    serve: Serve, plan_file: Path, tmp_path: Path
) -> None:
    server = serve("--plan", str(plan_file))
    data = str(tmp_path / "data")
    call("POST", server.url + "/v1/batch", batch(track("Bought", {"id": "A"}, messageId="m1")))
    eventually(server, "SELECT count() FROM quarantine", "1")
    listed = desirepath("quarantine", "ls", "--data", data, "--json")
    reasons = {(row["code"], row["pointer"]) for row in json.loads(listed.stdout)}
    assert reasons == {
        ("missing", "/properties/order_id"), ("unplanned_property", "/properties/id"),
    }  # fmt: skip
    assert "Bought" in desirepath("quarantine", "ls", "--data", data).stdout
    shown = json.loads(desirepath("quarantine", "show", "m1", "--data", data, "--json").stdout)
    assert shown["payload"]["properties"] == {"id": "A"}
    replay = ("quarantine", "replay", "--data", data, "--rename", "id=order_id")
    done = desirepath(*replay, "--dry-run")
    assert (done.returncode, done.stdout) == (
        0, "1 looked at: 1 would pass, 0 are still broken.\n",
    )  # fmt: skip
    done = desirepath(*replay, "--json")
    assert (done.returncode, json.loads(done.stdout)["passed"]) == (0, 1)
    assert ask(server, "SELECT message_id FROM resolved_events") == "m1"
    assert desirepath("quarantine", "ls", "--data", data).stdout == "The quarantine is empty.\n"
    server.stop()
    # And once more on the closed folder: there is nothing left to do.
    done = desirepath(*replay, "--json")
    assert (done.returncode, json.loads(done.stdout)["seen"]) == (0, 0)


def test_replaying_over_http_needs_the_folders_token(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    url = server.url + "/api/quarantine/replay"
    assert call("POST", url, {})[0] == 401
    assert call("POST", url, {}, Authorization="Bearer dev")[0] == 401
    token = json.loads((tmp_path / "data" / "server.json").read_text())["password"]
    assert call("POST", url, {}, Authorization=f"Bearer {token}")[0] == 200
    bad = {"selection": {"since": "soon"}}
    assert call("POST", url, bad, Authorization=f"Bearer {token}")[0] == 400
    assert call("POST", url, {"x": 1}, Authorization=f"Bearer {token}")[0] == 400


def test_live_and_doctor(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    data = str(tmp_path / "data")
    watching = subprocess.Popen(
        [sys.executable, "-m", "desirepath", "live", "--data", data, "--count", "2"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    end_s = time.monotonic() + 30
    while watching.poll() is None and time.monotonic() < end_s:
        body = batch(track("Seen \x1b[2J", userId="visitor"), track(userId="null"))
        call("POST", server.url + "/v1/batch", body)
        time.sleep(0.1)
    told = watching.communicate(timeout=10)[0]
    assert watching.returncode == 0
    assert "ok    Seen ?[2J" in told
    assert "bad   Seen" in told
    assert "placeholder /userId" in told
    done = desirepath("doctor", "--data", data, "--json")
    checks = {check["name"]: check["state"] for check in json.loads(done.stdout)}
    assert (done.returncode, checks) == (0, {
        "settings": "warning", "plan": "ok", "folder": "ok", "disk": checks["disk"],
        "server": "ok", "warehouse": "ok",
    })  # fmt: skip
    assert "MB" in desirepath("doctor", "--data", data).stdout
    server.stop()
    done = desirepath("live", "--data", data)
    assert (done.returncode, "no server holds" in done.stderr) == (1, True)


def test_a_folder_or_a_port_in_use(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    port = str(taken.getsockname()[1])
    for words, said in (
        (["--data", str(tmp_path / "data"), "--port", "0"], f"held by process {server.pid}"),
        (["--data", str(tmp_path / "new"), "--port", port], f"port {port} of 127.0.0.1 is in use"),
    ):
        done = desirepath("serve", *words)
        assert done.returncode == 1
        assert said in done.stderr
        assert done.stderr.count("\n") <= 2
    taken.close()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--plan", "broken.yaml"], "broken.yaml:5:5: "),
        (["--plan", "none.yaml"], "none.yaml"),
        (["--host", "0.0.0.0"], "development key"),
        (["--settings", "wrong.toml"], "did you mean `port`"),
        (["--settings", "none.toml"], "no settings file"),
        (["--port", "99999"], "port"),
    ],
)
def test_mistakes_are_one_message(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in [name for name in os.environ if name.startswith("DESIREPATH_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    Path("broken.yaml").write_text("plan: x\nversion: 1.0.0\nevents:\n  A:\n    propertys: {}\n")
    Path("wrong.toml").write_text("prot = 8000\n")
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        assert main(["serve", *words]) == 1
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") <= 2


def test_clickhouse_away_at_the_start_does_not_matter(serve: Serve, tmp_path: Path) -> None:
    server = serve("--clickhouse", "http://ann:p%40ss@127.0.0.1:1/db")
    told = json.loads((tmp_path / "data" / "server.json").read_text())
    assert (told["clickhouse"], told["user"], told["password"]) == (
        "http://127.0.0.1:1/db", "ann", "p@ss",
    )  # fmt: skip
    assert "p@ss" not in json.dumps(server.facts)
    assert "p%40ss" not in json.dumps(server.facts)
    status, answer = call("POST", server.url + "/v1/batch", batch(track()))
    assert (status, answer["accepted"]) == (200, 1)
    status, ready = call("GET", server.url + "/readyz")
    assert (status, ready["ready"]) == (200, True)
    end_s = time.monotonic() + 10
    while call("GET", server.url + "/readyz")[1]["warehouse"] == "ok":
        assert time.monotonic() < end_s
        time.sleep(0.05)
    assert server.stop()[0] == 0

"""The real server as a process of its own, for tests that go the whole way."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from desirepath_collector.warehouse import Sql, connect

STARTING_S = 60.0
LOADING_S = 60.0


@dataclass
class Server:
    """A running `desirepath serve`; `http` and `clickhouse` are its addresses."""

    process: subprocess.Popen[bytes]
    data: Path
    http: str
    clickhouse: str

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def kill(self) -> None:
        """SIGKILL: no chance to tidy up."""
        self.process.kill()
        self.process.wait(30)


StartServer = Callable[..., Server]


def environment() -> dict[str, str]:
    """The environment of a child: none of the caller's own settings."""
    return {k: v for k, v in os.environ.items() if not k.startswith("DESIREPATH_")}


def run_cli(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """One `desirepath` command line as a person would call it."""
    return subprocess.run(
        [sys.executable, "-m", "desirepath", *words],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=cwd,
        env=environment(),
        check=False,
    )


def read_json(*words: str, cwd: Path | None = None) -> Any:
    """The `--json` answer of a command that must succeed."""
    done = run_cli(*words, "--json", cwd=cwd)
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout)


@pytest.fixture(scope="session")
def child_environment() -> dict[str, str]:
    """The environment for a child process."""
    return environment()


@pytest.fixture(scope="session")
def cli() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Call the command line."""
    return run_cli


@pytest.fixture(scope="session")
def cli_json() -> Callable[..., Any]:
    """Call the command line with `--json`."""
    return read_json


@pytest.fixture(scope="session")
def start_server() -> Iterator[StartServer]:
    """Start servers on free ports; whatever still runs at the end is killed."""
    running: list[Server] = []

    def start(data: Path, *words: str) -> Server:
        server_file = data / "server.json"
        server_file.unlink(missing_ok=True)
        data.parent.mkdir(parents=True, exist_ok=True)
        log = data.parent / f"{data.name}.log"
        with log.open("ab") as sink:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "desirepath", "serve", "--data", str(data)),
                    *("--port", "0", "--clickhouse-port", "0", *words),
                ],
                stdout=sink,
                stderr=sink,
                env=environment(),
            )
        deadline = time.monotonic() + STARTING_S
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise AssertionError(f"the server ended at once:\n{log.read_text()}")
            with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
                found = json.loads(server_file.read_text())
                server = Server(process, data, found["http"], found["clickhouse"])
                running.append(server)
                return server
            time.sleep(0.05)
        process.kill()
        raise AssertionError(f"the server did not start:\n{log.read_text()}")

    yield start
    for server in running:
        if server.process.poll() is None:
            server.kill()


def rows_arrive(data: Path, *, events: int, quarantined: int = 0) -> None:
    """Wait until the loader has caught up; more than asked for is a failure at once."""
    text = (
        "SELECT (SELECT count() FROM resolved_events) AS events,"
        " (SELECT count() FROM quarantine) AS quarantined"
    )
    deadline = time.monotonic() + LOADING_S
    with connect(data) as warehouse:
        while time.monotonic() < deadline:
            table = warehouse.query(Sql(text))
            found = (table["events"][0].as_py(), table["quarantined"][0].as_py())
            if found == (events, quarantined):
                return
            assert found[0] <= events
            time.sleep(0.1)
    raise AssertionError(f"expected {(events, quarantined)} rows, found {found}")


@pytest.fixture(scope="session")
def wait_for_rows() -> Callable[..., None]:
    """Wait for so many rows in a data folder that a server holds."""
    return rows_arrive

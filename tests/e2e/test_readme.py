"""The README, followed to the letter against a running server: its code and its commands run."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., subprocess.CompletedProcess[str]]

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)

EVENTS = """\
user_id,event,timestamp
u1,Page Viewed,2026-03-01 10:00:00
u1,Signed Up,2026-03-01 10:01:00
"""


def blocks(language: str) -> list[str]:
    """The README's code blocks in a language, in order."""
    return [text for found, text in BLOCK.findall(README) if found == language]


@pytest.fixture(scope="module")
def place(start_server: Any, tmp_path_factory: pytest.TempPathFactory, cli: Cli) -> Any:
    """A folder like the checkout's root, with the demo's data and a server that holds it."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "tracking_plans").symlink_to(ROOT / "tracking_plans")
    (folder / "events.csv").write_text(EVENTS)
    words = ("--port", "0", "--clickhouse-port", "0", "--visitors", "800", "--exit")
    done = cli("demo", "--data", "data", *words, cwd=folder)
    assert done.returncode == 0, done.stderr
    server = start_server(folder / "data", "--plan", str(ROOT / "tracking_plans" / "shop.yaml"))
    return folder, server


def test_the_python_blocks_run(place: Any) -> None:
    """Each as a script of its own, only the address changed."""
    folder, server = place
    found = blocks("python")
    assert len(found) >= 2
    for text in found:
        done = subprocess.run(
            [sys.executable, "-c", text.replace("http://127.0.0.1:8000", server.http)],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stderr}"


def commands() -> list[str]:
    """Every `$ desirepath ...` line of the README, but for the one that serves until Ctrl-C."""
    lines = [line[2:] for text in blocks("console") for line in text.splitlines()]
    return [line for line in lines if not line.startswith("desirepath serve")]


@pytest.mark.parametrize("line", commands())
def test_the_commands_run(place: Any, cli: Cli, line: str) -> None:
    """As written, with the running server's address where one is sent to."""
    folder, server = place
    program, *words = shlex.split(line)
    assert program == "desirepath"
    if words[0] == "send":
        words += ["--endpoint", server.http]
    done = cli(*words, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_plan_block_is_a_plan(tmp_path: Path, cli: Cli) -> None:
    """The YAML block loads, once the event of its first step is planned."""
    (text,) = blocks("yaml")
    plan = tmp_path / "plan.yaml"
    plan.write_text(text)
    done = cli("plan", "check", str(plan))
    assert "Traceback" not in done.stderr
    assert done.returncode == 0, done.stdout + done.stderr

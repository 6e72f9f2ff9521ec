"""docs/plan-commands.md: every command on it prints what it shows.

`python tests/plan/test_plan_commands_page.py` writes the outputs anew.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import tempfile
from pathlib import Path

import pytest

from desirepath.cli import main
from desirepath.plan.diff import LEVELS
from desirepath.plan.lint import RULES

PAGE = Path(__file__).parents[2] / "docs" / "plan-commands.md"

FILE = re.compile(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", re.DOTALL)
COMMAND = re.compile(r"```console\n\$ desirepath ([^\n]+)\n(.*?)```", re.DOTALL)


def printed(words: str) -> str:
    """What a command prints, in the current folder: its output, then its remarks."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        main(words.split())
    return out.getvalue() + err.getvalue()


def rewritten(text: str, folder: Path) -> str:
    """The page with what its commands print now."""
    for name, content in FILE.findall(text):
        (folder / name).write_text(content)
    with contextlib.chdir(folder):
        return COMMAND.sub(
            lambda match: f"```console\n$ desirepath {match[1]}\n{printed(match[1])}```", text
        )


def test_every_command_prints_what_the_page_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    text = PAGE.read_text(encoding="utf-8")
    assert len(COMMAND.findall(text)) >= 3
    assert rewritten(text, tmp_path) == text, f"run python {Path(__file__).name}"


def test_every_finding_and_level_is_explained() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for rule in RULES:
        assert f"`{rule}`" in text
    for level in LEVELS:
        assert f"\n| {level} |" in text


if __name__ == "__main__":
    os.environ["NO_COLOR"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(rewritten(page, Path(folder)), encoding="utf-8")

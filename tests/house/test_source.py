"""The house rules that no linter knows."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = (
    ROOT / "sdk" / "desirepath",
    ROOT / "collector" / "desirepath_collector",
    ROOT / "analytics" / "desirepath_analytics",
)
MODULES = sorted(path for package in PACKAGES for path in package.rglob("*.py"))
LINES_AT_MOST = 600


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_a_module_is_small_and_says_what_it_promises(path: Path) -> None:
    """At most 600 lines, and a docstring at its head."""
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= LINES_AT_MOST
    assert ast.get_docstring(ast.parse(text)), "a module opens with a docstring"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_a_package_that_hands_names_on_says_which(path: Path) -> None:
    """An explicit `__all__` (that it is sorted, ruff's RUF022 checks)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imports = any(isinstance(node, ast.ImportFrom | ast.Import) for node in tree.body)
    if path.name == "__init__.py" and imports:
        assigned = [
            ast.unparse(node.targets[0]) for node in tree.body if isinstance(node, ast.Assign)
        ]
        assert "__all__" in assigned


def test_nothing_is_left_open_in_the_code() -> None:
    """No TODO and its kin: an open end is an issue, not a comment."""
    marks = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b")
    found = [_name(path) for path in MODULES if marks.search(path.read_text(encoding="utf-8"))]
    assert not found


def test_no_file_of_the_checkout_is_large_or_generated() -> None:
    """What is committed is source: nothing above 1 MiB, no caches."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        assert not path.is_file() or path.stat().st_size <= 2**20, name
        assert "__pycache__" not in name

"""The pages say what is true: links lead somewhere, commands and settings are all there."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/**/*.md")])

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_inside_the_project_lead_somewhere(page: Path) -> None:
    """Every relative link names a file, and its anchor a heading there."""
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), f"{page.name} links to {target}"
        if anchor and file.suffix == ".md":
            assert anchor in _anchors(file), f"{page.name} links to {target}"


def _anchors(page: Path) -> set[str]:
    """The anchors that a renderer makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).strip().replace(" ", "-") for each in headings}


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="argparse words its help anew")
def test_every_command_is_documented_as_it_is() -> None:
    """docs/commands.md is what `make docs` writes."""
    build = _load(ROOT / "docs" / "build.py")
    assert build.PAGE.read_text(encoding="utf-8") == build.page(), "run `make docs`"


def test_every_command_takes_json() -> None:
    """Scripts can read the answer of each."""
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    sections = re.findall(r"^#+ (desirepath .+?)\n\n```text\n(.*?)^```", page, re.M | re.S)
    assert len(sections) > 10
    # A group of commands only hands on: `{check,diff,...}` or a metavar in place of options.
    leaves = {name: text for name, text in sections if not _is_group(name, sections)}
    assert not [name for name, text in leaves.items() if "--json" not in text]


def _is_group(name: str, sections: list[tuple[str, str]]) -> bool:
    return any(other.startswith(f"{name} ") for other, _ in sections)


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

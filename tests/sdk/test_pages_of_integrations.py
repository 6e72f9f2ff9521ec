"""docs/integrations.md and docs/testing.md say all there is."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from desirepath.integrations._web import Options, Web
from desirepath.testing import Tracked, TrackedEvent

DOCS = Path(__file__).parents[2] / "docs"


def test_every_option_is_in_the_table_and_no_other() -> None:
    text = (DOCS / "integrations.md").read_text(encoding="utf-8")
    table = text[text.index("## Options") : text.index("## Consent")]
    told = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    taken = list(inspect.signature(Web).parameters)[1:]
    assert sorted(told) == sorted(taken)
    assert set(told) == set(Options.__annotations__)


def test_every_option_is_in_the_docstring() -> None:
    told = re.findall(r"^ {4}(\w+)$", Options.__doc__ or "", re.MULTILINE)
    assert set(told) - {"Parameters"} == set(Options.__annotations__)


@pytest.mark.parametrize("kind", [Tracked, TrackedEvent])
def test_every_name_of_the_testing_aid_is_told(kind: type) -> None:
    text = (DOCS / "testing.md").read_text(encoding="utf-8")
    hidden = {"captures", "saw", "lost"}
    for name in vars(kind):
        if not name.startswith("_") and name not in hidden:
            assert f"`{name}`" in text or f"tracked.{name}" in text, name

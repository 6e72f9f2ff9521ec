"""docs/sdk.md names every setting, its variable and default, and every reason of a loss."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

import msgspec

import desirepath
from desirepath._settings import ENVIRONMENT, Settings
from desirepath._version import VERSION

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "sdk.md").read_text()
SOURCES = [path.read_text() for path in (ROOT / "sdk" / "desirepath").glob("*.py")]


def test_every_setting_is_documented_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| `(DESIREPATH_\w+)` \|", TEXT, re.MULTILINE))
    assert rows == {name: variable for variable, name in ENVIRONMENT.items()}
    for field in msgspec.structs.fields(Settings):
        if isinstance(field.default, int | float) and not isinstance(field.default, bool):
            assert re.search(rf"`{field.name}` .*\| {field.default}", TEXT), field.name


def test_every_reason_of_a_loss_is_documented() -> None:
    reasons = {
        reason for text in SOURCES for reason in re.findall(r'\.(?:lose|refuse)\("(\w+)"', text)
    }
    assert reasons | {"malformed", "too_large", "disk"} == set(
        re.findall(r"^\| `(\w+)` \| [a-z]", TEXT, re.MULTILINE)
    )


def test_every_option_of_send_is_documented_or_explains_itself() -> None:
    import argparse

    from desirepath.commands import send

    parser = argparse.ArgumentParser()
    send.configure(parser)
    assert all(action.help for action in parser._actions)


def test_the_exports_are_sorted_and_there() -> None:
    assert desirepath.__all__ == sorted(desirepath.__all__)
    assert all(getattr(desirepath, name) is not None for name in desirepath.__all__)
    assert "Tracker" in dir(desirepath)


def test_the_version_is_the_distributions() -> None:
    assert version("desirepath") == VERSION

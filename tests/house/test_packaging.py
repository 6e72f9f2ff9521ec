"""What a person gets who installs Desirepath: the wheel, and the SDK alone."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Installs a gate that lets through the standard library, the SDK and its three dependencies,
# then imports every module of the SDK that is not glue for somebody else's framework.
SDK_ALONE = """
import importlib, pkgutil, sys

OURS = {"desirepath", "desirepath_collector", "desirepath_analytics"}
ALLOWED = {*OURS, "msgspec", "yaml", "_yaml", "urllib3", *sys.stdlib_module_names}

class Gate:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in ALLOWED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Gate())
import desirepath
for found in pkgutil.walk_packages(desirepath.__path__, "desirepath."):
    if found.name == "desirepath.__main__" or found.name.startswith(
        ("desirepath.integrations.", "desirepath.testing")
    ):
        continue
    importlib.import_module(found.name)
from desirepath.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel as it would be published."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_carries_what_the_commands_need(wheel: zipfile.ZipFile) -> None:
    """Starter plans, the sample shop, migrations, type markers."""
    names = set(wheel.namelist())
    for name in (
        "desirepath/tracking_plans/shop.yaml",
        "desirepath/tracking_plans/plan.schema.json",
        "desirepath_analytics/examples/shop/__main__.py",
        "desirepath/py.typed",
        "desirepath_collector/py.typed",
        "desirepath_analytics/py.typed",
    ):
        assert name in names
    assert any(name.endswith(".sql") for name in names)


def test_the_sdk_depends_on_three_packages(wheel: zipfile.ZipFile) -> None:
    """And on nothing else; the rest is in extras."""
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata: Message = Parser().parsestr(wheel.read(name).decode())
    requires = [each for each in metadata.get_all("Requires-Dist", []) if "extra ==" not in each]
    assert sorted(each.partition(">")[0].lower() for each in requires) == [
        "msgspec",
        "pyyaml",
        "urllib3",
    ]
    assert set(metadata.get_all("Provides-Extra", [])) == {"all", "analytics", "collector"}


def test_the_sdk_works_alone_and_names_the_missing_extra() -> None:
    """Every SDK module imports; a command of another room says what to install."""
    done = subprocess.run(
        [sys.executable, "-c", SDK_ALONE, "serve"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "pip install 'desirepath[collector]'" in done.stderr
    assert "Traceback" not in done.stderr
    listed = subprocess.run(
        [sys.executable, "-c", SDK_ALONE, "--help"], capture_output=True, text=True, check=False
    )
    assert listed.returncode == 0, listed.stderr
    assert "send" in listed.stdout

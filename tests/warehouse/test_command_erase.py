"""`desirepath erase` and `desirepath export`, as commands of their own process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

MAKE = """
import sys
from desirepath_collector.warehouse import Warehouse
from tests.warehouse.rows import event, identify
with Warehouse.open(sys.argv[1]) as w:
    w.insert_events([identify("m1", "zelda", "device", properties={"a": "b"}),
                     event("m2", anonymous_id="device"), event("m3", user_id="other")], "1")
"""


def desirepath(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "desirepath", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, stdin=-3)


def test_erase_and_export(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    data = str(tmp_path / "data")
    subprocess.run([sys.executable, "-c", MAKE, data], check=True, timeout=120, cwd=root)
    output = tmp_path / "zelda.json"
    done = desirepath("export", "device", "--data", data, "--output", str(output))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    answer = json.loads(output.read_text())
    assert [row["message_id"] for row in answer["events"]] == ["m1", "m2"]
    assert output.stat().st_mode & 0o777 == 0o600

    unasked = desirepath("erase", "zelda", "--data", data)
    assert (unasked.returncode, "--yes" in unasked.stderr) == (1, True)
    erased = desirepath("erase", "zelda", "--data", data, "--yes", "--no-wait", "--json")
    assert erased.stderr == ""
    assert json.loads(erased.stdout)["rows"]["events"] == 2
    left = desirepath("sql", "SELECT message_id FROM resolved_events", "--data", data, "--json")
    assert json.loads(left.stdout) == [{"message_id": "m3"}]
    again = desirepath("erase", "zelda", "--data", data, "--yes")
    assert (again.returncode, again.stderr) == (
        1, "desirepath: nobody is known by the id 'zelda'\n  nothing was erased\n"
    )  # fmt: skip
    missing = desirepath("erase", "zelda", "--data", str(tmp_path / "nothing"), "--yes")
    assert "no warehouse at" in missing.stderr
    assert not (tmp_path / "nothing").exists()

"""Files as traits and events: typed, checked by the plan, and the same when imported again."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from desirepath.errors import InputError
from desirepath.plan import Plan
from desirepath_collector.warehouse import Warehouse
from desirepath_collector.warehouse.registered import Import, modified_ms, read_rows

Ask = Callable[..., list[tuple[object, ...]]]
PLAN = """
plan: shop
version: 1.0.0
traits:
  country: string
  age: integer
  vip: boolean
events:
  Order Completed:
    properties: {total: {type: number, required: true}}
"""


def test_traits_from_csv(warehouse: Warehouse, ask: Ask, tmp_path: Path) -> None:
    warehouse.publish(Plan.parse(PLAN))
    file = tmp_path / "customers.csv"
    file.write_bytes(
        b'email,country,age,vip\na@x,SE,30,true\nb@x,"NL, y",,false\n,DE,1,true\n'
        b"c@x,FR,old,true\nd@x,\xff\xfe,1,true\na@x,SE,30,true\n"
    )
    work = Import("crm", "traits", {"user_id": "email"}, "", modified_ms(str(file)), b"k" * 32)
    report = work.run(warehouse, str(file), read_rows(str(file)))
    assert (report.rows, report.added, report.known, report.refused) == (6, 2, 1, 3)
    assert [line for line, _ in report.problems] == [4, 5, 6]
    assert report.problems[0][1] == "no email"
    assert "/traits/age" in report.problems[1][1]
    expected = [
        ("a@x", "age", "30"), ("a@x", "country", "SE"), ("a@x", "vip", "true"),
        ("b@x", "country", "NL, y"), ("b@x", "vip", "false"),
    ]  # fmt: skip
    text = "SELECT person_id, trait, value FROM resolved_traits ORDER BY person_id, trait"
    assert ask(text) == expected
    again = work.run(warehouse, str(file), read_rows(str(file)))
    assert (again.added, again.known) == (0, 3)
    assert ask(text) == expected
    assert ask("SELECT added FROM registered_sources ORDER BY imported_at") == [(2,), (0,)]


def test_events_from_parquet(warehouse: Warehouse, ask: Ask, tmp_path: Path) -> None:
    file = str(tmp_path / "orders.parquet")
    table = pa.table({"who": ["u1", "u2"], "at": [1_767_225_600, None], "total": [1.5, 2.0]})
    parquet.write_table(table, file)
    columns = {"user_id": "who", "timestamp": "at"}
    work = Import("orders", "events", columns, "Order Completed", 0, b"k" * 32)
    report = work.run(warehouse, file, read_rows(file))
    assert (report.added, report.refused) == (2, 0)
    assert ask(
        "SELECT person_id, source, properties['total'], toUnixTimestamp(timestamp) "
        "FROM resolved_events WHERE event = 'Order Completed' ORDER BY 1"
    ) == [("u1", "orders", "1.5", 1_767_225_600), ("u2", "orders", "2", 0)]


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        read_rows(str(tmp_path / "none.csv"))
    (tmp_path / "x.parquet").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="as Parquet"):
        read_rows(str(tmp_path / "x.parquet"))


def test_the_command(tmp_path: Path) -> None:
    file = tmp_path / "crm.csv"
    file.write_text("email,plan\na@x,pro\n,free\n")
    data = str(tmp_path / "data")

    def desirepath(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "desirepath", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)

    words = ["import", "crm", str(file), "--as", "traits", "--data", data]
    keyless = desirepath(*words)
    assert (keyless.returncode, "--key" in keyless.stderr) == (1, True)
    done = desirepath(*words, "--key", "email")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == "2 rows: 1 new, 0 known, 1 refused\n  line 3: no email\n"
    asked = desirepath("sql", "SELECT person_id, value FROM resolved_traits", "--data", data)
    assert asked.stdout == '"person_id","value"\n"a@x","pro"\n'

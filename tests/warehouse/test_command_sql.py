"""`desirepath sql`, in this process and from another one while a server holds the folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from desirepath.cli import main
from desirepath_collector.clickhouse_http import Door
from desirepath_collector.warehouse import (
    ServerFile,
    Sql,
    Warehouse,
    remove_server_file,
    write_server_file,
)

STATEMENT = "SELECT 1 AS n, 'a,b' AS s, map('k', 2) AS m, toDateTime64('2026-01-02', 3, 'UTC') AS t"


@pytest.fixture
def url(engine: str, door: Door, database: str) -> str:
    return f"http://reader:se%20cret@127.0.0.1:{door.port}/{database}"


def test_formats(url: str, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["sql", STATEMENT, "--url", url, "--json"]) == 0
    assert json.loads(capfd.readouterr().out) == [
        {"n": 1, "s": "a,b", "m": {"k": 2}, "t": "2026-01-02T00:00:00Z"}
    ]
    assert main(["sql", STATEMENT + ";", "--url", url]) == 0
    assert capfd.readouterr().out.splitlines() == [
        '"n","s","m","t"', '1,"a,b","{""k"":2}",2026-01-02 00:00:00.000Z'
    ]  # fmt: skip
    assert main(["sql", STATEMENT, "--url", url, "--format", "table"]) == 0
    assert "2026-01-02 00:00:00.000" in capfd.readouterr().out
    for name in ("x.arrow", "x.parquet", "x.jsonl"):
        assert main(["sql", STATEMENT, "--url", url, "--output", str(tmp_path / name)]) == 0
    assert pa.ipc.open_file(tmp_path / "x.arrow").read_all().num_rows == 1
    assert json.loads((tmp_path / "x.jsonl").read_text())["n"] == 1


def test_params_and_mistakes(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["sql", "SELECT {a:String} AS a", "--param", "a=x'y", "--url", url]) == 0
    assert capfd.readouterr().out == '"a"\n"x\'y"\n'
    for words, message in (
        (["SELEKT 1"], "Syntax error"),
        (["SELECT nope"], "nope"),
        (["DROP TABLE events"], "reading"),
        (["SELECT 1", "--param", "a"], "NAME=VALUE"),
        (["SELECT 1", "--output", "/no/such/folder/x.csv"], "cannot be written"),
    ):
        assert main(["sql", *words, "--url", url]) == 1
        error = capfd.readouterr().err
        assert message in error
        assert "Traceback" not in error


def test_without_a_warehouse(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["sql", "SELECT 1", "--data", str(tmp_path)]) == 1
    assert "no warehouse at" in capfd.readouterr().err


def test_from_another_process(tmp_path: Path, door: Door, database: str) -> None:
    """With a server: through its port. Without: embedded, and only one process at a time."""
    command = [sys.executable, "-m", "desirepath", "sql", "--data", str(tmp_path)]
    making = "from desirepath_collector.warehouse import *;import sys;Warehouse.open(sys.argv[1])"
    subprocess.run([sys.executable, "-c", making, str(tmp_path)], check=True, timeout=60)
    alone = subprocess.run([*command, "SELECT 1"], capture_output=True, text=True, timeout=60)
    assert (alone.stdout, alone.stderr) == ('"1"\n1\n', "")
    holding = making.replace("Warehouse.open", "w=Warehouse.open") + ";print(1,flush=True);input()"
    with subprocess.Popen(
        [sys.executable, "-c", holding, str(tmp_path)], stdin=-1, stdout=-1, text=True
    ) as holder:
        assert holder.stdout
        assert holder.stdin
        holder.stdout.readline()
        held = subprocess.run([*command, "SELECT 1"], capture_output=True, text=True, timeout=60)
        assert held.returncode == 1
        assert held.stderr.startswith(f"desirepath: the data folder {tmp_path} is held by process")
        assert len(held.stderr.splitlines()) == 2
        url = f"http://127.0.0.1:{door.port}/{database}"
        write_server_file(tmp_path, ServerFile(os.getpid(), "http://x", url, "reader", "se cret"))
        asked = [*command, "SELECT currentDatabase() AS n FROM migrations LIMIT 1"]
        through = subprocess.run(asked, capture_output=True, text=True, timeout=60)
        remove_server_file(tmp_path)
        holder.stdin.write("\n")
    assert (through.stdout, through.stderr) == (f'"n"\n"{database}"\n', "")


def test_a_stale_server_file_is_ignored(warehouse: Warehouse, tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    write_server_file(tmp_path, ServerFile(gone.pid, "http://x", "http://127.0.0.1:1", "a", "b"))
    from desirepath_collector.warehouse import read_server_file

    assert read_server_file(tmp_path) is None
    (tmp_path / "server.json").write_text("{broken")
    assert read_server_file(tmp_path) is None
    assert warehouse.query(Sql("SELECT 1 AS a")).num_rows == 1

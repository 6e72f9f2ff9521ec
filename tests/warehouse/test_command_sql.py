"""`desirepath sql`, in this process and from another one while a server holds the folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest

from desirepath.cli import main
from desirepath.errors import WarehouseHeldError
from desirepath_collector.clickhouse_http import Door
from desirepath_collector.warehouse import (
    ServerFile,
    Warehouse,
    folder,
    read_server_file,
    remove_server_file,
    write_server_file,
)
from desirepath_collector.warehouse.folder import FolderLock

PORT_1 = "http://127.0.0.1:1"
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


@pytest.mark.parametrize("host", ["127.0.0.1:1", "no-such-host.invalid:8123"])
def test_nothing_answers(host: str) -> None:
    command = [sys.executable, "-m", "desirepath", "sql", "SELECT 1"]
    asked = subprocess.run(
        [*command, "--url", f"http://me:secret@{host}/x"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (asked.returncode, asked.stdout) == (1, "")
    assert asked.stderr.splitlines() == [
        f"desirepath: nothing answers at http://{host}",
        "  is ClickHouse running, and is the URL right?",
    ]


NEW = ("data", "data/warehouse")
HOLDING = """
import sys
from desirepath_collector.warehouse import *
f = sys.argv[1]
w = Warehouse.open(f)
print("open", flush=True)
for line in sys.stdin:
    exec(line)
    print("done", flush=True)
"""


@contextmanager
def holder(data: Path) -> Iterator[tuple[Callable[[str], None], subprocess.Popen[str]]]:
    """A process that holds `folder` and runs the lines it is told; a way to tell it, and it."""
    command = [sys.executable, "-c", HOLDING, str(data)]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin
        assert stdout
        assert stdout.readline() == "open\n"

        def say(line: str) -> None:
            stdin.write(line + "\n")
            stdin.flush()
            assert stdout.readline() == "done\n"

        yield say, process
        process.kill()


def test_from_another_process(tmp_path: Path, door: Door, database: str) -> None:
    """With a server: through its port. Without: embedded, and only one process at a time."""
    command = [sys.executable, "-m", "desirepath", "sql", "--data", str(tmp_path)]
    making = "from desirepath_collector.warehouse import *;import sys;Warehouse.open(sys.argv[1])"
    subprocess.run([sys.executable, "-c", making, str(tmp_path)], check=True, timeout=60)
    alone = subprocess.run([*command, "SELECT 1"], capture_output=True, text=True, timeout=60)
    assert (alone.stdout, alone.stderr) == ('"1"\n1\n', "")
    with holder(tmp_path) as (say, _):
        held = subprocess.run([*command, "SELECT 1"], capture_output=True, text=True, timeout=60)
        assert held.returncode == 1
        assert held.stderr.startswith(f"desirepath: the data folder {tmp_path} is held by process")
        assert len(held.stderr.splitlines()) == 2
        url = f"http://127.0.0.1:{door.port}/{database}"
        say(f"write_server_file(f, ServerFile(1, 'http://x', {url!r}, 'reader', 'se cret'))")
        asked = [*command, "SELECT currentDatabase() AS n FROM migrations LIMIT 1"]
        through = subprocess.run(asked, capture_output=True, text=True, timeout=60)
    assert (through.stdout, through.stderr) == (f'"n"\n"{database}"\n', "")


def test_a_data_folder_is_for_its_owner_s_eyes(tmp_path: Path) -> None:
    with holder(tmp_path / "new" / "data"):
        modes = [(tmp_path / "new" / name).stat().st_mode & 0o777 for name in NEW]
    assert modes == [0o700, 0o700]
    tmp_path.chmod(0o750)
    folder.make_folder(tmp_path)
    assert tmp_path.stat().st_mode & 0o777 == 0o750


def test_the_owner_waits_for_a_reader(tmp_path: Path) -> None:
    with holder(tmp_path) as (say, reader):
        with pytest.raises(WarehouseHeldError) as caught:
            FolderLock(tmp_path, wait_s=0.1)
        assert caught.value.message == (
            f"the data folder {tmp_path} is held by process {reader.pid}, which may be a reader: "
            "a notebook, or a query that runs"
        )
        say("import threading; threading.Timer(1, w.close).start()")
        begun_s = time.monotonic()
        lock = FolderLock(tmp_path, wait_s=folder.OWNER_WAIT_S)
        assert 0.3 < time.monotonic() - begun_s < folder.OWNER_WAIT_S
        lock.release()


def test_the_owner_does_not_wait_for_a_server(tmp_path: Path) -> None:
    with holder(tmp_path) as (say, server):
        say(f"write_server_file(f, ServerFile({os.getpid()}, 'http://x', {PORT_1!r}, 'a', 'b'))")
        begun_s = time.monotonic()
        with pytest.raises(WarehouseHeldError, match=f"is held by process {server.pid}$"):
            Warehouse.open(tmp_path)
        assert time.monotonic() - begun_s < 3


def test_a_stale_server_file_is_ignored(tmp_path: Path) -> None:
    """Whether a server lives is told by the lock: its pid may be somebody else's by now."""
    server = ServerFile(os.getpid(), "http://x", PORT_1, "a", "b")
    with holder(tmp_path) as (say, process):
        say(f"write_server_file(f, ServerFile({os.getpid()}, 'http://x', {PORT_1!r}, 'a', 'b'))")
        assert read_server_file(tmp_path) == server
        process.kill()
        process.wait()
        assert (tmp_path / "server.json").exists()
        assert read_server_file(tmp_path) is None
    command = [sys.executable, "-m", "desirepath", "sql", "--data", str(tmp_path), "SELECT 1"]
    asked = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (asked.stdout, asked.stderr) == ('"1"\n1\n', "")
    assert not (tmp_path / "server.json").exists()


def test_a_server_file_counts_as_long_as_its_server(tmp_path: Path) -> None:
    """Also where ClickHouse is elsewhere and nothing else holds the folder."""
    server = ServerFile(os.getpid(), "http://x", PORT_1, "a", "b")
    for _ in range(2):
        write_server_file(tmp_path, server)
        write_server_file(tmp_path, server)
        assert read_server_file(tmp_path) == server
        assert not FolderLock.held_here(tmp_path)
        remove_server_file(tmp_path)
        assert not folder._is_locked(tmp_path)
    assert read_server_file(tmp_path) is None
    (tmp_path / "server.json").write_text("{broken")
    assert read_server_file(tmp_path) is None


def test_looking_never_keeps_anybody_out(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    (tmp_path / "server.json").write_bytes(msgspec.json.encode(ServerFile(1, "", PORT_1, "", "")))
    content, over = (tmp_path / "server.json").read_bytes(), threading.Event()

    def look() -> None:
        while not over.wait(0.001):
            (tmp_path / "server.json").write_bytes(content)
            read_server_file(tmp_path)

    looker = threading.Thread(target=look)
    looker.start()
    try:
        for _ in range(200):
            FolderLock(tmp_path).release()
    finally:
        over.set()
        looker.join()

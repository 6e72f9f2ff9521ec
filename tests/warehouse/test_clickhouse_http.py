"""ClickHouse's own client, and raw requests, against the door."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from desirepath.errors import WarehouseError
from desirepath_collector.clickhouse_http import Door, Limits
from desirepath_collector.warehouse import (
    ServerFile,
    Sql,
    Warehouse,
    connect,
    remove_server_file,
    write_server_file,
)


@pytest.fixture
def client(door: Door, database: str) -> Iterator[Client]:
    opened = clickhouse_connect.get_client(
        host="127.0.0.1", port=door.port, username="reader", password="se cret", database=database
    )
    yield opened
    opened.close()


def fetch(
    door: Door, query: str | None = None, *, headers: dict[str, str] | None = None, **params: str
) -> tuple[int, str, Any]:
    """One raw request; status, body, headers."""
    login = {"X-ClickHouse-User": "reader", "X-ClickHouse-Key": "se cret"}
    if query is not None:
        params["query"] = query
    url = f"http://127.0.0.1:{door.port}/?{urllib.parse.urlencode(params)}"
    request = urllib.request.Request(url, headers=login if headers is None else headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, response.read().decode(), response.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(), error.headers


def test_query(client: Client) -> None:
    result = client.query(
        "SELECT {n:UInt8} AS n, {s:String} AS s, toDateTime64('2026-01-02', 3, 'UTC'), "
        "map('a', 1), [1, 2], NULL, toLowCardinality('x') AS low",
        parameters={"n": 7, "s": "a'b\\c\nd\te ü"},
        settings={"max_threads": 1},
    )
    assert result.column_names[:2] == ("n", "s")
    row = result.result_rows[0]
    assert row[:2] == (7, "a'b\\c\nd\te ü")
    assert row[3:] == ({"a": 1}, [1, 2], None, "x")
    assert client.ping()
    assert client.command("SELECT 1 + 1") == 2


def test_frames_arrow_and_streams(client: Client) -> None:
    frame = client.query_df("SELECT number AS n, toString(number) AS s FROM numbers(100000)")
    assert (len(frame), int(frame.n.sum())) == (100_000, 4_999_950_000)
    table = client.query_arrow("SELECT number AS n FROM numbers(10)", settings={"max_threads": 1})
    assert table.column("n").to_pylist() == list(range(10))
    with client.query_row_block_stream("SELECT number FROM numbers(1000000)") as stream:
        assert sum(len(block) for block in stream) == 1_000_000
    with client.query_arrow_stream("SELECT number FROM numbers(200000)") as stream:
        assert sum(batch.num_rows for batch in stream) == 200_000
    assert client.query("SELECT 1 WHERE 0").result_rows == []


def test_what_tools_ask(client: Client, database: str) -> None:
    assert client.query("SHOW TABLES").row_count > 5
    assert client.query("DESCRIBE TABLE resolved_events").first_row[0] == "message_id"
    assert client.command(f"EXISTS TABLE {database}.events") == 1
    assert "ReplacingMergeTree" in str(client.command("SHOW CREATE TABLE events"))
    assert client.query("EXPLAIN SELECT 1").row_count > 0
    columns = client.query(
        "SELECT name, type, comment FROM system.columns WHERE database = {db:String} "
        "AND table = 'resolved_events'",
        parameters={"db": database},
    )
    assert columns.row_count == 20
    assert all(comment for _, _, comment in columns.result_rows)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO plans (name) VALUES ('x')",
        "CREATE TABLE x (a Int8) ENGINE = Memory",
        "CREATE TEMPORARY TABLE x (a Int8)",
        "DROP TABLE events",
        "TRUNCATE TABLE events",
        "ALTER TABLE events DELETE WHERE 1",
        "DELETE FROM events WHERE 1",
        "OPTIMIZE TABLE events",
        "SYSTEM FLUSH LOGS",
        "KILL QUERY WHERE 1",
        "SET readonly = 0",
        "USE system",
        "ATTACH TABLE x",
        "RENAME TABLE events TO x",
        "BACKUP TABLE events TO File('/tmp/x')",
        "GRANT ALL ON *.* TO default",
        "CREATE FUNCTION f AS x -> x",
        "BEGIN TRANSACTION",
        "SELECT 1; DROP TABLE events",
        "SELECT 1; SELECT 2",
        "INSERT INTO FUNCTION file('OUT') SELECT 1",
        "SELECT 1 INTO OUTFILE 'OUT'",
        "SELECT 1 INTO OUTFILE 'OUT' FORMAT CSV",
        "SELECT 1 UNION ALL SELECT 2 INTO OUTFILE 'OUT' TRUNCATE COMPRESSION 'gzip'",
        "EXPLAIN SELECT 1 INTO OUTFILE 'OUT'",
        "SHOW TABLES INTO OUTFILE 'OUT'",
        "SELECT 1 INTERSECT SELECT 1 INTO OUTFILE 'OUT'",
        "SELECT * FROM file('/etc/passwd', 'LineAsString')",
        "SELECT * FROM `file`('/etc/passwd', 'LineAsString')",
        "SELECT * FROM FILE('/etc/passwd', 'LineAsString')",
        "SELECT file('/etc/passwd')",
        "DESCRIBE TABLE file('/etc/passwd')",
        "WITH x AS (SELECT * FROM file('/etc/passwd', 'LineAsString')) SELECT * FROM x",
        "SELECT 1 WHERE 'a' IN file('/etc/passwd', 'LineAsString')",
        "SELECT (SELECT count() FROM file('/etc/passwd', 'LineAsString'))",
        "SELECT * FROM view(SELECT * FROM file('/etc/passwd', 'LineAsString'))",
        "SELECT * FROM default.`/etc/passwd`",
        "SELECT * FROM `default`.`/etc/pass*`",
        "SELECT 'a' IN default.`/etc/passwd`",
        "SELECT * FROM merge('default', '.*')",
        "DESCRIBE default.`/etc/passwd`",
        "SHOW CREATE TABLE default.`/etc/passwd`",
        "WITH x AS (SELECT * FROM default.`/etc/passwd`) SELECT * FROM x",
        "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
        "SELECT * FROM remote('127.0.0.1:1', 'a', 'b')",
        "SELECT * FROM s3('http://127.0.0.1:1/a/b', 'CSV')",
        "SELECT * FROM executable('ls', 'TSV', 'a String')",
        "SELECT * FROM Python(asked)",
        "SELECT * FROM postgresql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
        "SELECT 1 SETTINGS max_execution_time = 0",
        "SELECT 1 SETTINGS `max_memory_usage` = '0'",
        "SELECT * FROM (SELECT 1 SETTINGS max_execution_time = 1000000)",
        "SELECT 1 SETTINGS readonly = 0",
        "SELECT 1 SETTINGS profile = 'default'",
        "",
        "  ;",
        "SELEKT 1",
        "SELECT \x00",
    ],
)
def test_nothing_but_reading(
    door: Door, warehouse: Warehouse, tmp_path: Path, statement: str
) -> None:
    target = tmp_path / "out.csv"
    statement = statement.replace("OUT'", f"{target}'")
    status, body, headers = fetch(door, statement)
    assert status >= 400
    assert body.startswith("Code: ")
    assert headers["X-ClickHouse-Exception-Code"] == body.split(".")[0].removeprefix("Code: ")
    assert "root:" not in body
    assert not target.exists()
    assert warehouse.query(Sql("SELECT count() FROM events")).column(0).to_pylist() == [0]


def test_a_file_is_no_table(door: Door) -> None:
    """The embedded engine's `default` database would lie over the whole file system."""
    for database in ("default", ""):
        status, body, _ = fetch(door, "SELECT * FROM `/etc/passwd`", database=database)
        assert status >= 400
        assert "root:" not in body
    named = fetch(
        door,
        "SELECT * FROM {d:Identifier}.{t:Identifier}",
        param_d="default",
        param_t="/etc/passwd",
    )
    assert named[0] >= 400
    assert fetch(door, "EXISTS TABLE default.`/etc/passwd`")[:2] == (200, "0\n")


def test_a_setting_may_lower_a_limit_but_not_lift_it(door: Door) -> None:
    asked = "SELECT getSetting('max_execution_time'), getSetting('max_result_rows')"
    status, body, _ = fetch(door, asked, max_execution_time="5", max_result_rows="0")
    assert (status, body.split()) == (200, ["5", "20000000"])
    assert fetch(door, "SELECT 1 SETTINGS max_execution_time = 5")[0] == 200
    assert fetch(door, "SELECT 1", readonly="0")[0] >= 400
    status, body, _ = fetch(door, "SELECT 1", no_such_setting="1")
    assert (status, "UNKNOWN_SETTING" in body) == (404, True)
    assert fetch(door, "SELECT 1", **{"a=1, b": "1"})[0] == 404


@pytest.mark.parametrize(
    ("limits", "statement", "code"),
    [
        (Limits(time_s=1), "SELECT count() FROM numbers(1000000000000)", 159),
        (Limits(memory_bytes=50_000_000), "SELECT groupArray(number) FROM numbers(100000000)", 241),
        (Limits(rows=10), "SELECT number FROM numbers(1000) FORMAT JSON", 396),
    ],
)
def test_limits(
    limited: Callable[[Limits], Any], limits: Limits, statement: str, code: int
) -> None:
    with limited(limits) as door:
        _, body, headers = fetch(door, statement)
        assert headers["X-ClickHouse-Exception-Code"] == str(code)
        assert body.startswith(f"Code: {code}. DB::Exception: ")


def test_too_many_at_once_are_asked_to_come_back(limited: Callable[[Limits], Any]) -> None:
    with limited(Limits(parallel=1)) as door, ThreadPoolExecutor(3) as threads:
        answers = list(threads.map(lambda _: fetch(door, "SELECT sleep(0.5)"), range(3)))
    assert sorted(status for status, _, _ in answers) == [200, 503, 503]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-ClickHouse-User": "reader", "X-ClickHouse-Key": "wrong"},
        {"X-ClickHouse-User": "nobody", "X-ClickHouse-Key": "se cret"},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Bearer x"},
    ],
)
def test_no_way_in_without_the_password(door: Door, headers: dict[str, str]) -> None:
    status, body, answered = fetch(door, "SELECT 1", headers=headers)
    assert (status, answered["X-ClickHouse-Exception-Code"]) == (403, "516")
    assert "se cret" not in body


def test_the_ways_in(door: Door) -> None:
    assert fetch(door, "SELECT 1", headers={}, user="reader", password="se cret")[:2] == (
        200,
        "1\n",
    )
    basic = {"Authorization": "Basic cmVhZGVyOnNlIGNyZXQ="}
    assert fetch(door, "SELECT 1", headers=basic)[:2] == (200, "1\n")
    assert fetch(door, headers={})[:2] == (200, "Ok.\n")


def test_formats_and_headers(door: Door) -> None:
    status, body, headers = fetch(door, "SELECT 1 AS a", default_format="JSONEachRow")
    assert (status, json.loads(body)) == (200, {"a": 1})
    assert headers["X-ClickHouse-Format"] == "JSONEachRow"
    assert headers["X-ClickHouse-Query-Id"]
    assert headers["X-ClickHouse-Timezone"]
    _, body, headers = fetch(door, "SELECT 1 AS a FORMAT JSONCompact SETTINGS max_threads = 1")
    assert json.loads(body)["data"] == [[1]]
    assert headers["Content-Type"].startswith("application/json")
    assert fetch(door, "SELECT 1 AS a FORMAT CSVWithNames")[1] == '"a"\n1\n'
    assert fetch(door, "SELECT 1 FORMAT Nope")[0] == 404


def test_errors_are_clickhouse_s(client: Client) -> None:
    with pytest.raises(ClickHouseError, match=r"Code: 60\b"):
        client.query("SELECT * FROM no_such_table")
    with (
        pytest.raises(ClickHouseError, match="FUNCTION_THROW_IF"),
        client.query_row_block_stream("SELECT throwIf(number = 900000) FROM numbers(1000000)") as s,
    ):
        for _ in s:
            pass  # fmt: skip
    with pytest.raises(ClickHouseError):
        _ = client.query("SELECT throwIf(number = 900000) FROM numbers(1000000)").result_rows


def test_another_process_finds_the_port(
    engine: str, warehouse: Warehouse, database: str, door: Door, tmp_path: Path
) -> None:
    (tmp_path / "warehouse").mkdir()
    url = f"http://127.0.0.1:{door.port}"
    write_server_file(tmp_path, ServerFile(os.getpid(), "http://x", url, "reader", "se cret"))
    assert (tmp_path / "server.json").stat().st_mode & 0o777 == 0o600
    with connect(tmp_path, database=database) as reader:
        assert reader.query(Sql("SELECT {a:String} AS a", {"a": "x"})).to_pylist() == [{"a": "x"}]
        empty = reader.query_df(
            Sql("SELECT person_id FROM resolved_events", {}, {"max_threads": 1})
        )
        assert list(empty.columns) == ["person_id"]
        with pytest.raises(WarehouseError, match="reading"):
            reader.command(Sql("DROP TABLE events"))
    remove_server_file(tmp_path)
    assert not (tmp_path / "server.json").exists()

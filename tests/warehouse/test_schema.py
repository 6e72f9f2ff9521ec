"""Migrations: once, in order, again after a crash, refused from the future; and for a cluster."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
import yaml
from tests.warehouse.rows import event

from desirepath.errors import SettingsError, WarehouseError
from desirepath.plan import Plan
from desirepath_collector.warehouse import Sql, Warehouse
from desirepath_collector.warehouse.cluster import SHARDED_BY, on_cluster
from desirepath_collector.warehouse.engine import require_features
from desirepath_collector.warehouse.schema import Migration, migrate, migrations, statements

Ask = Callable[..., list[tuple[object, ...]]]


def test_all_are_applied_once_and_recorded(warehouse: Warehouse, ask: Ask, engine: str) -> None:
    recorded = ask("SELECT number, name, digest FROM migrations ORDER BY number")
    assert recorded == [(step.number, step.name, step.digest) for step in migrations()]
    with Warehouse.open(engine, database=warehouse.database):
        pass
    assert ask("SELECT count() FROM migrations") == [(len(recorded),)]


def test_every_table_and_column_explains_itself(ask: Ask, database: str) -> None:
    tables = ask(
        "SELECT name FROM system.tables WHERE database = {db:String} AND comment = '' "
        "AND engine != 'MaterializedView'", db=database,
    )  # fmt: skip
    columns = ask(
        "SELECT table, name FROM system.columns WHERE database = {db:String} AND comment = '' "
        "AND table NOT IN (SELECT name FROM system.tables WHERE database = {db:String} "
        "AND engine IN ('MaterializedView', 'Dictionary'))", db=database,
    )  # fmt: skip
    assert (tables, columns) == ([], [])


def test_what_was_answered_is_on_the_disk(warehouse: Warehouse, ask: Ask) -> None:
    """A power cut takes nothing that was answered, nor what a merge made of it."""
    synced = "fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1"
    tables = dict(
        ask(
            "SELECT name, create_table_query FROM system.tables WHERE database = {db:String} "
            "AND engine LIKE '%MergeTree'", db=warehouse.database,
        )
    )  # fmt: skip
    assert {"events", "quarantine", "traits", "identity_links", "identities"} < tables.keys()
    assert [name for name, made in tables.items() if synced not in str(made)] == []

    def syncs() -> list[int]:
        return [
            int(str(row[0]))
            for row in ask(
                "SELECT value FROM system.events WHERE event IN ('FileSync', 'DirectorySync') "
                "ORDER BY event"
            )
        ]

    counted = [syncs()]
    for number in range(2):
        warehouse.insert_events([event(f"m{number}", user_id="u")], str(number))
        counted.append(syncs())
    warehouse.command(Sql("OPTIMIZE TABLE events FINAL"))
    counted.append(syncs())
    for before, after in itertools.pairwise(counted):
        assert all(a > b for a, b in zip(after, before, strict=True))


def test_a_half_applied_migration_is_run_again(warehouse: Warehouse, ask: Ask) -> None:
    broken = Migration(
        9001, "late", "CREATE TABLE IF NOT EXISTS late (a Int8) ENGINE = Log;\nSELECT nope;"
    )
    mended = Migration(9001, "late", "CREATE TABLE IF NOT EXISTS late (a Int8) ENGINE = Log;\n")
    steps = migrations()
    with warehouse._handles.borrow() as client:
        with pytest.raises(Exception, match="nope"):
            migrate(client, warehouse.database, (*steps, broken))
        assert migrate(client, warehouse.database, (*steps, mended)) == [9001]
        assert migrate(client, warehouse.database, (*steps, mended)) == []
    assert ask("SELECT count() FROM late") == [(0,)]


def test_every_earlier_schema_can_be_brought_up_to_date(warehouse: Warehouse, ask: Ask) -> None:
    steps = migrations()
    with warehouse._handles.borrow() as client:
        for stop in range(1, len(steps)):
            name = f"{warehouse.database}_{stop}"
            client.command(f"CREATE DATABASE {name}")
            client.command(f"USE {name}")
            client.database = name
            assert migrate(client, name, steps[:stop]) == [s.number for s in steps[:stop]]
            assert migrate(client, name, steps) == [s.number for s in steps[stop:]]
            client.database = warehouse.database
            client.command(f"DROP DATABASE {name}")


def test_a_newer_schema_is_refused(warehouse: Warehouse, engine: str) -> None:
    text = "INSERT INTO migrations (number, name, digest) VALUES (9999, 'future', '')"
    warehouse.command(Sql(text))
    with pytest.raises(WarehouseError, match="schema 9999") as caught:
        Warehouse.open(engine, database=warehouse.database)
    assert "newer" in (caught.value.hint or "")


def test_two_that_start_at_once(engine: str, database: str, ask: Ask) -> None:
    failures: list[BaseException] = []

    def start() -> None:
        try:
            Warehouse.open(engine, database=database).close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=start) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert ask("SELECT uniqExact(number) FROM migrations") == [(len(migrations()),)]


def test_a_name_that_cannot_be_a_database(engine: str) -> None:
    with pytest.raises(SettingsError, match="cannot be the database"):
        Warehouse.open(engine, database="a; DROP")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WarehouseError, match="cannot be made"):
        Warehouse.open(tmp_path / "file")


def test_cluster_statements_are_parsed_by_the_engine(warehouse: Warehouse) -> None:
    made = []
    for step in migrations():
        filled = step.text.replace("{database}", "d").replace("{credentials}", "USER 'a' ")
        for statement in statements(filled):
            made += on_cluster(statement, "main")
    with warehouse._handles.borrow() as client:
        for statement in made:
            assert client.command(f"EXPLAIN AST {statement}")
    text = "\n".join(made)
    assert text.count("ON CLUSTER main") == len(made)
    assert " non_replicated" not in text
    for table, key in SHARDED_BY.items():
        assert f"{table}_local, {key})" in text
    assert (
        "ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{uuid}/{shard}', '{replica}', "
        "version)" in text
    )
    assert "TO traits_local AS" in text


def test_a_view_on_a_cluster(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    from desirepath_collector.warehouse import views

    definition: list[str] = []
    keep = views.on_cluster
    monkeypatch.setattr(
        views, "on_cluster", lambda text, name: definition.extend(keep(text, name)) or []
    )
    plan = Plan.parse("plan: p\nversion: 1.0.0\nevents:\n  A B:\n    properties: {x: string}\n")
    with warehouse._handles.borrow() as client:
        views.publish_views(client, plan, cluster="main")
        assert definition[0].startswith("CREATE OR REPLACE VIEW `a_b` ON CLUSTER main\n(")
        assert client.command(f"EXPLAIN AST {definition[0]}")


def test_a_cluster_s_name_is_a_name() -> None:
    with pytest.raises(SettingsError, match="name of a cluster"):
        on_cluster("CREATE VIEW IF NOT EXISTS a AS SELECT 1", "x; DROP")
    with pytest.raises(SettingsError, match="no form for a cluster"):
        on_cluster("DROP TABLE a", "main")


def test_an_engine_that_is_too_old_is_refused() -> None:
    for version in ("24.12.1.1", "25.7.9.9"):
        with pytest.raises(WarehouseError, match="too old") as caught:
            require_features(SimpleNamespace(server_version=version))  # type: ignore[arg-type]
        assert "25.8" in (caught.value.hint or "")
    require_features(SimpleNamespace(server_version="26.3.1.1"))  # type: ignore[arg-type]


def test_the_cluster_s_files_can_be_read() -> None:
    folder = Path(__file__).parents[2] / "deploy" / "cluster"
    services = yaml.safe_load((folder / "compose.yaml").read_text(encoding="utf-8"))["services"]
    assert {name: service["environment"].get("SHARD") for name, service in services.items()} == {
        "keeper1": None, "keeper2": None, "keeper3": None, "node1": "1", "node2": "2", "node3": "3"
    }  # fmt: skip
    node = ElementTree.parse(folder / "node.xml")
    assert [host.text for host in node.iterfind("remote_servers/main/shard/replica/host")] == [
        "node1", "node2", "node3"
    ]  # fmt: skip
    keeper = ElementTree.parse(folder / "keeper.xml")
    assert len(keeper.findall(".//raft_configuration/server")) == 3

"""The same schema for a cluster: a pure function from the migrations' statements.

Each table `x` becomes `x_local` on every node, its engine the replicated one, and `x` a
Distributed table over them, so every statement that names `x` stays as it is. Rows are sharded by
person: all that `actor` did is on one shard, where duplicates meet and FINAL removes them. Views,
materialised views and the dictionary are made on every node; what feeds a table reads and writes
the local ones. Nothing here was run on a cluster: the statements are parsed by the engine in the
tests, and `docs/warehouse.md` says what that leaves open.
"""

from __future__ import annotations

import re
from typing import Final

from desirepath.errors import SettingsError

__all__ = ["on_cluster"]

SHARDED_BY: Final = {
    "events": "actor",
    "traits": "cityHash64(distinct_id)",
    "identity_links": "cityHash64(id)",
    "identities": "cityHash64(id)",
    "quarantine": "cityHash64(message_id)",
}
"""The sharding key of each table. The others are small and whole on the first shard."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TABLE: Final = re.compile(r"CREATE TABLE IF NOT EXISTS (\w+)")
_ENGINE: Final = re.compile(r"\bENGINE = (\w*MergeTree)(?:\(([^)]*)\))?")
_VIEW: Final = re.compile(r"CREATE (VIEW|DICTIONARY) IF NOT EXISTS (\w+)")
_MATERIALISED: Final = re.compile(r"CREATE MATERIALIZED VIEW IF NOT EXISTS (\w+) TO (\w+) AS")
_REPLACED_VIEW: Final = re.compile(r"CREATE OR REPLACE VIEW (`[^`]*`)")


def on_cluster(statement: str, cluster: str) -> list[str]:
    """What takes the place of one statement of a migration, or of a view, on `cluster`.

    Raises
    ------
    SettingsError
        If `cluster` cannot be the name of one.
    """
    if not _NAME.fullmatch(cluster):
        raise SettingsError(f"{cluster!r} cannot be the name of a cluster")
    everywhere = f"ON CLUSTER {cluster}"
    if table := _TABLE.match(statement):
        name = table[1]
        local = f"CREATE TABLE IF NOT EXISTS {name}_local {everywhere}" + statement[table.end() :]
        local = _ENGINE.sub(_replicated, local, count=1).replace(
            "non_replicated_deduplication_window", "replicated_deduplication_window"
        )
        shard = SHARDED_BY.get(name, "0")
        spread = (
            f"CREATE TABLE IF NOT EXISTS {name} {everywhere} AS {name}_local "
            f"ENGINE = Distributed({cluster}, currentDatabase(), {name}_local, {shard})"
        )
        return [local, spread]
    if view := _MATERIALISED.match(statement):
        head = (
            f"CREATE MATERIALIZED VIEW IF NOT EXISTS {view[1]} {everywhere} TO {view[2]}_local AS"
        )
        body = re.sub(r"\bFROM events\b", "FROM events_local", statement[view.end() :])
        return [head + body]
    if view := _VIEW.match(statement):
        head = f"CREATE {view[1]} IF NOT EXISTS {view[2]} {everywhere}"
        return [head + statement[view.end() :]]
    if view := _REPLACED_VIEW.match(statement):
        return [f"CREATE OR REPLACE VIEW {view[1]} {everywhere}" + statement[view.end() :]]
    raise SettingsError(f"this statement has no form for a cluster: {statement[:80]!r}")


def _replicated(engine: re.Match[str]) -> str:
    arguments = ["'/clickhouse/tables/{uuid}/{shard}'", "'{replica}'"]
    if engine[2]:
        arguments.append(engine[2])
    return f"ENGINE = Replicated{engine[1]}({', '.join(arguments)})"

"""Migrations: numbered `.sql` files, applied once, in order, recorded, never taken back.

A file's statements end with `;` at the end of a line. Each is written so that it can run again
(`IF NOT EXISTS`), because ClickHouse has no transaction around DDL: a migration that died half way
is simply run once more. A warehouse that was made by a newer version is refused.
"""

from __future__ import annotations

import hashlib
import re
from importlib.resources import files
from typing import Final

import msgspec
from clickhouse_connect.driver.client import Client

from desirepath.errors import WarehouseError
from desirepath_collector.warehouse.cluster import on_cluster

__all__ = ["Migration", "migrate", "migrations", "statements"]

_NAME: Final = re.compile(r"(\d{4})_(\w+)\.sql")
_END: Final = re.compile(r";[ \t]*$", re.MULTILINE)
_COMMENT: Final = re.compile(r"^--.*\n?", re.MULTILINE)

_RECORD: Final = """
CREATE TABLE IF NOT EXISTS migrations
(
    number UInt32 COMMENT 'The migration''s number',
    name String COMMENT 'What it does, in a word or two',
    digest String COMMENT 'SHA-256 of its text, hexadecimal',
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When it was done'
)
ENGINE = ReplacingMergeTree
ORDER BY number
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1
COMMENT 'Which migrations of Desirepath''s schema this database has had'
"""


class Migration(msgspec.Struct, frozen=True):
    """One step of the schema."""

    number: int
    name: str
    text: str

    @property
    def digest(self) -> str:
        """SHA-256 of the text, hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def migrations() -> tuple[Migration, ...]:
    """All steps this version knows, in order."""
    found = []
    for file in files(__package__).joinpath("migrations").iterdir():
        match = _NAME.fullmatch(file.name)
        if match:
            found.append(Migration(int(match[1]), match[2], file.read_text(encoding="utf-8")))
    return tuple(sorted(found, key=lambda step: step.number))


def statements(text: str) -> list[str]:
    """The statements of one file, without comment lines and the final `;`."""
    parts = (part.strip() for part in _END.split(_COMMENT.sub("", text)))
    return [part for part in parts if part]


def migrate(
    client: Client,
    database: str,
    steps: tuple[Migration, ...] | None = None,
    *,
    credentials: str = "",
    cluster: str | None = None,
) -> list[int]:
    """Bring the client's default database to the newest schema; the numbers that were applied.

    Parameters
    ----------
    client
        Its default database is `database`.
    database
        Stands for `{database}` in the files, where ClickHouse wants a full name.
    steps
        The migrations; all that this version knows if not given.
    credentials
        Stands for `{credentials}`: `USER '...' PASSWORD '...' ` for a dictionary's source, empty
        where the engine needs none.
    cluster
        Make everything on all nodes of this cluster.

    Raises
    ------
    WarehouseError
        If the database was made by a newer version.
    """
    steps = migrations() if steps is None else steps
    for statement in _placed(_RECORD, cluster):
        client.command(statement)
    rows = client.query("SELECT DISTINCT number FROM migrations").result_rows
    done = {int(row[0]) for row in rows}
    newest = max((step.number for step in steps), default=0)
    if done and max(done) > newest:
        raise WarehouseError(
            f"the warehouse has schema {max(done)}, this version of Desirepath knows {newest}",
            hint="install the version that made it, or a newer one",
        )
    applied = []
    for step in steps:
        if step.number in done:
            continue
        filled = step.text.replace("{database}", database)
        for statement in statements(filled.replace("{credentials}", credentials)):
            for placed in _placed(statement, cluster):
                client.command(placed)
        client.insert(
            "migrations",
            [[step.number, step.name, step.digest]],
            column_names=["number", "name", "digest"],
        )
        applied.append(step.number)
    return applied


def _placed(statement: str, cluster: str | None) -> list[str]:
    return on_cluster(statement.strip(), cluster) if cluster else [statement]

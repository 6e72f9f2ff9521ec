"""Which statements may pass: decided on the engine's own syntax tree.

A read-only handle is not enough. In the embedded engine a SELECT may read any file (`file()`),
call any server (`url()`, `s3()`, `remote()`), write (`INTO OUTFILE`, `INSERT INTO FUNCTION`) and
even reach Python objects (`Python()`), and the engine has no users to grant less to. So each
statement is formatted by the engine (which refuses more than one), its tree is read
(`EXPLAIN AST`), and it passes only if its root is a reading statement, nothing writes to a file,
and no table function occurs but those that make their rows from nothing.

A table's name can be a file, too: the engine's own `default` database lies over the file system,
so that `` SELECT * FROM `/etc/passwd` `` reads it. The guard puts an empty database in its place
before the first statement.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from desirepath_collector.clickhouse_http.errors import DoorError, from_engine

__all__ = ["Guard", "Statement"]

_ROOTS: Final = frozenset(
    {"SelectWithUnionQuery", "SelectIntersectExceptQuery", "SelectQuery", "DescribeQuery"}
    | {"ExistsTableQuery", "ExistsViewQuery", "ExistsDictionaryQuery", "ExistsDatabaseQuery"}
    | {"ShowTables", "ShowColumns", "ShowIndexes", "ShowFunctions", "ShowEngineQuery"}
    | {"ShowCreateTableQuery", "ShowCreateViewQuery", "ShowCreateDatabaseQuery", "ShowSetting"}
    | {"ShowCreateDictionaryQuery", "ShowProcesslistQuery", "Explain"}
)
"""The statements that only read."""

_TABLE_FUNCTIONS: Final = frozenset(
    {"format", "generate_series", "generaterandom", "generateseries", "merge", "null", "numbers"}
    | {"numbers_mt", "primes", "values", "view", "viewexplain", "zeros", "zeros_mt"}
)
"""Table functions that make rows from nothing, or from the tables that may be read anyway."""

_FUNCTIONS: Final = frozenset(
    {"addresstoline", "addresstolinewithinlines", "addresstosymbol", "catboostevaluate", "file"}
    | {"filesystemavailable", "filesystemcapacity", "filesystemunreserved", "python"}
)
"""Ordinary functions that look outside the tables."""

_STREAMABLE: Final = frozenset({"csv", "jsoneachrow", "native", "rowbinary", "tabseparated", "tsv"})
"""Formats whose blocks, one after another, are the whole result."""

_FUNCTION: Final = re.compile(r"^\s*Function (\S+)", re.MULTILINE)
# The engine puts the clause on a line of its own, and spells line ends in names and strings out.
_OUTFILE: Final = re.compile(r"^\s*INTO OUTFILE ", re.MULTILINE)
_FORMAT: Final = re.compile(r"^FORMAT (\w+)$", re.MULTILINE)


class Statement(msgspec.Struct, frozen=True):
    """A statement that may run.

    `formatted` is the engine's own spelling, `output` the format it names, if it does, and
    `is_select` tells whether it can be streamed.
    """

    formatted: str
    output: str | None
    is_select: bool

    def streamable(self, output: str) -> bool:
        """Whether the engine can hand its result out block by block in the format `output`."""
        return self.is_select and output.lower() in _STREAMABLE


class Guard:
    """Judges statements on one engine."""

    def __init__(self, connection: Any) -> None:
        # Everything the engine knows as a table function is refused unless it is listed above,
        # so that a newer engine's new ones are refused too.
        listed = connection.query("SELECT lower(name) FROM system.table_functions", "TSV")
        known = frozenset(bytes(listed.bytes()).decode().split())
        self._refused = (known - _TABLE_FUNCTIONS) | _FUNCTIONS
        # Lasts as long as the engine runs; the next start brings the overlay back.
        engine = connection.query(
            "SELECT engine FROM system.databases WHERE name = 'default'", "TSV"
        )
        if bytes(engine.bytes()).strip() == b"Overlay":
            connection.query("DROP DATABASE default")
            connection.query("CREATE DATABASE default ENGINE = Memory")

    def check(self, connection: Any, text: str, params: dict[str, str]) -> Statement:
        """Judge one statement.

        Raises
        ------
        DoorError
            If it cannot be parsed, or may not run.
        """
        formatted = _column(connection, "SELECT formatQuery({statement:String}) AS text",
                            {"statement": _escaped(text)})  # fmt: skip
        tree = _column(connection, f"EXPLAIN AST {formatted}", params)
        root = tree.split(None, 1)[0]
        if root not in _ROOTS:
            raise DoorError(164, f"Only reading is allowed here, not {root}")
        for match in _FUNCTION.finditer(tree):
            if match[1].lower() in self._refused:
                raise DoorError(497, f"Not enough privileges: {match[1]} is not allowed here")
        if _OUTFILE.search(formatted):
            raise DoorError(497, "Not enough privileges: INTO OUTFILE is not allowed here")
        output = _FORMAT.findall(formatted)
        return Statement(formatted, output[-1] if output else None, root.startswith("Select"))


def _column(connection: Any, text: str, params: dict[str, str]) -> str:
    try:
        result = connection.query(text, "JSONCompactColumns", params=params)
    except Exception as error:
        raise from_engine(error) from error
    return "\n".join(msgspec.json.decode(bytes(result.bytes()))[0])


def _escaped(text: str) -> str:
    """`text` as a parameter's value, which the engine reads as TSV."""
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")

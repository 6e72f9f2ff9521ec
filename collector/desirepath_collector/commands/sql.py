"""`desirepath sql`: one reading statement, its answer in the terminal or in a file."""

from __future__ import annotations

import argparse
import sys
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, BinaryIO, Final

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["HELP", "configure", "run"]

HELP = "ask the warehouse in SQL"

FORMATS: Final = ("table", "csv", "tsv", "json", "jsonl", "arrow", "parquet")

TABLE_ROWS: Final = 1_000
"""Rows that a table in a terminal shows; the other formats give all."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("statement", metavar="SQL", help="the statement; - reads it from stdin")
    parser.add_argument("--data", metavar="FOLDER", default="./data", help="default ./data")
    parser.add_argument(
        "--url", help="a ClickHouse server, http://user:password@host:8123/database"
    )
    parser.add_argument(
        "--format", choices=FORMATS, help="default: table in a terminal, csv elsewhere"
    )
    parser.add_argument("--json", action="store_true", help="the same as --format json")
    parser.add_argument("--output", metavar="FILE", help="write there instead of printing")
    parser.add_argument(
        "--param",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="value of the placeholder {NAME:Type}; may be repeated",
    )


def run(args: argparse.Namespace) -> int:
    """Ask, print; the exit code."""
    from desirepath.errors import SettingsError
    from desirepath_collector.warehouse import Sql, connect

    params: dict[str, str] = {}
    for pair in args.param:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise SettingsError(f"--param {pair!r} is not NAME=VALUE")
        params[name] = value
    text = sys.stdin.read() if args.statement == "-" else args.statement
    with connect(args.url or args.data) as warehouse:
        table = warehouse.query(Sql(text.strip().rstrip(";"), params))
    chosen = "json" if args.json else args.format
    if args.output:
        try:
            with open(args.output, "wb") as file:
                _write(table, chosen or _by_suffix(args.output), file)
        except OSError as error:
            raise SettingsError(f"{args.output} cannot be written: {error.strerror}") from error
    else:
        chosen = chosen or ("table" if sys.stdout.isatty() else "csv")
        sys.stdout.flush()
        _write(table, chosen, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    return 0


def _by_suffix(path: str) -> str:
    suffix = path.rpartition(".")[2].lower()
    return suffix if suffix in FORMATS else "csv"


def _write(table: pa.Table, chosen: str, file: BinaryIO) -> None:
    if chosen == "table":
        _print_table(table)
    elif chosen in ("csv", "tsv"):
        from pyarrow import csv

        options = csv.WriteOptions(delimiter="," if chosen == "csv" else "\t")
        csv.write_csv(_flat(table), file, options)
    elif chosen == "arrow":
        import pyarrow as pa

        with pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    elif chosen == "parquet":
        from pyarrow import parquet

        parquet.write_table(table, file)
    else:
        import msgspec

        encode = msgspec.json.Encoder(enc_hook=str, decimal_format="number").encode
        lines = [encode(row) for row in table.to_pylist(maps_as_pydicts="lossy")]
        if chosen == "jsonl":
            file.writelines(line + b"\n" for line in lines)
        else:
            file.write(b"[" + b",\n ".join(lines) + b"]\n")


def _flat(table: pa.Table) -> pa.Table:
    """Lists, maps and tuples as JSON, which CSV has no form for."""
    import msgspec
    import pyarrow as pa

    for index, field in enumerate(table.schema):
        if pa.types.is_nested(field.type):
            values = table.column(index).to_pylist(maps_as_pydicts="lossy")
            texts = [msgspec.json.encode(value, enc_hook=str).decode() for value in values]
            table = table.set_column(index, field.name, pa.array(texts, pa.string()))
    return table


def _print_table(table: pa.Table) -> None:
    import pyarrow as pa
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(header_style="bold")
    for field in table.schema:
        number = pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
        shown.add_column(Text(field.name), justify="right" if number else "left")
    for row in table.slice(0, TABLE_ROWS).to_pylist(maps_as_pydicts="lossy"):
        shown.add_row(*(Text(_text(value)) for value in row.values()))
    console = Console()
    console.print(shown)
    if table.num_rows > TABLE_ROWS:
        console.print(f"the first {TABLE_ROWS} of {table.num_rows} rows; --output FILE has all")


def _text(value: Any) -> str:
    import msgspec

    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat(" ", "milliseconds").removesuffix("+00:00")
    if isinstance(value, str | int | float | date):
        return str(value)
    return msgspec.json.encode(value, enc_hook=str).decode()

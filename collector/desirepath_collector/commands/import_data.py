"""`desirepath import NAME FILE`: a file's rows as traits of people, or as events."""

from __future__ import annotations

import argparse

__all__ = ["HELP", "configure", "run"]

HELP = "bring in a CSV, JSON Lines or Parquet file as traits or events"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("name", metavar="NAME", help="the name of the source, e.g. crm")
    parser.add_argument("file", metavar="FILE", help=".csv, .tsv, .jsonl, each also .gz; .parquet")
    parser.add_argument("--as", dest="kind", choices=["traits", "events"], required=True)
    parser.add_argument("--key", metavar="COLUMN", help="the column of the user's id")
    parser.add_argument(
        "--map",
        metavar="FIELD=COLUMN,...",
        action="append",
        default=[],
        help="which column holds user_id, anonymous_id, event, timestamp",
    )
    parser.add_argument("--event", metavar="NAME", default="", help="the name of all events")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--data", metavar="FOLDER", default="./data", help="default ./data")
    where.add_argument("--url", help="a ClickHouse server, http://user:password@host:8123/database")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    """Import; 0 when every row was taken."""
    import sys
    from pathlib import Path

    import msgspec
    from rich.progress import Progress

    from desirepath.errors import SettingsError, WarehouseHeldError
    from desirepath_collector.plans import pii_key
    from desirepath_collector.settings import load_settings
    from desirepath_collector.warehouse import Warehouse
    from desirepath_collector.warehouse.folder import make_folder
    from desirepath_collector.warehouse.registered import FIELDS, Import, modified_ms, read_rows

    columns: dict[str, str] = {"user_id": args.key} if args.key else {}
    for pair in ",".join(args.map).split(",") if args.map else []:
        field, equals, column = pair.partition("=")
        if not equals or field not in FIELDS:
            raise SettingsError(
                f"--map {pair!r} is not FIELD=COLUMN", hint=f"fields are {', '.join(FIELDS)}"
            )
        columns[field] = column
    if not columns.keys() & {"user_id", "anonymous_id"}:
        raise SettingsError("no column holds the person's id", hint="name it: --key COLUMN")
    if args.kind == "events" and not args.event and "event" not in columns:
        raise SettingsError(
            "no column holds the event's name", hint="--event or --map event=COLUMN"
        )
    rows = read_rows(args.file)
    folder = Path(args.data)
    if not args.url:
        make_folder(folder)
    key = pii_key(load_settings({}).pii_key, folder)
    work = Import(args.name, args.kind, columns, args.event, modified_ms(args.file), key)
    try:
        warehouse = Warehouse.open(args.url or args.data)
    except WarehouseHeldError as error:
        raise WarehouseHeldError(
            error.message, hint="stop the server first, or send the file to it: desirepath send"
        ) from error
    quiet = args.json or not sys.stderr.isatty()
    with warehouse, Progress(transient=True, disable=quiet) as bar:
        task = bar.add_task(f"importing {args.name}", total=None)
        report = work.run(warehouse, args.file, rows, lambda done: bar.update(task, completed=done))
    if args.json:
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    else:
        print(f"{report.rows} rows: {report.added} new, {report.known} known, "
              f"{report.refused} refused")  # fmt: skip
        for line, reason in report.problems:
            print(f"  line {line}: {reason}")
        if report.refused > len(report.problems):
            print(f"  and {report.refused - len(report.problems)} more")
    return 1 if report.refused else 0

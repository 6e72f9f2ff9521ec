"""`desirepath erase PERSON`: remove a person for good, with a receipt."""

from __future__ import annotations

import argparse

__all__ = ["HELP", "configure", "run"]

HELP = "erase a person: tables, quarantine, and whatever arrives late"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("person", metavar="PERSON", help="any id of theirs")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--data", metavar="FOLDER", default="./data", help="default ./data")
    where.add_argument("--url", help="a ClickHouse server, http://user:password@host:8123/database")
    parser.add_argument("--yes", action="store_true", help="do not ask first")
    parser.add_argument(
        "--no-wait", action="store_true", help="return when no query shows them any more"
    )
    parser.add_argument("--json", action="store_true", help="print the receipt as JSON")


def run(args: argparse.Namespace) -> int:
    """Erase; the exit code."""
    import sys

    import msgspec

    from desirepath.errors import SettingsError, WarehouseHeldError
    from desirepath_collector.warehouse import Warehouse, connect

    if not args.yes:
        if not sys.stdin.isatty():
            raise SettingsError("erasing cannot be undone", hint="say --yes to do it unasked")
        answer = input(f"Erase {args.person!r} and all their events for good? [y/N] ")
        if answer.strip().lower() not in ("y", "yes"):
            print("nothing was erased")
            return 1
    try:
        # So that a mistyped folder is a message and not a new warehouse.
        connect(args.url or args.data).close()
        warehouse = Warehouse.open(args.url or args.data)
    except WarehouseHeldError as error:
        raise WarehouseHeldError(
            error.message, hint="stop the server, erase, start it again: a reader cannot erase"
        ) from error
    with warehouse:
        receipt = warehouse.erase(args.person, wait=not args.no_wait)
    if args.json:
        sys.stdout.write(msgspec.json.encode(receipt).decode() + "\n")
        return 0
    print(f"receipt     {receipt.receipt}")
    print(f"ids         {receipt.ids}")
    for table, count in receipt.rows.items():
        print(f"{table:<11} {count} rows")
    print(f"hidden at   {receipt.hidden_at:%Y-%m-%d %H:%M:%S} UTC")
    if receipt.bytes_gone_at:
        print(f"gone at     {receipt.bytes_gone_at:%Y-%m-%d %H:%M:%S} UTC")
    print(receipt.note)
    return 0

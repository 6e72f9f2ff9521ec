"""`desirepath export PERSON`: everything that is kept about a person, as one JSON document."""

from __future__ import annotations

import argparse

__all__ = ["HELP", "configure", "run"]

HELP = "give out everything that is kept about a person"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("person", metavar="PERSON", help="any id of theirs")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--data", metavar="FOLDER", default="./data", help="default ./data")
    where.add_argument("--url", help="a ClickHouse server, http://user:password@host:8123/database")
    parser.add_argument("--output", metavar="FILE", help="write there instead of printing")
    parser.add_argument("--json", action="store_true", help="it is JSON in any case")


def run(args: argparse.Namespace) -> int:
    """Export; the exit code."""
    import os
    import sys

    import msgspec

    from desirepath.errors import SettingsError
    from desirepath_collector.warehouse import connect

    with connect(args.url or args.data) as warehouse:
        answer = warehouse.export(args.person)
    document = msgspec.json.format(msgspec.json.encode(answer, enc_hook=str), indent=2) + b"\n"
    if not args.output:
        sys.stdout.flush()
        sys.stdout.buffer.write(document)
        sys.stdout.buffer.flush()
        return 0
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        # Personal data: for the owner's eyes only.
        with os.fdopen(os.open(args.output, flags, 0o600), "wb") as file:
            file.write(document)
    except OSError as error:
        raise SettingsError(f"{args.output} cannot be written: {error.strerror}") from error
    return 0

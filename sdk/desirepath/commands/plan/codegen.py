"""`desirepath plan codegen`: a typed Python module of a plan's events."""

from __future__ import annotations

import argparse
from pathlib import Path

from desirepath.commands.plan.output import plural, print_json, write_text
from desirepath.errors import InputError
from desirepath.plan import Plan

__all__ = ["HELP", "configure", "run"]

HELP = "generate a typed Python module: one class an event"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("file", help="the plan")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the module here")
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; exit with 1 if the file is not what would be written",
    )


def run(args: argparse.Namespace) -> int:
    """0: generated, or with --check up to date."""
    from desirepath.plan.codegen import generate

    plan = Plan.load(args.file)
    text = generate(plan)
    if args.check:
        if args.output is None:
            args.usage_error("--check needs the file: -o FILE")
        fresh = _read(args.output) == text
        if args.json:
            print_json({"output": args.output, "fresh": fresh})
        elif fresh:
            print(f"{args.output} is up to date with {plan.name} {plan.version}")
        else:
            print(f"{args.output} is not what {args.file} gives: generate it again")
        return int(not fresh)
    if args.output is not None or not args.json:
        write_text(text, args.output)
    if args.json:
        print_json({"output": args.output, "events": len(plan.events), "text": text})
    elif args.output is not None:
        print(f"{args.output}: {plural(len(plan.events), 'typed event')}")
    return 0


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}") from error

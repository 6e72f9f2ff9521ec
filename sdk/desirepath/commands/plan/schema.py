"""`desirepath plan schema`: the JSON Schema of plan files, for editors."""

from __future__ import annotations

import argparse
import json

from desirepath.commands.plan.output import print_json, write_text

__all__ = ["HELP", "configure", "run"]

HELP = "print the JSON Schema of plan files, for completion in editors"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("-o", "--output", metavar="FILE", help="write it here")


def run(args: argparse.Namespace) -> int:
    """0: printed."""
    from desirepath.plan.schema import plan_schema

    schema = plan_schema()
    if args.output is not None:
        write_text(json.dumps(schema, indent=2) + "\n", args.output)
        if args.json:
            print_json({"output": args.output, "schema": schema})
        return 0
    print_json(schema)
    return 0

"""`desirepath plan import`: another tool's tracking plan as one of ours."""

from __future__ import annotations

import argparse
import sys

from desirepath.commands.plan.output import plural, print_json, write_text
from desirepath.errors import InputError, PlanError

__all__ = ["HELP", "configure", "run"]

HELP = "turn a Segment or RudderStack tracking plan, or JSON Schema files, into a plan"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    from desirepath.plan.importers import FORMATS

    parser.add_argument("files", nargs="+", metavar="FILE", help="its files, or their folder")
    parser.add_argument("--from", dest="format", choices=FORMATS, help="default: recognised")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the plan here")
    parser.add_argument("--name", help="the plan's name (default: the other plan's)")


def run(args: argparse.Namespace) -> int:
    """0: imported."""
    from desirepath.plan import Plan
    from desirepath.plan.importers import import_plan, text_of

    imported = import_plan(args.files, format=args.format, name=args.name)
    text = text_of(imported, ", ".join(args.files))
    try:
        plan = Plan.parse(text, "<imported>")
    except PlanError as error:
        # What cannot be loaded must not be handed out as a plan.
        raise InputError(
            f"{args.files[0]} gives a plan with a mistake: {error}", hint=error.hint
        ) from error
    if args.json:
        if args.output is not None:
            write_text(text, args.output)
        print_json(
            {"plan": imported.plan, "notes": imported.notes, "text": text, "output": args.output}
        )
        return 0
    write_text(text, args.output)
    remarks = [f"imported {plural(len(plan.events), 'event')} as {plan.name} {plan.version}"]
    if imported.notes:
        remarks.append(f"{plural(len(imported.notes), 'thing')} not carried over:")
        remarks.extend(f"  {note}" for note in imported.notes)
    print("\n".join(remarks), file=sys.stderr)
    return 0

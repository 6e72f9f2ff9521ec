"""`desirepath plan docs`: a plan as one readable page."""

from __future__ import annotations

import argparse
from typing import Literal

from desirepath.commands.plan.output import print_json, write_text
from desirepath.plan import Plan

__all__ = ["HELP", "configure", "run"]

HELP = "write a plan as one readable page, in HTML or Markdown"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    from desirepath.plan.docs import FORMATS

    parser.add_argument("file", help="the plan")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        help="default: by the name of the output file, else html",
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="write the page here")


def run(args: argparse.Namespace) -> int:
    """0: written."""
    from desirepath.plan.docs import page

    output = args.output
    named: Literal["html", "markdown"]
    named = "markdown" if output is not None and output.endswith((".md", ".markdown")) else "html"
    format: Literal["html", "markdown"] = args.format or named
    text = page(Plan.load(args.file), format)
    if output is not None or not args.json:
        write_text(text, output)
    if args.json:
        print_json({"output": output, "format": format, "text": text})
    elif output is not None:
        print(f"{output}: {len(text.encode()):,} bytes of {format}")
    return 0

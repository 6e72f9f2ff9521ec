"""What the commands of questions about periods share: their arguments, as a plain form."""

from __future__ import annotations

import argparse
from typing import Any

__all__ = ["add_over_time", "over_time_spec"]


def add_over_time(parser: argparse.ArgumentParser, unit: str) -> None:
    """`--unit`, `--timezone`, `--where`, `--segment`."""
    parser.add_argument("--unit", help=f"hour, day, week or month ({unit})")
    parser.add_argument("--timezone", help="whose days and weeks: Europe/Stockholm (UTC)")
    parser.add_argument("--where", help="only events like this: 'total>10 and country in SE,NL'")
    parser.add_argument("--segment", help="only the people of this segment of the plan")


def over_time_spec(args: argparse.Namespace, *more: str) -> dict[str, Any]:
    """The options that were given, and those of `more`, as a plain form."""
    from desirepath_analytics.conditions import parse_text, where_spec

    names = ("unit", "timezone", "segment", *more)
    spec = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    if args.where is not None:
        spec["where"] = where_spec(parse_text(args.where))
    return spec

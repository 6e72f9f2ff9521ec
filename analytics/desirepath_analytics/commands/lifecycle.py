"""`desirepath lifecycle`: who is new, returning, resurrecting and dormant."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from desirepath_analytics.commands.asking import add_asking, answer, parse_step
from desirepath_analytics.commands.over_time import add_over_time, over_time_spec

if TYPE_CHECKING:
    from desirepath_analytics.behaviour.lifecycle import LifecycleResult

HELP = "who is new, returning, resurrecting and dormant in each period"


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("--event", metavar="EVENT", help="what being active means (any event)")
    add_over_time(parser, "week")
    add_asking(parser)


def run(args: argparse.Namespace) -> int:
    """Ask, and show the answer."""
    from desirepath_analytics.behaviour.lifecycle import Lifecycle

    def asked(_: object) -> Lifecycle:
        spec = over_time_spec(args)
        if args.event is not None:
            spec["event"] = parse_step(args.event)
        return Lifecycle(**spec)

    return answer(args, Lifecycle, asked, _show)


def _show(result: LifecycleResult) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Lifecycle", title_justify="left")
    table.add_column(result.question.unit)
    for column in ("new", "returning", "resurrecting", "active", "dormant"):
        table.add_column(column, justify="right")
    for one in result.periods:
        row = one.to_dict()
        label = one.label if one.complete else f"{one.label} *"
        names = ("new", "returning", "resurrecting", "active", "dormant")
        table.add_row(label, *(f"{row[name]:,}" for name in names))
    Console().print(table)

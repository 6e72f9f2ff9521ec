"""`desirepath stickiness`: in how many periods people are active."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from desirepath_analytics.commands.asking import add_asking, answer, parse_step
from desirepath_analytics.commands.over_time import add_over_time, over_time_spec

if TYPE_CHECKING:
    from desirepath_analytics.behaviour.stickiness import StickinessResult

HELP = "on how many days (hours, weeks, months) people are active"


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("--event", metavar="EVENT", help="what being active means (any event)")
    add_over_time(parser, "day")
    add_asking(parser)


def run(args: argparse.Namespace) -> int:
    """Ask, and show the answer."""
    from desirepath_analytics.behaviour.stickiness import Stickiness

    def asked(_: object) -> Stickiness:
        spec = over_time_spec(args)
        if args.event is not None:
            spec["event"] = parse_step(args.event)
        return Stickiness(**spec)

    return answer(args, Stickiness, asked, _show)


def _show(result: StickinessResult) -> None:
    from rich.console import Console
    from rich.table import Table

    from desirepath_analytics.commands.tables import share

    unit = result.question.unit
    table = Table(title=f"Stickiness ({result.people:,} people)", title_justify="left")
    for column in (f"{unit}s", "people", "at least", "95 % interval"):
        table.add_column(column, justify="right")
    for group in result.groups:
        low, high = share(group.at_least.low), share(group.at_least.high)
        at_least = share(group.at_least.value)
        table.add_row(str(group.periods), f"{group.exactly:,}", at_least, f"{low} - {high}")
    console = Console()
    console.print(table)
    if result.mean is not None:
        console.print(f"{result.mean:.2f} {unit}s a person on average", highlight=False)

"""`desirepath retention`: how many of those who began come back."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from desirepath.errors import QueryError
from desirepath_analytics.commands.asking import add_asking, answer, parse_step
from desirepath_analytics.commands.over_time import add_over_time, over_time_spec

if TYPE_CHECKING:
    from desirepath_analytics.behaviour.retention import Retention, RetentionResult

HELP = "how many of those who began come back"


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("--start", metavar="EVENT", help="what makes people part of a cohort")
    parser.add_argument("--returning", metavar="EVENT", help="what counts as coming back (--start)")
    parser.add_argument("--periods", type=int, help="columns after the 0th (7)")
    parser.add_argument("--mode", help="on (default), on_or_after, streak, bracket")
    parser.add_argument("--brackets", type=int, nargs="+", metavar="N", help="for bracket: 1 2 4")
    parser.add_argument("--cohort", help="by the first start ever (default: first), or every")
    parser.add_argument("--rolling", action="store_true", help="24 hours from each one's start")
    parser.add_argument("--at-least", type=int, metavar="N", help="times in a period to count")
    parser.add_argument("--by", action="append", metavar="FIELD", help="break down by this")
    add_over_time(parser, "day")
    add_asking(parser)


def run(args: argparse.Namespace) -> int:
    """Ask, and show the answer."""
    from desirepath_analytics.behaviour.retention import Retention

    return answer(args, Retention, lambda _: _retention(args), _show)


def _retention(args: argparse.Namespace) -> Retention:
    from desirepath_analytics.behaviour.retention import Retention

    if args.start is None:
        raise QueryError("no start", hint="give --start EVENT, or --spec FILE")
    options = ("periods", "mode", "brackets", "cohort", "at_least", "by")
    spec = over_time_spec(args, *options)
    spec["start"] = parse_step(args.start)
    if args.returning is not None:
        spec["returning"] = parse_step(args.returning)
    if args.rolling:
        spec["rolling"] = True
    return Retention.from_spec(spec)


def _show(result: RetentionResult) -> None:
    from rich.console import Console
    from rich.table import Table

    from desirepath_analytics.behaviour.retention import weighted
    from desirepath_analytics.commands.tables import share
    from desirepath_analytics.figures import value_name

    console = Console()
    groups = (((), result.cohorts), *result.breakdown)
    for values, cohorts in groups:
        title = value_name(values) if values else "Retention"
        table = Table(title=title, title_justify="left")
        table.add_column("cohort")
        table.add_column("people", justify="right")
        for column in result.columns:
            table.add_column(column, justify="right")
        for cohort in cohorts:
            shares = [share(None if c is None else c / cohort.size) for c in cohort.cells]
            table.add_row(cohort.label, f"{cohort.size:,}", *shares)
        table.add_section()
        means = weighted(cohorts, len(result.columns))
        table.add_row("all", f"{sum(c.size for c in cohorts):,}", *(share(e.value) for e in means))
        console.print(table)

"""`desirepath trend`: numbers over time."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from desirepath.errors import QueryError
from desirepath_analytics.commands.asking import add_asking, answer, parse_step
from desirepath_analytics.commands.over_time import add_over_time, over_time_spec

if TYPE_CHECKING:
    from desirepath_analytics.behaviour.trend import Trend, TrendResult

HELP = "numbers over time: how often, how many people, how much"


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("--event", action="append", metavar="EVENT", help="a series, A, B, ...")
    parser.add_argument("--measure", help="count (default), people, sum, average, median, p90, ...")
    parser.add_argument("--of", metavar="PROPERTY", help="what sum, average, ... are of")
    parser.add_argument("--days", type=int, help="for active: people of the last so many days")
    parser.add_argument("--formula", help="arithmetic over the series: 'A / B'")
    parser.add_argument("--by", action="append", metavar="FIELD", help="break down by this")
    parser.add_argument("--top", type=int, help="values with a line of their own (10)")
    parser.add_argument("--compare", action="store_true", help="also the stretch just before")
    parser.add_argument("--cumulative", action="store_true", help="running sums")
    parser.add_argument("--smooth", type=int, metavar="N", help="mean of so many periods")
    add_over_time(parser, "day")
    add_asking(parser)


def run(args: argparse.Namespace) -> int:
    """Ask, and show the answer."""
    from desirepath_analytics.behaviour.trend import Trend

    return answer(args, Trend, lambda _: _trend(args), _show)


def _trend(args: argparse.Namespace) -> Trend:
    from desirepath_analytics.behaviour.trend import Trend

    if not args.event:
        raise QueryError("no series", hint="give --event EVENT, or --spec FILE")
    spec = over_time_spec(args, "formula", "by", "top", "smooth")
    measured = {
        name: getattr(args, name)
        for name in ("measure", "of", "days")
        if getattr(args, name) is not None
    }
    spec["series"] = [_series(parse_step(text), measured) for text in args.event]
    for flag in ("compare", "cumulative"):
        if getattr(args, flag):
            spec[flag] = True
    return Trend.from_spec(spec)


def _series(step: Any, measured: dict[str, Any]) -> dict[str, Any]:
    plain = dict(step) if isinstance(step, dict) else {"event": step}
    return {**measured, **plain}


def _show(result: TrendResult) -> None:
    from rich.console import Console
    from rich.table import Table

    from desirepath_analytics.figures import value_name

    table = Table(title="Trend", title_justify="left")
    table.add_column(result.question.unit)
    for line in result.lines:
        name = f"{line.name}, {value_name(line.by)}" if line.by else line.name
        table.add_column(name, justify="right")
    for place, label in enumerate(result.labels):
        mark = "" if result.complete[place] else " *"
        table.add_row(label + mark, *(_number(line.values[place]) for line in result.lines))
    table.add_section()
    table.add_row("all", *(_number(line.total.value) for line in result.lines))
    Console().print(table)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value == round(value) else f"{value:,.2f}"

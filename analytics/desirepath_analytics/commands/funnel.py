"""`desirepath funnel`: how far people get along a sequence of steps."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from desirepath.errors import QueryError
from desirepath_analytics.commands.asking import add_asking, answer, named, parse_step

if TYPE_CHECKING:
    from rich.table import Table

    from desirepath_analytics.behaviour.funnel import Funnel, FunnelResult, FunnelStep
    from desirepath_collector.warehouse import Warehouse

HELP = "how far people get along a sequence of steps"


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("name", nargs="?", help="a journey of the plan")
    parser.add_argument(
        "--step",
        action="append",
        metavar="EVENT",
        help="a step, in order: EVENT, 'A|B' for any of them, 'EVENT where total>10', or JSON",
    )
    parser.add_argument("--within", help="how long an attempt may take: 7d, 30m, session, all")
    parser.add_argument("--by", action="append", metavar="FIELD", help="break down by this")
    parser.add_argument("--where", help="only events like this: 'total>10 and country in SE,NL'")
    parser.add_argument("--order", help="ordered (default), strict, any")
    parser.add_argument("--count", help="people (default), sessions, attempts, groups")
    parser.add_argument("--entry", help="every beginning (default), or only the first ever")
    parser.add_argument("--attribution", help="whose value --by takes: first, last, all, or n")
    parser.add_argument("--hold", action="append", metavar="PROPERTY", help="the same in all steps")
    parser.add_argument("--exclude", action="append", metavar="EVENT", help="spoils an attempt")
    parser.add_argument("--segment", help="only the people of this segment of the plan")
    parser.add_argument("--over", help="also for each hour, day, week or month of beginning")
    parser.add_argument("--timezone", help="whose days and weeks: Europe/Stockholm (UTC)")
    add_asking(parser)


def run(args: argparse.Namespace) -> int:
    """Ask, and show the answer."""
    from desirepath_analytics.behaviour.funnel import Funnel

    def show(result: FunnelResult) -> None:
        _show(result, args.name or "Funnel")

    return answer(args, Funnel, lambda warehouse: _funnel(args, warehouse), show)


def _funnel(args: argparse.Namespace, warehouse: Warehouse) -> Funnel:
    from desirepath_analytics.behaviour.funnel import Funnel
    from desirepath_analytics.conditions import parse_text, where_spec

    spec: dict[str, Any] = {}
    if args.name is not None:
        if args.step:
            raise QueryError("a journey of the plan has its own steps: give NAME or --step")
        spec = dict(named(warehouse, "journeys", args.name))
    elif args.step:
        spec["steps"] = [parse_step(text) for text in args.step]
    else:
        raise QueryError(
            "no steps", hint="give the NAME of a journey, or --step A --step B, or --spec FILE"
        )
    keys = ("within", "by", "order", "count", "entry", "attribution", "hold", "segment")
    for key in (*keys, "over", "timezone"):
        value = getattr(args, key)
        if value is not None:
            spec[key] = value
    if str(spec.get("attribution", "")).isdigit():
        spec["attribution"] = int(spec["attribution"])
    if args.where is not None:
        spec["where"] = where_spec(parse_text(args.where))
    if args.exclude:
        spec["exclude"] = [{"event": parse_step(text)} for text in args.exclude]
    return Funnel.from_spec(spec)


def _show(result: FunnelResult, title: str) -> None:
    from rich.console import Console

    console = Console()
    console.print(_steps_table(title, result.steps, result.question.count))
    if result.breakdown:
        console.print()
        console.print(_values_table(result))
    if result.periods:
        console.print()
        console.print(_periods_table(result))


def _periods_table(result: FunnelResult) -> Table:
    """A row a period in which attempts began, from the first step to the last."""
    from desirepath_analytics.commands.tables import interval, share, table

    first, last = result.steps[0].name, result.steps[-1].name
    title = f"{first} to {last}, by {result.question.over} (*: the window has not elapsed)"
    shown = table(title, "began in", numbers=("began", "finished", "share", "95 %"))
    for one in result.periods:
        reached = one.steps[-1].from_start
        shown.add_row(
            one.label if one.complete else f"{one.label} *",
            f"{one.steps[0].count:,}",
            f"{one.steps[-1].count:,}",
            share(reached.value),
            interval(reached.low, reached.high),
        )
    return shown


def _steps_table(title: str, steps: tuple[FunnelStep, ...], unit: str) -> Table:
    from desirepath_analytics.commands.tables import interval, seconds, share, table

    columns = (unit, "dropped", "of start", "95 %", "of prior", "median")
    shown = table(title, "", "step", numbers=columns)
    for number, step in enumerate(steps, 1):
        times = step.time_from_previous
        first = number == 1
        shown.add_row(
            str(number),
            step.name,
            f"{step.count:,}",
            "" if first else f"{step.dropped:,}",
            share(step.from_start.value),
            "" if first else interval(step.from_start.low, step.from_start.high),
            "" if first else share(step.from_previous.value),
            seconds(times.median) if times else "",
        )
    return shown


def _values_table(result: FunnelResult) -> Table:
    """A row a value, from the first step to the last; `--json` has every step of each."""
    from desirepath_analytics.commands.tables import interval, share, table
    from desirepath_analytics.figures import value_name

    first, last = result.steps[0].name, result.steps[-1].name
    title = f"{first} to {last}, by {', '.join(map(str, result.question.by))}"
    shown = table(title, "value", numbers=("began", "finished", "share", "95 %"))
    for values, steps in result.breakdown:
        reached = steps[-1].from_start
        shown.add_row(
            value_name(values),
            f"{steps[0].count:,}",
            f"{steps[-1].count:,}",
            share(reached.value),
            interval(reached.low, reached.high),
        )
    return shown

"""`desirepath paths`: which ways people take."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from desirepath.errors import QueryError
from desirepath_analytics.commands.asking import add_asking, answer

if TYPE_CHECKING:
    from desirepath_analytics.behaviour.paths import Paths, PathsResult

HELP = "which ways people take: from an event, to an event, between two"


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("--start", metavar="EVENT", help="paths begin here (a visit's first event)")
    parser.add_argument("--end", metavar="EVENT", help="paths end here")
    parser.add_argument("--steps", type=int, help="how many events of a path are told (5)")
    parser.add_argument("--gap", help="how long nothing happens before a new visit (30m)")
    parser.add_argument("--node", metavar="FIELD", help="show this, such as context.page.path")
    parser.add_argument(
        "--rename",
        action="append",
        metavar="PATTERN=NAME",
        help="one name for all that match: '/item/*=/item'",
    )
    parser.add_argument("--repeats", action="store_true", help="keep repeats in a row")
    parser.add_argument("--top", type=int, help="how many paths are told (50)")
    parser.add_argument("--where", help="only events like this: 'total>10 and country in SE,NL'")
    parser.add_argument("--segment", help="only the people of this segment of the plan")
    add_asking(parser)


def run(args: argparse.Namespace) -> int:
    """Ask, and show the answer."""
    from desirepath_analytics.behaviour.paths import Paths

    return answer(args, Paths, lambda _: _paths(args), _show)


def _paths(args: argparse.Namespace) -> Paths:
    from desirepath_analytics.behaviour.paths import Paths
    from desirepath_analytics.conditions import parse_text, where_spec

    names = ("start", "end", "steps", "gap", "node", "top", "segment")
    spec: dict[str, Any] = {
        name: getattr(args, name) for name in names if getattr(args, name) is not None
    }
    if args.where is not None:
        spec["where"] = where_spec(parse_text(args.where))
    if args.repeats:
        spec["repeats"] = True
    rules = []
    for text in args.rename or ():
        pattern, found, name = text.rpartition("=")
        if not found:
            raise QueryError(f"--rename: {text!r} has no =", hint="write PATTERN=NAME")
        rules.append({"match": pattern, "name": name})
    if rules:
        spec["rename"] = rules
    return Paths.from_spec(spec)


def _show(result: PathsResult) -> None:
    from rich.console import Console
    from rich.table import Table

    from desirepath_analytics.commands.tables import share

    table = Table(title=f"Paths ({result.visits:,} visits)", title_justify="left")
    table.add_column("path")
    table.add_column("visits", justify="right")
    table.add_column("share", justify="right")
    for path in result.paths:
        table.add_row(" > ".join(path.nodes), f"{path.visits:,}", share(path.share.value))
    Console().print(table)

"""`desirepath segment`: how many people a segment has, and who they are."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from desirepath.errors import QueryError
from desirepath_analytics.commands.asking import add_asking, answer, named

if TYPE_CHECKING:
    from desirepath_analytics.behaviour.segment import Segment, SegmentResult
    from desirepath_collector.warehouse import Warehouse

HELP = "how many people a segment has, and who they are"


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("name", nargs="?", help="a segment of the plan")
    parser.add_argument("--rule", metavar="JSON", help="a segment in its plain form")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--size", action="store_true", help="only how many (the default)")
    shown.add_argument("--people", action="store_true", help="the people, one a line")
    add_asking(parser)


def run(args: argparse.Namespace) -> int:
    """Ask, and show the answer."""
    from desirepath_analytics.behaviour.segment import Segment

    def show(result: SegmentResult) -> None:
        if args.people:
            for person in result.people:
                print(person)
        else:
            print(f"{args.name or 'segment'}: {result.size:,} people")

    if args.people and args.json:
        return _people_json(args)
    return answer(args, Segment, lambda warehouse: _segment(args, warehouse), show)


def _people_json(args: argparse.Namespace) -> int:
    from desirepath_analytics.behaviour.segment import Segment
    from desirepath_analytics.commands.asking import asked, open_warehouse

    with open_warehouse(args) as warehouse:
        question, since, until = asked(args, warehouse, Segment, lambda w: _segment(args, w))
        result = question.run(warehouse, since, until)
        print(json.dumps({**result.to_dict(), "people": list(result.frame["person_id"])}))
    return 0


def _segment(args: argparse.Namespace, warehouse: Warehouse) -> Segment:
    from desirepath_analytics.behaviour.segment import Segment

    if args.name is not None:
        return Segment.from_spec(named(warehouse, "segments", args.name))
    if args.rule is None:
        raise QueryError(
            "no segment", hint="give the NAME of a segment of the plan, --rule JSON or --spec FILE"
        )
    try:
        return Segment.from_spec(json.loads(args.rule))
    except json.JSONDecodeError as error:
        raise QueryError(f"--rule: not JSON: {error}") from error

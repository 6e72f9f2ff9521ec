"""What all commands that ask a question share: arguments, warehouse, output."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from desirepath.errors import InputError, QueryError

if TYPE_CHECKING:
    from desirepath_analytics.question import Question, Result
    from desirepath_collector.warehouse import Warehouse

__all__ = ["add_asking", "answer", "named", "open_warehouse", "parse_step", "read_spec_file"]


def add_asking(parser: argparse.ArgumentParser) -> None:
    """The arguments of every question: where, when, and how to show the answer."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--data", metavar="FOLDER", default="./data", help="data folder (./data)")
    where.add_argument("--url", help="ClickHouse instead: http://user:password@host:8123/database")
    parser.add_argument("--since", help="first moment: 2026-01-31, an ISO time, or 30d ago")
    parser.add_argument("--until", help="moment before which events count, as --since")
    parser.add_argument("--spec", metavar="FILE", help="read the question from a JSON file")
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")
    parser.add_argument("--sql", action="store_true", help="print the SQL and do not run it")
    parser.add_argument("--html", metavar="FILE", help="write the picture as a web page")
    parser.add_argument("--png", metavar="FILE", help="write the picture as PNG (needs kaleido)")


def open_warehouse(args: argparse.Namespace) -> Warehouse:
    """The warehouse that `--data` or `--url` names."""
    from desirepath_collector.warehouse import connect

    return connect(args.url or args.data)


def read_spec_file(path: str) -> Any:
    """The JSON of a question; InputError with the place of a mistake."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not JSON: {error}") from error


def asked(
    args: argparse.Namespace,
    warehouse: Warehouse,
    kind: type[Question],
    from_arguments: Callable[[Warehouse], Question],
) -> tuple[Question, Any, Any]:
    """The question with its period: from `--spec`, else from the other arguments."""
    if args.spec is None:
        return from_arguments(warehouse), args.since, args.until
    from desirepath_analytics.question import read_question

    spec = read_spec_file(args.spec)
    if not isinstance(spec, dict):
        raise QueryError(f"{args.spec}: a question is an object")
    question, period = read_question(spec if kind.kind in spec else {kind.kind: spec})
    return question, args.since or period.since, args.until or period.until


def answer(
    args: argparse.Namespace,
    kind: type[Question],
    from_arguments: Callable[[Warehouse], Question],
    show: Callable[[Any], None],
) -> int:
    """Ask, and show the answer the way the arguments want it."""
    with open_warehouse(args) as warehouse:
        question, since, until = asked(args, warehouse, kind, from_arguments)
        if args.sql:
            from desirepath_analytics.catalog import WarehouseCatalog

            statement = question.compile(WarehouseCatalog(warehouse), since, until)
            print(statement.text)
            return 0
        result = question.run(warehouse, since, until)
        write_pictures(args, result)
        if args.json:
            print(result.to_json())
        else:
            show(result)
            print_notes(result.notes)
    return 0


def write_pictures(args: argparse.Namespace, result: Result) -> None:
    """`--html` and `--png`; a question that the plan names has its name for a title."""
    if not (args.html or args.png):
        return
    figure = result.figure()
    if getattr(args, "name", None):
        figure.update_layout(title=args.name)
    if args.html:
        page = figure.to_html(include_plotlyjs=True, default_height="95vh")
        try:
            Path(args.html).write_text(page, encoding="utf-8")
        except OSError as error:
            raise InputError(f"{args.html}: {error.strerror}") from error
    if args.png:
        try:
            figure.write_image(args.png)
        except (ImportError, ValueError, RuntimeError) as error:
            raise InputError(
                f"{args.png}: the picture cannot be written: {error}",
                hint="pip install kaleido, or use --html",
            ) from error


def print_notes(notes: Sequence[str]) -> None:
    """What to be careful about, below a table."""
    from rich.console import Console

    console = Console()
    for note in notes:
        console.print(f"[dim]· {note}[/dim]", highlight=False)


def named(warehouse: Warehouse, section: str, name: str) -> Any:
    """The spec of a journey or segment of the live plan; QueryError with the nearest name."""
    from desirepath_analytics.names import did_you_mean

    plan = warehouse.plan()
    if plan is None:
        raise QueryError(
            f"no {section[:-1]} {name!r}: no plan was published to this warehouse",
            hint="start the server with --plan, or give the question's own arguments",
        )
    sections = getattr(plan, section)
    if name not in sections:
        hint = did_you_mean(name, sections) or f"the plan has no {section}"
        raise QueryError(f"plan {plan.name!r} has no {section[:-1]} {name!r}", hint=hint)
    return sections[name].spec


def parse_step(text: str) -> Any:
    """A step of the command line: `EVENT`, `A|B` (any of), `EVENT where total>10`, or JSON.

    `\\|` is a bar inside a name.
    """
    from desirepath_analytics.conditions import parse_text, where_spec

    text = text.strip()
    if text.startswith(("{", "[")):
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise QueryError(f"--step: not JSON: {error}") from error
    name, found, condition = text.partition(" where ")
    names = [part.replace("\x00", "|").strip() for part in name.replace("\\|", "\x00").split("|")]
    if not all(names):
        raise QueryError(f"--step: {text!r} lacks an event's name")
    event: Any = names[0] if len(names) == 1 else names
    if not found:
        return event
    return {"event": event, "where": where_spec(parse_text(condition, "--step"))}

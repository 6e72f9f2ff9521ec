"""`desirepath predict`: train a propensity model, score everybody with it, show how good it is."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from desirepath.errors import InputError, QueryError

if TYPE_CHECKING:
    from desirepath_analytics.predict import Propensity
    from desirepath_collector.warehouse import Warehouse

HELP = "predict who will do an event within a horizon: train, score, report"

_MODELS: Final = "models"
_SHOWN_SCORES: Final = 20
_SPEC_OPTIONS: Final = (
    "outcome",
    "horizon",
    "where",
    "population",
    "lookback",
    "features",
    "events",
)
_JSON_OPTIONS: Final = ("where", "population")
_LIST_OPTIONS: Final = ("features", "events")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="train | score | report")
    train = actions.add_parser("train", help="fit, calibrate and judge a model, and save it")
    _common(train, name="a model of the plan, or the name to save under", url=True)
    train.add_argument("--outcome", metavar="EVENT", help="the event to predict")
    train.add_argument("--horizon", metavar="TIME", help="how far ahead, like 14d")
    train.add_argument("--where", metavar="JSON", help='only such outcomes: {"total": {">": 50}}')
    train.add_argument(
        "--population", metavar="JSON", help='whom to ask about: {"active_within": "30d"}'
    )
    train.add_argument("--lookback", metavar="TIME", help="how far back counts reach (90d)")
    train.add_argument("--features", metavar="A,B", help="families of features (all)")
    train.add_argument("--events", metavar="A,B", help="events to count (the most widespread)")
    train.add_argument("--spec", metavar="FILE", help="read the question from a JSON file")
    train.add_argument("--since", metavar="TIME", help="use history from then on")
    train.add_argument("--until", metavar="TIME", help="use history until then")
    train.add_argument("--seed", type=int, default=0, help="of everything random (0)")
    _picture(train)

    score = actions.add_parser("score", help="each person's probability, the likeliest first")
    _common(score, name="a trained model", url=True)
    score.add_argument("--at", metavar="TIME", help="as of then (default: the last event)")
    score.add_argument("--top", type=int, metavar="N", help="the first N persons only")
    score.add_argument("--out", type=Path, metavar="FILE", help="write all to a .csv or .json file")
    score.add_argument("--trained", metavar="FOLDER", help="another training than the latest")

    report = actions.add_parser("report", help="how good a trained model is")
    _common(report, name="a trained model", url=False)
    report.add_argument("--trained", metavar="FOLDER", help="another training than the latest")
    _picture(report)


def run(args: argparse.Namespace) -> int:
    """Do what `action` says."""
    return {"train": _train, "score": _score, "report": _report}[args.action](args)


def _common(parser: argparse.ArgumentParser, *, name: str, url: bool) -> None:
    parser.add_argument("name", metavar="NAME", help=name)
    parser.add_argument(
        "--data", type=Path, default=Path("data"), help="data folder; models live there (./data)"
    )
    if url:
        parser.add_argument("--url", help="a ClickHouse server to read from instead")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _picture(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the picture as a web page")


def _train(args: argparse.Namespace) -> int:
    from desirepath_analytics.commands._predict_text import print_report
    from desirepath_analytics.commands.asking import open_warehouse
    from desirepath_analytics.predict import save, train
    from desirepath_analytics.predict.store import command, model_folder

    # A name that cannot be saved is refused before the work, not after it.
    model_folder(args.data / _MODELS, args.name)
    with open_warehouse(args) as warehouse:
        spec = _spec(args, warehouse)
        with _busy(f"Training {args.name} ..."):
            model = train(
                spec,
                warehouse,
                name=args.name,
                since=args.since,
                until=args.until,
                seed=args.seed,
            )
    place = save(model, args.data / _MODELS)
    _write_picture(args, model.report)
    if args.json:
        print(model.report.to_json())
    else:
        print_report(model.report)
        print(f"Saved as {place}. Next: {command('score', args.data / _MODELS, args.name)}")
    return 0


def _score(args: argparse.Namespace) -> int:
    from desirepath_analytics.commands._predict_text import print_scores
    from desirepath_analytics.commands.asking import open_warehouse
    from desirepath_analytics.predict import load

    if args.top is not None and args.top < 1:
        raise QueryError(f"--top: {args.top} is not a number of persons")
    if args.out is not None and args.out.suffix not in (".csv", ".json"):
        raise QueryError(f"--out: {args.out} ends neither in .csv nor in .json")
    model = load(args.data / _MODELS, args.name, args.trained)
    with open_warehouse(args) as warehouse, _busy("Scoring ..."):
        scores = model.score(warehouse, at=args.at)
    chosen = scores.top(args.top)
    if args.out is not None:
        text = chosen.to_csv() if args.out.suffix == ".csv" else chosen.to_json()
        _write(args.out, text)
    if args.json:
        print(chosen.to_json())
    else:
        shown = len(chosen.rows) if args.top is not None else _SHOWN_SCORES
        print_scores(chosen, shown, total=len(scores.rows))
        if args.out is not None:
            print(f"{len(chosen.rows):,} persons written to {args.out}.")
    return 0


def _report(args: argparse.Namespace) -> int:
    from desirepath_analytics.commands._predict_text import print_report
    from desirepath_analytics.predict import load_card

    report = load_card(args.data / _MODELS, args.name, args.trained).report
    _write_picture(args, report)
    if args.json:
        print(report.to_json())
    else:
        print_report(report)
    return 0


def _spec(args: argparse.Namespace, warehouse: Warehouse) -> Propensity:
    """The plan's model, a file's or the options' question; options change what the others say."""
    from desirepath_analytics.commands.asking import read_spec_file
    from desirepath_analytics.predict import Propensity

    given = {name: getattr(args, name) for name in _SPEC_OPTIONS}
    options: dict[str, Any] = {}
    for name, value in given.items():
        if value is None:
            continue
        if name in _JSON_OPTIONS:
            options[name] = _json(value, f"--{name}")
        else:
            options[name] = value.split(",") if name in _LIST_OPTIONS else value
    if args.spec is not None:
        base = read_spec_file(args.spec)
        if not isinstance(base, dict):
            raise QueryError(f"{args.spec}: a question is an object")
        # The form of POST /api/query wraps the question in its name.
        return Propensity.from_spec({**base.get("propensity", base), **options})
    plan = warehouse.plan()
    section = plan.models.get(args.name) if plan is not None else None
    if section is not None:
        return Propensity.from_spec({**section.spec, **options})
    if "outcome" not in options:
        known = ", ".join(sorted(plan.models)) if plan is not None else ""
        raise QueryError(
            f"the plan has no model {args.name!r}, and no --outcome is given",
            hint=f"the plan has: {known}" if known else "add --outcome EVENT --horizon 14d",
        )
    return Propensity.from_spec(options)


def _json(text: str, field: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise QueryError(f"{field}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise QueryError(f"{field}: a JSON object is needed")
    return value


@contextmanager
def _busy(text: str) -> Iterator[None]:
    """A spinner on a terminal; nothing in a pipe."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield


def _write_picture(args: argparse.Namespace, report: Any) -> None:
    if args.html is not None:
        # The whole of plotly goes into the file: it opens without a network.
        _write(args.html, report.figure().to_html(include_plotlyjs=True, full_html=True))


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error

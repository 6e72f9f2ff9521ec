"""`desirepath send FILE`: replay a CSV or JSON Lines file through the SDK's transport.

Returns when every line was answered by the collector. A line that cannot be sent is reported with
its number and the rest goes on; the exit code then is 1. Nothing is lost: message ids are made
from the lines, so after any failure the same command can be run again and stores each line once.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from desirepath.errors import DeliveryError, DesirepathError, InputError

if TYPE_CHECKING:
    from datetime import tzinfo

    from desirepath._replay import Outcome
    from desirepath._rows import RowFile

__all__ = ["HELP", "configure", "run"]

HELP = "send the events of a CSV or JSON Lines file to a collector"

_SHOWN_LINES: Final = 20
_SHOWN_REASONS: Final = 10
_BAR_CELLS: Final = 30
_REFRESH_S: Final = 0.1


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add = parser.add_argument
    add("file", metavar="FILE", help=".csv, .tsv, .jsonl, each also .gz; - is standard input")
    add("--endpoint", default="http://127.0.0.1:8000", help="the collector (%(default)s)")
    add("--write-key", default="dev", help="(%(default)s)")
    add(
        "--map",
        action="append",
        default=[],
        metavar="FIELD=COLUMN,...",
        help="which column (or dotted path of a JSON row) holds which field: user_id, "
        "anonymous_id, event, timestamp, type, session_id, message_id, properties.NAME, "
        "context.NAME, ...; other columns become properties",
    )
    add("--event", metavar="NAME", help="the name of all events, where no column holds it")
    add("--format", choices=["csv", "jsonl"], help="instead of what the file's name says")
    add("--timezone", default="UTC", help="of times that name none (%(default)s)")
    add("--time-format", metavar="FORMAT", help="as of strptime, e.g. '%%d.%%m.%%Y %%H:%%M'")
    add("--infer-types", action="store_true", help="CSV cells like 7, 1.5, true are no text")
    add("--plan", metavar="FILE", help="check here against a plan, and take cells' types from it")
    add("--dry-run", action="store_true", help="read and check everything, send nothing")
    add("--json", action="store_true", help="answer with one JSON object")


def run(args: argparse.Namespace) -> int:
    """Send the file; 0 when every line was taken."""
    try:
        return _run(args)
    except DesirepathError as error:
        if not args.json:
            raise
        _print_json({"error": {"message": error.message, "hint": error.hint}})
        return 1


def _run(args: argparse.Namespace) -> int:
    from desirepath._replay import Replay
    from desirepath._rows import RowFile
    from desirepath._shape import Shape, parse_map
    from desirepath.plan import Plan

    mapping = parse_map(args.map)
    zone = _zone(args.timezone)
    plan = Plan.load(args.plan) if args.plan else None
    started = time.monotonic()
    with contextlib.closing(RowFile(args.file, file_format=args.format)) as file:
        shape = Shape(
            file.name,
            mapping,
            columns=file.columns,
            event=args.event,
            zone=zone,
            modified=file.modified,
            time_format=args.time_format,
            infer_types=args.infer_types,
            plan=plan,
        )
        replay = Replay(file, shape, plan=plan)
        steps = replay.check() if args.dry_run else replay.send(args.endpoint, args.write_key)
        try:
            for _ in _progress(file, steps, args):
                pass
        except DeliveryError as error:
            raise _explained(error, replay.outcome) from None
    _report(args, replay.outcome, time.monotonic() - started, shape.untimed)
    if shape.untimed and not args.json:
        print(_of_untimed(shape.untimed, file), file=sys.stderr)
    return 1 if replay.outcome.broken else 0


def _zone(name: str) -> tzinfo:
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise InputError(
            f"there is no time zone {name!r}", hint="for example UTC or Europe/Stockholm"
        ) from None


def _explained(error: DeliveryError, outcome: Outcome) -> DeliveryError:
    done = outcome.accepted + outcome.quarantined
    stored = f"{done:,} events were stored before" if done else "nothing was stored"
    again = "run the same command again: what is stored already is not stored twice"
    return DeliveryError(
        f"{error.message}; {stored}", hint="; ".join(filter(None, (error.hint, again)))
    )


def _of_untimed(rows: int, file: RowFile) -> str:
    moment = f"{file.modified:%Y-%m-%d %H:%M:%S} UTC"
    words = f"desirepath: rows without a time: {rows:,}; they get"
    if file.path == "-":
        return f"{words} that of this start, {moment}: sent again they may be stored twice"
    return f"{words} that of the file's last change, {moment}"


def _report(args: argparse.Namespace, outcome: Outcome, seconds: float, untimed: int) -> None:
    reasons = [
        {"code": code, "pointer": pointer, "events": events}
        for (code, pointer), events in outcome.reasons.most_common()
    ]
    if args.json:
        _print_json(
            {
                "lines": outcome.lines,
                "events": dict(outcome.events.most_common()),
                "accepted": outcome.accepted,
                "quarantined": outcome.quarantined,
                "with_violations": outcome.reserved,
                "broken": len(outcome.broken),
                "broken_lines": [
                    {"line": line, "reason": reason} for line, reason in outcome.broken
                ],
                "reasons": reasons,
                "without_time": untimed,
                "dry_run": args.dry_run,
                "seconds": round(seconds, 3),
            }
        )
        return
    if args.dry_run:
        print(f"{outcome.lines:,} lines read, nothing sent")
        for name, count in outcome.events.most_common(_SHOWN_LINES):
            print(f"  {count:>10,}  {name}")
    else:
        rate = f"{outcome.accepted / seconds:,.0f} a second" if seconds > 0 else ""
        print(f"{outcome.accepted:,} events accepted in {seconds:.1f} s ({rate})")
        if outcome.quarantined:
            print(f"{outcome.quarantined:,} set aside by the collector: desirepath quarantine ls")
    for (code, pointer), events in outcome.reasons.most_common(_SHOWN_REASONS):
        print(f"  {events:>10,}  {code} {pointer}")
    if outcome.broken:
        print(f"desirepath: {len(outcome.broken):,} lines could not be sent:", file=sys.stderr)
        for line, reason in outcome.broken[:_SHOWN_LINES]:
            print(f"  line {line}: {reason}", file=sys.stderr)
        if len(outcome.broken) > _SHOWN_LINES:
            print("  ... all of them with --json", file=sys.stderr)


def _print_json(value: Any) -> None:
    import json

    print(json.dumps(value, ensure_ascii=False))


def _progress(file: Any, steps: Iterator[int], args: argparse.Namespace) -> Iterator[int]:
    """Show how much of the file has been read, on a terminal only."""
    if args.json or not sys.stderr.isatty():
        yield from steps
        return
    try:
        from rich.console import Console
        from rich.progress import Progress
    except ImportError:
        yield from _plain_progress(file, steps)
        return
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(file.name, total=file.size_bytes)
        for step in steps:
            bar.update(task, completed=file.read_bytes, description=f"{step:,} events")
            yield step


def _plain_progress(file: Any, steps: Iterator[int]) -> Iterator[int]:
    shown_s = 0.0
    for step in steps:
        now = time.monotonic()
        if now - shown_s >= _REFRESH_S:
            shown_s = now
            done = file.read_bytes / file.size_bytes if file.size_bytes else 0.0
            cells = "#" * round(done * _BAR_CELLS)
            print(f"\r{cells:<{_BAR_CELLS}} {done:4.0%} {step:,} events", end="", file=sys.stderr)
        yield step
    print("\r" + " " * (_BAR_CELLS + 30) + "\r", end="", file=sys.stderr)

"""`desirepath quarantine`: what broke its plan, and how it comes back."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from desirepath_collector.quarantine import Repairs, Replay, Selection

__all__ = ["HELP", "configure", "run"]

HELP = "look at events that broke their plan, mend them, replay them"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("ls", help="how many, by event and reason")
    listing.add_argument("--limit", type=int, default=50, help="lines to show (default 50)")
    single = actions.add_parser("show", help="one event with its reasons and payload")
    single.add_argument("message_id", metavar="MESSAGE_ID")
    again = actions.add_parser("replay", help="repair, check by the live plan, insert what passes")
    again.add_argument("--event", help="only events of this name")
    again.add_argument("--code", help="only events with a violation of this code")
    again.add_argument("--id", action="append", default=[], dest="ids", help="only this message id")
    again.add_argument("--since", metavar="TIME", help="only what was received since")
    for name, shape, text in (
        ("set", "NAME=VALUE", "give a property this value (JSON, or text)"),
        ("default", "NAME=VALUE", "the same where it is missing"),
        ("rename", "OLD=NEW", "rename a property"),
        ("cast", "NAME=TYPE", "make it string, number, integer or boolean"),
    ):
        again.add_argument(f"--{name}", metavar=shape, action="append", default=[], help=text)
    again.add_argument("--dry-run", action="store_true", help="only tell what would happen")
    for sub in (listing, single, again):
        sub.add_argument("--data", metavar="FOLDER", default="./data", help="default ./data")
        sub.add_argument("--url", help="a ClickHouse server instead of the one in the data folder")
        sub.add_argument("--database", default="desirepath", help="ClickHouse database")
        sub.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Do what was asked; the exit code. A replay that leaves broken events exits with 1."""
    from desirepath_collector import quarantine
    from desirepath_collector.warehouse import connect

    if args.action == "replay":
        done = _replay(args)
        _print(args, _plain(done), _told(done))
        return 1 if done.refused else 0
    with connect(args.url or args.data, args.database) as warehouse:
        if args.action == "ls":
            found = quarantine.summary(warehouse, args.limit)
            _print(args, found, None if found else "The quarantine is empty.")
        else:
            _print(args, quarantine.show(warehouse, args.message_id), None)
    return 0


def _replay(args: argparse.Namespace) -> Replay:
    import getpass

    from desirepath_collector.quarantine import Selection

    selection = Selection(event=args.event, code=args.code, ids=tuple(args.ids), since=args.since)
    repairs = _repairs(args)
    try:
        by = getpass.getuser()
    except (KeyError, OSError):
        by = ""
    if args.url is None and (done := _through_server(args, selection, repairs, by)) is not None:
        return done
    return _here(args, selection, repairs, by)


def _repairs(args: argparse.Namespace) -> Repairs:
    from desirepath.errors import SettingsError
    from desirepath_collector.quarantine import Repairs

    found: dict[str, dict[str, Any]] = {}
    for option in ("rename", "cast", "default", "set"):
        pairs: dict[str, Any] = {}
        for pair in getattr(args, option):
            name, equals, value = pair.partition("=")
            if not (name and equals):
                raise SettingsError(f"--{option} {pair!r} is not NAME=VALUE")
            pairs[name] = _value(value) if option in ("default", "set") else value
        found[option] = pairs
    try:
        return Repairs(**found)
    except ValueError as error:
        raise SettingsError(f"--cast: {error}") from None


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _through_server(
    args: argparse.Namespace, selection: Selection, repairs: Repairs, by: str
) -> Replay | None:
    """Have the server do it that holds the folder; None if there is none."""
    import msgspec
    import urllib3

    from desirepath.errors import DeliveryError
    from desirepath_collector.quarantine import Replay
    from desirepath_collector.warehouse import read_server_file

    server = read_server_file(args.data)
    if server is None:
        return None
    body = {"selection": selection, "repairs": repairs, "by": by, "dry_run": args.dry_run}
    with urllib3.PoolManager(retries=False) as http:
        try:
            answer = http.request(
                "POST",
                f"{server.http}/api/quarantine/replay",
                body=msgspec.json.encode(body),
                headers={
                    "Authorization": f"Bearer {server.password}",
                    "Content-Type": "application/json",
                },
                timeout=urllib3.Timeout(connect=5, read=600),
            )
        except urllib3.exceptions.HTTPError as error:
            raise DeliveryError(f"the server at {server.http} does not answer: {error}") from None
    if answer.status != 200:
        found = msgspec.json.decode(answer.data)["error"]
        raise DeliveryError(found["message"], hint=found.get("hint"))
    return msgspec.json.decode(answer.data, type=Replay)


def _here(args: argparse.Namespace, selection: Selection, repairs: Repairs, by: str) -> Replay:
    from pathlib import Path

    from desirepath_collector.admit import Admitter
    from desirepath_collector.plans import Plans, pii_key
    from desirepath_collector.quarantine import replay
    from desirepath_collector.settings import load_settings
    from desirepath_collector.warehouse import Warehouse

    settings = load_settings({"data": args.data})
    with Warehouse.open(args.url or args.data, args.database) as warehouse:
        plans = Plans(pii_key(settings.pii_key, Path(args.data)))
        if (live := warehouse.plan()) is not None:
            plans.go_live(live)
        admitter = Admitter(plans, settings)
        return replay(warehouse, admitter, selection, repairs, by=by, dry_run=args.dry_run)


def _told(done: Replay) -> str:
    verb = "would pass" if done.dry_run else "passed and are events now"
    lines = [f"{done.seen} looked at: {done.passed} {verb}, {done.refused} are still broken."]
    for reason, count in done.reasons.items():
        lines.append(f"{count:>8}  {reason}")
        if reason in done.examples:
            lines.append(f"{'':>10}{done.examples[reason]}")
    return "\n".join(lines)


def _plain(value: Any) -> Any:
    import msgspec

    return msgspec.to_builtins(value)


def _print(args: argparse.Namespace, value: Any, text: str | None) -> None:
    if args.json:
        print(json.dumps(value, default=str))
    elif text is not None:
        print(text)
    elif isinstance(value, list):
        _print_table(value)
    else:
        print(json.dumps(value, default=str, indent=2, ensure_ascii=False))


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("events", justify="right", no_wrap=True)
    table.add_column("event", overflow="fold")
    # An id is of use only whole: a UUID has 36 characters.
    table.add_column("reason, and an id to show", overflow="fold", min_width=36)
    table.add_column("last", no_wrap=True)
    for row in rows:
        reason = f"{row['code']} {row['pointer']}\n{row['example']}"
        cells = (str(row["events"]), row["event"] or row["kind"], reason)
        table.add_row(*map(Text, cells), Text(f"{row['last']:%Y-%m-%d %H:%M:%S}"))
    Console().print(table)

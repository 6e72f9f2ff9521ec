"""`desirepath live`: what arrives at a running collector now, line by line."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Iterator
from typing import Any

__all__ = ["HELP", "configure", "run"]

HELP = "watch events arrive, with their verdicts"

_MARKS = {
    "accepted": ("ok", 32),
    "violations": ("noted", 33),
    "quarantined": ("bad", 31),
}
"""A verdict's word, and its colour in a terminal (ANSI)."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--data", metavar="FOLDER", default="./data", help="default ./data")
    parser.add_argument("--endpoint", metavar="URL", help="the collector (default: that of --data)")
    parser.add_argument("--token", help="a read token (default: DESIREPATH_READ_TOKEN, else dev)")
    parser.add_argument("--event", help="only events of this name")
    parser.add_argument("--count", type=int, help="stop after so many events")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def run(args: argparse.Namespace) -> int:
    """Watch until Ctrl-C, the count, or the collector's end; the exit code."""
    import os

    endpoint, token = args.endpoint, args.token or os.environ.get("DESIREPATH_READ_TOKEN")
    if endpoint is None:
        from desirepath.errors import DeliveryError
        from desirepath_collector.warehouse import read_server_file

        server = read_server_file(args.data)
        if server is None:
            raise DeliveryError(
                f"no server holds {args.data}", hint="give --endpoint, or start `desirepath serve`"
            )
        endpoint, token = server.http, token or server.password
    events = _events(endpoint, token or "dev", args.event)
    for event in itertools.islice(events, args.count):
        print(json.dumps(event) if args.json else _line(event), flush=True)
    return 0


def _events(endpoint: str, token: str, name: str | None) -> Iterator[dict[str, Any]]:
    import urllib3

    from desirepath.errors import DeliveryError

    with urllib3.PoolManager(retries=False) as http:
        try:
            answer = http.request(
                "GET",
                f"{endpoint.rstrip('/')}/api/live",
                fields={"event": name} if name else None,
                headers={"Authorization": f"Bearer {token}"},
                preload_content=False,
                timeout=urllib3.Timeout(connect=5, read=60),
            )
            if answer.status == 401:
                raise DeliveryError("the read token is not known there", hint="give --token")
            if answer.status != 200:
                raise DeliveryError(f"{endpoint} answered {answer.status}")
            for line in _lines(answer):
                if line.startswith(b"data: "):
                    event = json.loads(line[6:])
                    if "verdict" in event:
                        yield event
                    else:
                        print(f"... {event['events']} missed", file=sys.stderr)
        except urllib3.exceptions.HTTPError as error:
            raise DeliveryError(f"{endpoint} cannot be reached: {error}") from None


def _lines(answer: Any) -> Iterator[bytes]:
    rest = b""
    while piece := answer.read1(65536):
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines


def _line(event: dict[str, Any]) -> str:
    from datetime import UTC, datetime

    mark, colour = _MARKS[event["verdict"]]
    shown = f"{mark:<5}"
    if sys.stdout.isatty():
        shown = f"\x1b[{colour}m{shown}\x1b[0m"
    at = datetime.fromtimestamp(event["received_at"] / 1000, UTC).strftime("%H:%M:%S")
    who = event["user_id"] or event["anonymous_id"] or "-"
    what = event["event"] or event["kind"]
    lines = [f"{at} {shown} {_printable(f'{what:<28} {who:<20}')} {event['source']}"]
    lines += [
        _printable(f"{'':15}{one['code']} {one['pointer'] or '/'} {one['expected']}".rstrip())
        for one in event["violations"]
    ]
    return "\n".join(lines)


def _printable(text: str) -> str:
    """Without what would steer a terminal; events come from anybody."""
    return "".join(char if char.isprintable() else "?" for char in text)

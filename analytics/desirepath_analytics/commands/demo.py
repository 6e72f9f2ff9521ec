"""`desirepath demo`: the whole loop on one machine, with a sample shop for an app.

It starts `desirepath serve` as a process of its own, lets the sample shop (`examples/shop`) live
through half a year of simulated visitors whose events go through the SDK over real HTTP, then asks
its questions with the very commands a person would type, prints them with their answers, and
goes on serving until Ctrl-C. A folder that already holds events is served as it is.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from desirepath.errors import DesirepathError
from desirepath.event import utc_now
from desirepath.resources import shipped, starter_plan

if TYPE_CHECKING:
    from rich.console import Console

    from desirepath_collector.warehouse import ServerFile, Warehouse

HELP = "start a collector and a sample shop; show a funnel, a segment and a prediction"

STARTING_S: Final = 60.0
STOPPING_S: Final = 30.0
LOADING_S: Final = 120.0

_PACKAGE: Final = "desirepath_analytics"

_QUESTIONS: Final = (
    ("Where do buyers drop off?", ("funnel", "purchase")),
    ("And on which device?", ("funnel", "purchase", "--by", "context.device.type")),
    ("Who are the big spenders?", ("segment", "big_spenders", "--size")),
    ("Who will buy in the next two weeks?", ("predict", "train", "will_buy")),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    number: dict[str, Any] = {"type": int, "metavar": "N"}
    parser.add_argument(
        "--data", type=Path, default=Path("data"), metavar="FOLDER", help="data folder (./data)"
    )
    parser.add_argument("--port", **number, default=8000, help="port of the collector (8000)")
    parser.add_argument(
        "--clickhouse-port", **number, default=8123, help="port for ClickHouse clients (8123)"
    )
    parser.add_argument("--visitors", **number, default=3000, help="visitors to simulate (3000)")
    parser.add_argument("--seed", **number, default=7, help="seed of the simulation (7)")
    parser.add_argument(
        "--exit", action="store_true", help="stop after the answers instead of serving on"
    )
    parser.add_argument("--json", action="store_true", help="print the answers as JSON lines")


def run(args: argparse.Namespace) -> int:
    """Serve, simulate, answer, serve on."""
    from rich.console import Console

    console = Console(stderr=args.json, highlight=False)
    # SIGTERM ends the demo like Ctrl-C does: the server below it is stopped cleanly.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with _server(args, console) as server:
        try:
            _fill(args, console)
            _answer(args, console)
            if args.exit:
                return 0
            _where_next(args, console)
            return server.wait()
        except KeyboardInterrupt:
            console.print("\nStopping.")
            return 0


@contextlib.contextmanager
def _server(args: argparse.Namespace, console: Console) -> Iterator[subprocess.Popen[bytes]]:
    """`desirepath serve` in a session of its own, so that Ctrl-C reaches it through us alone."""
    words = [sys.executable, "-m", "desirepath", "serve"]
    words += ["--data", str(args.data), "--plan", str(starter_plan("shop"))]
    words += ["--port", str(args.port), "--clickhouse-port", str(args.clickhouse_port)]
    console.print(f"[dim]$ desirepath {' '.join(words[3:])}[/dim]")
    process = subprocess.Popen(words, start_new_session=True, stdout=sys.stderr)
    try:
        _wait_until_serving(process, args.data)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOPPING_S)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait_until_serving(process: subprocess.Popen[bytes], data: Path) -> None:
    """Return once this very process serves; the folder itself is left to it alone."""
    import urllib3

    from desirepath_collector.warehouse import read_server_file

    deadline = time.monotonic() + STARTING_S
    with urllib3.PoolManager(retries=False, timeout=5) as http:
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise DesirepathError("the collector did not start; its message stands above")
            server = read_server_file(data)
            if server is not None and server.pid == process.pid:
                with contextlib.suppress(urllib3.exceptions.HTTPError):
                    if http.request("GET", f"{server.http}/readyz").status == 200:
                        return
            time.sleep(0.1)
    raise DesirepathError(f"the collector was not ready after {STARTING_S:.0f} s")


def _fill(args: argparse.Namespace, console: Console) -> None:
    """Let the sample shop live, unless the folder holds events already.

    What is simulated is noted in the folder before the first event leaves, so that a demo that was
    cut off can be taken up again: the same events with the same ids, each stored once.
    """
    from desirepath_collector.warehouse import connect

    note = args.data / "demo.json"
    with connect(args.data) as warehouse:
        held = _rows(warehouse)
        world = json.loads(note.read_text()) if note.exists() else None
        if held and (world is None or world["complete"]):
            console.print(f"The folder {args.data} holds {held:,} events already; none are sent.")
            return
        if world is None:
            # The last whole hour: whatever the clock says, all that is simulated lies in the past.
            end = utc_now().replace(minute=0, second=0, microsecond=0)
            world = {"seed": args.seed, "visitors": args.visitors, "end": end.isoformat()}
            note.write_text(json.dumps({**world, "complete": False}))
        elif held:
            console.print(f"Taking up a demo that was cut off after {held:,} events.")
        words = [str(shipped("examples/shop", package=_PACKAGE))]
        words += ["--endpoint", _server_file(args.data).http, "--end", world["end"]]
        words += ["--seed", str(world["seed"]), "--visitors", str(world["visitors"])]
        shop = subprocess.run([sys.executable, *words], stdout=subprocess.PIPE, check=False)
        if shop.returncode:
            raise DesirepathError("the sample shop failed; its message stands above")
        sent = int(json.loads(shop.stdout)["events"])
        with console.status("Waiting until ClickHouse holds every event ..."):
            _wait_until_loaded(warehouse, sent)
        note.write_text(json.dumps({**world, "complete": True}))
        console.print(f"{sent:,} events are on disk and in ClickHouse.")


def _rows(warehouse: Warehouse) -> int:
    """How many events there are, those in quarantine among them."""
    from desirepath_collector.warehouse import Sql

    text = (
        "SELECT uniqExact(message_id) AS n FROM"
        " (SELECT message_id FROM events UNION ALL SELECT message_id FROM quarantine)"
    )
    return int(warehouse.query(Sql(text))["n"][0].as_py())


def _wait_until_loaded(warehouse: Warehouse, sent: int) -> None:
    deadline = time.monotonic() + LOADING_S
    while _rows(warehouse) < sent:
        if time.monotonic() > deadline:
            raise DesirepathError(
                f"only {_rows(warehouse):,} of {sent:,} events were loaded in {LOADING_S:.0f} s",
                hint="what is missing waits in the spool; the server's log tells why",
            )
        time.sleep(0.1)


def _answer(args: argparse.Namespace, console: Console) -> None:
    """Ask each question with the command that a person would type."""
    from desirepath.cli import main

    for question, words in _QUESTIONS:
        shown = ["--data", str(args.data)] if args.data != Path("data") else []
        console.print(f"\n[bold]{question}[/bold]")
        console.print(f"[dim]$ desirepath {' '.join([*words, *shown])}[/dim]")
        as_json = ["--json"] if args.json else []
        code = main([*words, "--data", str(args.data), *as_json])
        if code:
            raise DesirepathError("a question of the demo failed; its message stands above")


def _where_next(args: argparse.Namespace, console: Console) -> None:
    data = f" --data {args.data}" if args.data != Path("data") else ""
    server = _server_file(args.data)
    console.print("\n[bold]Where to look next[/bold]")
    for command, what in (
        ("desirepath quarantine ls", "what broke the plan: an old app sends totals as text"),
        ("desirepath quarantine replay --cast total=number", "mend and store it"),
        ("desirepath funnel purchase --html funnel.html", "the funnel as a picture"),
        ("desirepath predict score will_buy --top 10", "who to write to"),
        ('desirepath sql "SELECT * FROM order_completed LIMIT 5"', "ask ClickHouse itself"),
    ):
        console.print(f"  {command + data:<60}  [dim]{what}[/dim]", soft_wrap=True)
    console.print(f"  {starter_plan('shop')}  [dim]the plan behind all of it[/dim]", soft_wrap=True)
    console.print(
        f"\nServing events at {server.http} (write key dev) and ClickHouse at "
        f"{server.clickhouse} (user dev, password dev). Ctrl-C stops.",
        soft_wrap=True,
    )


def _server_file(data: Path) -> ServerFile:
    """The addresses of the collector that holds `data`."""
    from desirepath_collector.warehouse import read_server_file

    server = read_server_file(data)
    if server is None:
        raise DesirepathError("the collector went away; its message stands above")
    return server

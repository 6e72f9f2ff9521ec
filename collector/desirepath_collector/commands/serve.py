"""`desirepath serve`: the collector in the foreground, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import gc
import json
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable

    from desirepath_collector.app import Collector
    from desirepath_collector.settings import Settings

__all__ = ["HELP", "configure", "run"]

HELP = "take events in and keep them in ClickHouse"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--data", metavar="FOLDER", help="data folder (default ./data)")
    parser.add_argument("--plan", metavar="FILE", help="tracking plan (default: the last one live)")
    parser.add_argument(
        "--clickhouse", metavar="URL", help="a ClickHouse server instead of the embedded one"
    )
    parser.add_argument("--database", help="ClickHouse database (default desirepath)")
    parser.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port (default 8000; 0 takes a free one)")
    parser.add_argument(
        "--clickhouse-host",
        metavar="HOST",
        help="address of the read-only ClickHouse protocol (default 127.0.0.1)",
    )
    parser.add_argument(
        "--clickhouse-port",
        type=int,
        help="port of the read-only ClickHouse protocol (default 8123)",
    )
    parser.add_argument(
        "--settings", metavar="FILE", help="settings file (default desirepath.toml)"
    )
    parser.add_argument("--json", action="store_true", help="print what was started as JSON")


def run(args: argparse.Namespace) -> int:
    """Serve; the exit code."""
    import asyncio

    from desirepath_collector.logs import configure_logs
    from desirepath_collector.settings import load_settings

    names = (
        "data", "plan", "clickhouse", "database", "host", "port", "clickhouse_host",
        "clickhouse_port",
    )  # fmt: skip
    arguments = {name: getattr(args, name) for name in names}

    def read() -> Settings:
        return load_settings(arguments, file=args.settings)

    configure_logs(read().log)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(read, args.settings, as_json=args.json))
    return 0


def _loop_factory() -> Callable[[], AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop


async def _serve(read: Callable[[], Settings], file: str | None, *, as_json: bool) -> None:
    import asyncio

    from desirepath_collector.app import running
    from desirepath_collector.reload import Reloader

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with running(read()) as collector:
        reloader = Reloader(collector, read, file)
        if hasattr(signal, "SIGHUP"):
            loop.add_signal_handler(signal.SIGHUP, reloader.ask)
        watching = loop.create_task(reloader.run())
        # What was imported stays for good: the collector of garbage need not look at it again.
        gc.collect()
        gc.freeze()
        print(_as_json(collector) if as_json else _banner(collector), flush=True)
        await stop.wait()
        watching.cancel()
        if not as_json:
            print("stopping: requests end, the spool is loaded", file=sys.stderr, flush=True)


def _facts(collector: Collector) -> dict[str, object]:
    settings, plan = collector.settings, collector.plans.plan
    return {
        "intake": collector.url,
        # Not the URL of a server of its own: it may hold a password.
        "clickhouse": collector.clickhouse_url or None,
        "data": settings.data,
        "plan": None if plan is None else {"name": plan.name, "version": str(plan.version)},
        "sources": [source.name for source in settings.effective_sources()],
        "development": not settings.configured,
    }


def _as_json(collector: Collector) -> str:
    return json.dumps(_facts(collector))


def _banner(collector: Collector) -> str:
    settings, plan = collector.settings, collector.plans.plan
    lines = [
        f"desirepath serves {settings.data}",
        f"  intake      {collector.url}   (POST /v1/batch and the other Segment routes)",
    ]
    if collector.clickhouse_url:
        lines.append(f"  clickhouse  {collector.clickhouse_url}   (read-only)")
    else:
        lines.append("  clickhouse  a server of its own")
    if plan is None:
        lines.append("  plan        none: every event is accepted as it is (--plan FILE)")
    else:
        lines.append(f"  plan        {plan.name} {plan.version}, {len(plan.events)} events")
    if settings.configured:
        names = ", ".join(source.name for source in settings.effective_sources())
        lines.append(f"  sources     {names}")
    else:
        lines.append(
            "  keys        write key `dev`, read token `dev`: for development, this machine only"
        )
    lines.append("Ctrl-C stops it.")
    return "\n".join(lines)

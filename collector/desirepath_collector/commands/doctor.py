"""`desirepath doctor`: is everything here that a collector needs, and is it well?"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from desirepath_collector.settings import Settings

__all__ = ["HELP", "configure", "run"]

HELP = "check settings, data folder, disk, ClickHouse and a running collector"

_LOW_BYTES = 1 << 30
_SLOW_FSYNC_S = 0.05


class Check(NamedTuple):
    """One thing that was looked at."""

    name: str
    state: str
    """`ok`, `warning` or `failed`."""
    detail: str
    hint: str = ""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--data", metavar="FOLDER", help="data folder (default ./data)")
    parser.add_argument("--settings", metavar="FILE", help="default desirepath.toml")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Look at everything; 1 if something failed."""
    checks = list(_checks(args))
    if args.json:
        print(json.dumps([check._asdict() for check in checks]))
    else:
        for check in checks:
            print(f"{check.state:<8} {check.name:<12} {check.detail}")
            if check.hint:
                print(f"{'':<22}{check.hint}")
    return 1 if any(check.state == "failed" for check in checks) else 0


def _checks(args: argparse.Namespace) -> Iterator[Check]:
    from desirepath.errors import DesirepathError
    from desirepath_collector.settings import load_settings

    try:
        settings = load_settings({"data": args.data}, file=args.settings)
    except DesirepathError as error:
        yield Check("settings", "failed", error.message, error.hint or "")
        return
    if settings.configured:
        yield Check("settings", "ok", f"{len(settings.sources)} sources")
    else:
        yield Check("settings", "warning", "development key `dev`, this machine only")
    looks: tuple[Callable[[Settings], Check], ...] = (_plan, _folder, _disk, _server, _warehouse)
    for look in looks:
        try:
            yield look(settings)
        except DesirepathError as error:
            yield Check(look.__name__[1:], "failed", str(error), error.hint or "")


def _plan(settings: Settings) -> Check:
    from desirepath_collector.plans import load_plan

    if not settings.plan:
        return Check("plan", "ok", "none in the settings; the one published last is live")
    plan = load_plan(settings.plan)
    return Check("plan", "ok", f"{plan.name} {plan.version}, {len(plan.events)} events")


def _folder(settings: Settings) -> Check:
    folder = Path(settings.data)
    if not folder.is_dir():
        return Check("folder", "warning", f"{folder} does not exist yet; `serve` makes it")
    damaged = list(folder.glob("spool/*/damaged/*"))
    refused = list(folder.glob("spool/*.refused.jsonl"))
    if damaged or refused:
        return Check(
            "folder",
            "warning",
            f"{len(damaged)} damaged pieces and {len(refused)} files of refused rows",
            f"look at {folder / 'spool'}",
        )
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Check("folder", "ok", f"{folder}, {size / 2**20:,.0f} MB")


def _disk(settings: Settings) -> Check:
    import os
    import shutil
    import tempfile
    import time

    folder = Path(settings.data)
    while not folder.is_dir():
        folder = folder.parent if folder != folder.parent else Path("/")
    free = shutil.disk_usage(folder).free
    if free < _LOW_BYTES:
        return Check("disk", "failed", f"{free / 2**20:,.0f} MB free", "make room")
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
            took = []
            for _ in range(10):
                file.write(b"x" * 4096)
                file.flush()
                begun_s = time.perf_counter()
                os.fsync(file.fileno())
                took.append(time.perf_counter() - begun_s)
    except OSError as error:
        return Check("disk", "failed", f"{folder} cannot be written: {error.strerror}")
    median_s = sorted(took)[len(took) // 2]
    detail = f"{free / 2**30:,.1f} GB free, fsync {median_s * 1000:.1f} ms"
    if median_s > _SLOW_FSYNC_S:
        return Check("disk", "warning", detail, "every answer waits for an fsync; use a local disk")
    return Check("disk", "ok", detail)


def _server(settings: Settings) -> Check:
    import urllib3

    from desirepath_collector.warehouse import read_server_file

    server = read_server_file(settings.data)
    if server is None:
        return Check("server", "ok", "none runs on this folder")
    with urllib3.PoolManager(retries=False, timeout=5) as http:
        try:
            answer = http.request("GET", f"{server.http}/readyz").json()
        except urllib3.exceptions.HTTPError as error:
            return Check("server", "failed", f"{server.http} does not answer: {error}")
    detail = f"{server.http}, {answer['spool_bytes']:,} bytes wait in the spool"
    if not answer["ready"]:
        return Check("server", "failed", f"{detail}; it takes no events")
    if answer["warehouse"] != "ok":
        return Check("server", "warning", f"{detail}: {answer['warehouse']}")
    return Check("server", "ok", detail)


def _warehouse(settings: Settings) -> Check:
    from desirepath_collector.warehouse import Sql, connect

    if not settings.clickhouse and not (Path(settings.data) / "warehouse").is_dir():
        return Check("warehouse", "ok", "none yet")
    with connect(settings.clickhouse or settings.data, settings.database) as warehouse:
        counted = warehouse.query(
            Sql("SELECT (SELECT count() FROM events) AS e, (SELECT count() FROM quarantine) AS q")
        ).to_pylist()[0]
    return Check("warehouse", "ok", f"{counted['e']:,} events, {counted['q']:,} quarantined")

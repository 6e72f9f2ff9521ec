"""From `tracker.track()` in an app to a row that a query finds: events a second, CPU, memory.

    .venv/bin/python benchmarks/end_to_end.py [--events 200000] [--rounds 3]

Each round starts `desirepath serve` on an empty folder with the starter plan `shop`, lets a second
process call `tracker.track()` as fast as it can (plan checked, queue on disk, real HTTP on the
loopback address), and stops the clock when `SELECT count() FROM resolved_events` gives every
event. CPU is read from the operating system: the app's process whole; the server's event loop
thread (HTTP, validation, encoding) apart from its other threads (fsync, loading, ClickHouse's
merges). All figures are of the same run; quote the medians.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from desirepath.resources import starter_plan
from desirepath_collector.warehouse import Sql, connect

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
STARTING_S = 60
LOADING_S = 300

PRODUCT = {
    "product_id": "507f1f77bcf86cd799439011",
    "sku": "G-32",
    "name": "Walking shoes",
    "category": "outdoor",
    "brand": "Desire",
    "variant": "42 brown",
    "price": 89.0,
    "quantity": 1,
    "currency": "EUR",
    "position": 3,
}


def main() -> None:
    """Run the rounds and print their medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--produce", metavar="URL", help=argparse.SUPPRESS)
    parser.add_argument("--queue", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.produce:
        produce(args.produce, args.queue, args.events)
        return
    rounds = [one_round(args.events) for _ in range(args.rounds)]
    print(f"{args.events:,} events a round, {args.rounds} rounds, {os.cpu_count()} cores; medians")
    for name in rounds[0]:
        values = [figures[name] for figures in rounds]
        print(
            f"  {name:<58}{statistics.median(values):>12,.1f}"
            f"   ({min(values):,.1f} to {max(values):,.1f})"
        )


def produce(url: str, queue: str, count: int) -> None:
    """The app: call `track()` as fast as it goes, flush, and print what it cost."""
    from desirepath import Tracker

    tracker = Tracker(url, write_key="dev", plan=starter_plan("shop"), queue_dir=queue)
    start = time.perf_counter()
    for number in range(count):
        tracker.track("Product Viewed", PRODUCT, user_id=f"user-{number % 5000}")
    called_s = time.perf_counter() - start
    flushed = tracker.flush(timeout=LOADING_S)
    sent_s = time.perf_counter() - start
    tracker.close()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    answer = {
        "called_s": called_s,
        "sent_s": sent_s,
        "flushed": flushed,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss / 1024,
    }
    print(json.dumps(answer))


def one_round(count: int) -> dict[str, float]:
    """One server, one app; the figures by name."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "data")
        server = subprocess.Popen(
            [
                *(sys.executable, "-m", "desirepath", "serve", "--data", str(data)),
                *("--plan", str(starter_plan("shop")), "--port", "0", "--clickhouse-port", "0"),
            ],
            stdout=subprocess.DEVNULL,
        )
        try:
            url = wait_until_serving(server, data)
            before = thread_cpu_s(server.pid)
            start = time.perf_counter()
            command = [sys.executable, __file__, "--events", str(count), "--produce", url]
            app = subprocess.run(
                [*command, "--queue", str(Path(folder, "queue"))],
                stdout=subprocess.PIPE,
                check=True,
            )
            report = json.loads(app.stdout)
            wait_until_queryable(data, count)
            queryable_s = time.perf_counter() - start
            after = thread_cpu_s(server.pid)
            peak_mb = peak_memory_mb(server.pid)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)
    intake, rest = (after[part] - before[part] for part in ("loop", "rest"))
    per_million = 1e6 / count
    return {
        "events/s, first track() to the last row queryable": count / queryable_s,
        "events/s, first track() to the last answer": count / report["sent_s"],
        "CPU s per million: app (check, queue, gzip, send)": report["cpu_s"] * per_million,
        "CPU s per million: collector loop (HTTP, check, encode)": intake * per_million,
        "CPU s per million: fsync, loader, ClickHouse": rest * per_million,
        "CPU s per million: all": (report["cpu_s"] + intake + rest) * per_million,
        "peak memory of the app, MB": report["peak_mb"],
        "peak memory of the server with its database, MB": peak_mb,
    }


def wait_until_serving(server: subprocess.Popen[bytes], data: Path) -> str:
    """The server's address, once it answers."""
    deadline = time.monotonic() + STARTING_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise SystemExit("the server ended at once; its message stands above")
        with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
            return str(json.loads((data / "server.json").read_text())["http"])
        time.sleep(0.05)
    raise SystemExit("the server did not start")


def wait_until_queryable(data: Path, count: int) -> None:
    """Return when a query finds every event."""
    deadline = time.monotonic() + LOADING_S
    with contextlib.closing(connect(str(data))) as warehouse:
        while time.monotonic() < deadline:
            found = warehouse.query(Sql("SELECT count() AS n FROM resolved_events"))
            if found["n"][0].as_py() == count:
                return
            time.sleep(0.1)
    raise SystemExit(f"not all {count} events arrived")


def thread_cpu_s(pid: int) -> dict[str, float]:
    """CPU seconds of a process's first thread (the event loop) and of all its others."""
    spent = {"loop": 0.0, "rest": 0.0}
    for task in Path(f"/proc/{pid}/task").iterdir():
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        part = "loop" if task.name == str(pid) else "rest"
        spent[part] += (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND
    return spent


def peak_memory_mb(pid: int) -> float:
    """The largest resident memory that a process has had."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("the kernel does not tell VmHWM")


if __name__ == "__main__":
    main()

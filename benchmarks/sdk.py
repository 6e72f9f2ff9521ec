"""The Python SDKs side by side: what a `track()` costs, and what arrives.

    python -m venv /tmp/peers
    /tmp/peers/bin/pip install posthog segment-analytics-python rudder-sdk-python \
        snowplow-tracker amplitude-analytics msgspec PyYAML urllib3
    PYTHONPATH=sdk /tmp/peers/bin/python benchmarks/sdk.py --events 20000 --rounds 3

Each client runs in a process of its own against the same local server, all clients in turn and
several rounds of that, so that a noisy machine is noisy for all. The event has about 600 bytes on
the wire. Clients that are not installed are left out. Columns, medians of the rounds:

- median, p99: microseconds of one `track()`, called in a tight loop;
- delivered/s: from the first call until the server has seen everything, or nothing more comes;
- arrived: share of the events the server has seen after flush and shutdown;
- CPU: microseconds of the client's processor time an event, delivery included;
- queued MB: growth of the peak memory while `--queued` events wait for a server that is away
  (the peers keep 10,000 by default and drop the rest);
- threads: started by the client; import ms: of the module, in a fresh interpreter;
- MB installed: the distribution with all it depends on.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import gzip
import importlib.metadata
import json
import os
import re
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PLAN = """
plan: bench
version: 1.0.0
events:
  Order Completed:
    properties:
      order_id: {type: string, required: true}
      marker: {type: string, required: true}
      total: {type: number, minimum: 0, required: true}
      currency: {type: string, minLength: 3, maxLength: 3}
      items: {type: integer, minimum: 1}
      coupon: string
      express: boolean
      page: {type: string, maxLength: 200}
      referrer: string
      campaign: string
"""

PROPERTIES = {
    "order_id": "A-2026-000123",
    "marker": "m",
    "total": 142.5,
    "currency": "EUR",
    "items": 3,
    "coupon": "WELCOME10",
    "express": False,
    "page": "/checkout/confirmation",
    "referrer": "https://www.example.com/search?q=walking+map+of+the+old+town&page=2",
    "campaign": "autumn-newsletter-2026-week-42-second-try",
}
MARKER = b'"marker"'

Track = Callable[[int], None]
Finish = Callable[[], None]


def desirepath(url: str, folder: str, **settings: Any) -> tuple[Track, Finish]:
    from desirepath import Plan, Tracker

    tracker = Tracker(url, queue_dir=folder, plan=Plan.parse(PLAN), **settings)

    def track(number: int) -> None:
        tracker.track("Order Completed", PROPERTIES, user_id="user-123456")

    def finish() -> None:
        tracker.flush(timeout=120)
        tracker.close()

    return track, finish


def desirepath_no_plan(url: str, folder: str) -> tuple[Track, Finish]:
    from desirepath import Tracker

    tracker = Tracker(url, queue_dir=folder)

    def track(number: int) -> None:
        tracker.track("Order Completed", PROPERTIES, user_id="user-123456")

    def finish() -> None:
        tracker.flush(timeout=120)
        tracker.close()

    return track, finish


def segment(url: str, folder: str, **settings: Any) -> tuple[Track, Finish]:
    from segment.analytics import Client

    client = Client("key", host=url, **settings)

    def track(number: int) -> None:
        client.track("user-123456", "Order Completed", PROPERTIES)

    def finish() -> None:
        client.flush()
        client.join()

    return track, finish


def rudder(url: str, folder: str, **settings: Any) -> tuple[Track, Finish]:
    from rudderstack.analytics.client import Client

    client = Client("key", host=url, **settings)

    def track(number: int) -> None:
        client.track("user-123456", "Order Completed", PROPERTIES)

    def finish() -> None:
        client.flush()
        client.join()

    return track, finish


def posthog(url: str, folder: str, **settings: Any) -> tuple[Track, Finish]:
    from posthog import Posthog

    client = Posthog("key", host=url, **settings)

    def track(number: int) -> None:
        client.capture("Order Completed", distinct_id="user-123456", properties=PROPERTIES)

    return track, client.shutdown


def snowplow(url: str, folder: str, **settings: Any) -> tuple[Track, Finish]:
    from snowplow_tracker import AsyncEmitter, SelfDescribing, SelfDescribingJson, Tracker

    emitter = AsyncEmitter(url.removeprefix("http://"), protocol="http", method="post", **settings)
    tracker = Tracker("bench", emitters=[emitter], app_id="bench", encode_base64=False)
    schema = "iglu:com.example/order/jsonschema/1-0-0"

    def track(number: int) -> None:
        tracker.track(SelfDescribing(SelfDescribingJson(schema, PROPERTIES)))

    def finish() -> None:
        tracker.flush(is_async=False)
        emitter.sync_flush()

    return track, finish


def amplitude(url: str, folder: str, **settings: Any) -> tuple[Track, Finish]:
    from amplitude import Amplitude, BaseEvent, Config

    client = Amplitude("key", Config(server_url=url, **settings))

    def track(number: int) -> None:
        client.track(
            BaseEvent("Order Completed", user_id="user-123456", event_properties=PROPERTIES)
        )

    def finish() -> None:
        for future in client.flush() or []:
            if future is not None:
                future.result()
        client.shutdown()

    return track, finish


CLIENTS: dict[str, tuple[str, str, Callable[[str, str], tuple[Track, Finish]]]] = {
    "desirepath": ("desirepath", "desirepath", desirepath),
    "desirepath, gzip": (
        "desirepath",
        "desirepath",
        lambda url, folder: desirepath(url, folder, gzip=True),
    ),
    "desirepath, no plan": ("desirepath", "desirepath", desirepath_no_plan),
    "posthog": ("posthog", "posthog", posthog),
    "posthog, tuned": (
        "posthog",
        "posthog",
        lambda url, folder: posthog(url, folder, flush_at=500, max_queue_size=1_000_000),
    ),
    "segment": ("segment-analytics-python", "segment.analytics", segment),
    "segment, tuned": (
        "segment-analytics-python",
        "segment.analytics",
        lambda url, folder: segment(url, folder, upload_size=500, max_queue_size=1_000_000),
    ),
    "rudder": ("rudder-sdk-python", "rudderstack.analytics", rudder),
    "rudder, tuned": (
        "rudder-sdk-python",
        "rudderstack.analytics",
        lambda url, folder: rudder(url, folder, upload_size=500, max_queue_size=1_000_000),
    ),
    "snowplow": ("snowplow-tracker", "snowplow_tracker", snowplow),
    "snowplow, tuned": (
        "snowplow-tracker",
        "snowplow_tracker",
        lambda url, folder: snowplow(url, folder, batch_size=500, byte_limit=500_000),
    ),
    "amplitude": ("amplitude-analytics", "amplitude", amplitude),
    "amplitude, tuned": (
        "amplitude-analytics",
        "amplitude",
        lambda url, folder: amplitude(url, folder, flush_queue_size=500),
    ),
}


def main() -> None:
    """Run the comparison, or one part of it in a child."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--queued", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="a regular expression of client names")
    parser.add_argument("--client", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        asyncio.run(serve())
    elif args.client:
        print(json.dumps(run_client(args.client, args.url, args.events)))
    else:
        compare(args)


def compare(args: argparse.Namespace) -> None:
    """All clients in turn, several times; one table."""
    names = [name for name in CLIENTS if installed(CLIENTS[name][0])]
    names = [name for name in names if not args.only or re.search(args.only, name)]
    results: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(args.rounds):
        for name in names:
            results[name].append(one_round(name, args.events))
    print(f"{args.events:,} events a round, {args.rounds} rounds, {os.cpu_count()} cores; medians")
    columns = "median_us", "p99_us", "delivered_s", "arrived", "cpu_us", "threads"
    print(f"{'':<22}" + "".join(f"{c:>12}" for c in (*columns, "queued_mb", "import_ms", "mb")))
    for name in names:
        distribution, module, _ = CLIENTS[name]
        row = [statistics.median(result[column] for result in results[name]) for column in columns]
        row += [queued_mb(name, args.queued), import_ms(module), installed_mb(distribution)]
        print(f"{name:<22}" + "".join(f"{value:>12,.{2 if value < 10 else 0}f}" for value in row))


def one_round(name: str, events: int) -> dict[str, float]:
    """One client against a fresh server."""
    with serving() as (url, server):
        result = in_child(name, url, events)
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write("count\n")
        server.stdin.flush()
        count, last = json.loads(server.stdout.readline())
    result["arrived"] = count / events
    result["delivered_s"] = count / max(last - result["started"], 1e-9)
    return result


@contextlib.contextmanager
def serving() -> Any:
    """The counting server as a process of its own."""
    server = subprocess.Popen(
        [sys.executable, __file__, "--serve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(server.stdout.readline())}", server
    finally:
        server.kill()
        server.communicate()


def in_child(name: str, url: str, events: int) -> dict[str, float]:
    """What `run_client` measures in a fresh process."""
    done = subprocess.run(
        [sys.executable, __file__, "--client", name, "--url", url, "--events", str(events)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
        timeout=600,
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def run_client(name: str, url: str, events: int) -> dict[str, float]:
    """Track and flush; the figures of this process."""
    with tempfile.TemporaryDirectory() as folder:
        track, finish = CLIENTS[name][2](url, folder)
        track(0)
        gc.collect()
        before_mb = resident_mb()
        latencies = []
        clock = time.perf_counter_ns
        cpu = cpu_s()
        started = time.time()
        for number in range(events - 1):
            start = clock()
            track(number)
            latencies.append(clock() - start)
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        threads = threading.active_count() - 1
        if url.endswith(":9"):
            # Nobody listens: the peak is the answer, and nothing is worth waiting for.
            print(json.dumps({"grown_mb": peak_mb - before_mb}), flush=True)
            os._exit(0)
        finish()
        latencies.sort()
        return {
            "started": started,
            "median_us": latencies[len(latencies) // 2] / 1e3,
            "p99_us": latencies[int(len(latencies) * 0.99)] / 1e3,
            "cpu_us": (cpu_s() - cpu) / events * 1e6,
            "threads": threads,
        }


def cpu_s() -> float:
    """Processor time of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def resident_mb() -> float:
    """Resident memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def queued_mb(name: str, events: int) -> float:
    """How the peak grows while events wait for a server that is away."""
    return in_child(name, "http://127.0.0.1:9", events)["grown_mb"]


def import_ms(module: str) -> float:
    """The median processor time of five imports, each in a fresh interpreter."""
    name = "from desirepath import Tracker" if module == "desirepath" else f"import {module}"
    code = f"import time; t = time.process_time(); {name}; print(time.process_time() - t)"
    times = [
        float(subprocess.check_output([sys.executable, "-c", code], text=True)) for _ in range(5)
    ]
    return statistics.median(times) * 1e3


def installed(distribution: str) -> bool:
    """Whether it is there; ours may be on the path without being installed."""
    if distribution == "desirepath":
        return True
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(distribution) != ""
    return False


def installed_mb(distribution: str) -> float:
    """The size of a distribution's files and those of all it needs."""
    ours = distribution == "desirepath"
    names = {"msgspec", "PyYAML", "urllib3"} if ours else {distribution}
    seen: set[str] = set()
    size = 0
    if ours:
        root = Path(__file__).parent.parent / "sdk" / "desirepath"
        size = sum(path.stat().st_size for path in root.rglob("*.py"))
    while names:
        name = names.pop()
        if name.lower() in seen:
            continue
        seen.add(name.lower())
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        for file in found.files or []:
            with contextlib.suppress(OSError):
                if file.suffix != ".pyc":
                    size += Path(str(found.locate_file(file))).stat().st_size
        for requirement in found.requires or []:
            if "extra ==" not in requirement and "python_version <" not in requirement:
                names.add(re.split(r"[^\w.-]", requirement)[0])
    return size / 1e6


async def serve() -> None:
    """Answer 200 to every POST; count the events in it."""
    count, last = 0, time.time()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count, last
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = re.search(rb"content-length: *(\d+)", head)
                body = await reader.readexactly(int(length[1]) if length else 0)
                if b"content-encoding: gzip" in head:
                    body = gzip.decompress(body)
                # Snowplow sends the event as JSON inside JSON.
                found = body.count(MARKER) or body.count(rb"\"marker\"")
                answer = b'{"success":true,"code":200,"status":1}'
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                    b"Content-Length: %d\r\n\r\n%s" % (len(answer), answer)
                )
                count += found
                last = time.time()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, limit=1 << 24)
    socket_name: socket.socket = server.sockets[0]
    print(socket_name.getsockname()[1], flush=True)
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps([count, last]), flush=True)


if __name__ == "__main__":
    main()

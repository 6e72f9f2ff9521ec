"""What the warehouse costs: insert, bytes, properties, views, each event once, each person once.

    python benchmarks/warehouse.py [--events 2000000] [--rounds 5] [--choices]

Everything runs on the embedded engine in a temporary folder, in this process; a figure is CPU
seconds (user and system, all threads), the best of `--rounds` alternating rounds, so compare
ratios. Events come in sessions of eight, 40 a person, over 90 days, with ten properties. The plain
side of each comparison is a table that has only what the query needs, as a typed column, in the
same order. `--choices` compares the ways to keep properties and the sort keys that were weighed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from desirepath.plan import Plan
from desirepath_collector.warehouse import EventRow, Sql, Warehouse

SESSION = 8
PER_PERSON = 40
STEPS = ("Viewed", "Added", "Checkout", "Paid", "Shipped")
NAMES = [*STEPS, *(f"Other {n}" for n in range(15))]

SOURCE = """
SELECT
    intDiv(number, {session}) AS visit,
    cityHash64(number) AS h,
    toString(reinterpretAsUUID(MD5(toString(number)))) AS raw_message_id,
    'track' AS kind,
    {names}[1 + cityHash64(number, 1) % {count}] AS event,
    toString(reinterpretAsUUID(MD5(toString(cityHash64(visit, 2) % {people})))) AS anonymous_id,
    toDateTime64('2026-01-01', 3, 'UTC')
        + toIntervalMillisecond(
            intDiv(visit * 86400000 * 90, {visits}) + cityHash64(number, 7) % 600000
        ) AS original_timestamp,
    cityHash64(number, 8) % 5000 AS sent_after_ms,
    cityHash64(number, 9) % 200 AS transit_ms,
    'web' AS source, 'shop' AS plan, '1.0.0' AS plan_version,
    concat('{{"product_id":"SKU-', toString(h % 5000), '","category":"',
        ['shoes', 'shirts', 'bags', 'hats', 'books', 'toys', 'garden', 'music'][1 + h % 8],
        '","price":', toString(h % 20000 / 100), ',"quantity":', toString(1 + h % 4),
        ',"currency":"EUR","in_stock":', if(h % 9 = 0, 'false', 'true'), ',"position":',
        toString(h % 48), ',"list":"', ['home', 'search', 'category', 'related'][1 + h % 4],
        '","coupon":"', if(h % 10 = 0, 'SPRING', ''), '","order_id":"A', toString(number), '"}}'
    ) AS properties_json,
    concat('{{"library.name":"desirepath","library.version":"0.1.0","locale":"',
        ['sv-SE', 'nl-NL', 'de-DE'][1 + cityHash64(visit, 3) % 3], '"}}') AS context_json
FROM numbers({start}, {rows})
"""
COLUMNS = (
    "raw_message_id, kind, event, anonymous_id, original_timestamp, sent_after_ms, transit_ms, "
    "source, plan, plan_version, properties_json, context_json"
)


def cpu() -> float:
    """CPU seconds of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class Bench:
    """One warehouse full of events."""

    def __init__(self, events: int, rounds: int) -> None:
        self.events, self.rounds = events, rounds
        self.folder = tempfile.mkdtemp(prefix="desirepath-bench-")
        self.warehouse = Warehouse.open(self.folder)
        self.figures: dict[str, object] = {"events": events}

    def run(self, text: str, **settings: int) -> list[dict[str, object]]:
        """Run a statement; its rows, if it has any."""
        if text.lstrip().startswith(("SELECT", "WITH")):
            return self.warehouse.query(Sql(text, {}, settings)).to_pylist()
        self.warehouse.command(Sql(text, {}, settings))
        return []

    def source(self, start: int, rows: int) -> str:
        """The SELECT that makes `rows` events from number `start`."""
        visits = max(self.events // SESSION, 1)
        people = max(self.events // PER_PERSON, 1)
        return SOURCE.format(session=SESSION, names=NAMES, count=len(NAMES), people=people,
                             visits=visits, start=start, rows=rows)  # fmt: skip

    def fill(self) -> None:
        """All events, in the order of time, then merged."""
        started, block = cpu(), 250_000
        for start in range(0, self.events, block):
            rows = min(block, self.events - start)
            select = f"SELECT {COLUMNS} FROM ({self.source(start, rows)})"
            self.run(f"INSERT INTO events ({COLUMNS}) {select}")
        self.note("insert in SQL, generated, CPU s/M", (cpu() - started) / self.events * 1e6)
        self.merge()
        size = self.run(
            "SELECT sum(bytes_on_disk) / sum(rows) AS bytes FROM system.parts "
            "WHERE active AND database = currentDatabase() AND table = 'events'"
        )
        self.note("bytes an event, merged", size[0]["bytes"])

    def merge(self) -> None:
        """One part a month."""
        self.run("OPTIMIZE TABLE events FINAL")

    def compare(self, title: str, **statements: str) -> dict[str, float]:
        """Run the statements in turn; the first is the measure of the others."""
        best: dict[str, float] = {}
        for _ in range(self.rounds):
            for name, text in statements.items():
                before = cpu()
                self.run(text, max_threads=2)
                best[name] = min(cpu() - before, best.get(name, 1e9))
        base = next(iter(best.values()))
        for name, seconds in best.items():
            self.note(f"{title}: {name}", seconds, f"x{seconds / base:.2f}")
        return best

    def note(self, name: str, value: object, extra: str = "") -> None:
        """Print and keep a figure."""
        shown = f"{value:.3f}" if isinstance(value, float) else value
        print(f"{name:<66} {shown} {extra}", flush=True)
        self.figures[name] = value


def rows(count: int, offset: int) -> list[EventRow]:
    """Rows as the loader hands them over: ten properties, a context that repeats."""
    encode = msgspec.json.encode
    context = msgspec.Raw(encode({"library": {"name": "desirepath", "version": "0.1.0"},
                                  "locale": "sv-SE", "page": {"path": "/shop"}}))  # fmt: skip
    made = []
    for number in range(offset, offset + count):
        properties = {
            "product_id": f"SKU-{number % 5000}", "category": "shoes", "price": number % 2000 / 100,
            "quantity": 1, "currency": "EUR", "in_stock": True, "position": number % 48,
            "list": "search", "coupon": "", "order_id": f"A{number}",
        }  # fmt: skip
        at = 1_780_000_000_000 + number * 37
        made.append(
            EventRow(f"01890000-0000-7000-8000-{number:012x}", "track", NAMES[number % 20], "",
                     f"visitor-{number // 8}", "", "", f"s{number // 8}", at, at, at + 900,
                     at + 950, "web", "shop", "1.0.0", msgspec.Raw(encode(properties)), context)
        )  # fmt: skip
    return made


def inserting(bench: Bench) -> None:
    """Validated rows into the table, as the loader does it."""
    for block in (1_000, 10_000, 50_000):
        # Merging happens later and in the background; it is measured on its own.
        bench.run("SYSTEM STOP MERGES events")
        batches = [rows(block, n * block) for n in range(100_000 // block)]
        before = cpu()
        for number, batch in enumerate(batches):
            bench.warehouse.insert_events(batch, f"{block}-{number}")
        seconds = (cpu() - before) / 100_000 * 1e6
        bench.note(f"insert_events, blocks of {block}, CPU s/M", seconds)
        bench.run("SYSTEM START MERGES events")
        before = cpu()
        bench.merge()
        bench.note("    merging them at once, CPU s/M", (cpu() - before) / 100_000 * 1e6)
        bench.run("TRUNCATE TABLE events")


def properties(bench: Bench) -> None:
    """One property out of the map, and through a view, beside a plain column."""
    bench.run(
        "CREATE TABLE plain (original_timestamp DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)), "
        "actor UInt64 CODEC(ZSTD(1)), event LowCardinality(String), "
        "category String CODEC(ZSTD(1)), price Float64 CODEC(ZSTD(1))) "
        "ENGINE = MergeTree ORDER BY (toDate(original_timestamp), actor, original_timestamp)"
    )
    bench.run(
        "INSERT INTO plain SELECT original_timestamp, actor, event, properties['category'], "
        "toFloat64OrZero(properties['price']) FROM events"
    )
    bench.run("OPTIMIZE TABLE plain FINAL")
    query = "SELECT {c} AS c, count() FROM {t} WHERE {c} != 'bags' GROUP BY c"
    bench.compare(
        "filter and group by a property",
        plain=query.format(c="category", t="plain"),
        map=query.format(c="properties['category']", t="events"),
        resolved=query.format(c="properties['category']", t="resolved_events"),
    )
    plan = Plan.parse(
        "plan: bench\nversion: 1.0.0\nevents:\n  Paid:\n    properties:\n"
        "      category: string\n      price: number\n"
    )
    bench.warehouse.publish(plan)
    under = (
        "SELECT properties['category'] AS c, sum(toFloat64OrNull(properties['price'])) "
        "FROM resolved_events WHERE event = 'Paid' GROUP BY c"
    )
    bench.compare(
        "one event's revenue by category",
        underlying=under,
        view="SELECT category, sum(price) FROM paid GROUP BY category",
    )
    bench.run("DROP TABLE plain")


def once(bench: Bench) -> None:
    """A five-step funnel over everything: plain, each event once, each person once."""
    conditions = ", ".join(f"event = '{step}'" for step in STEPS)
    funnel = (
        "SELECT level, count() FROM (SELECT windowFunnel(604800000)("
        f"toUInt64(toUnixTimestamp64Milli(timestamp)), {conditions}) AS level "
        f"FROM {{t}} WHERE event IN {STEPS} GROUP BY {{g}}) GROUP BY level"
    )
    statements = {
        "stored ids, duplicates counted": funnel.format(t="events", g="actor"),
        "each event once": funnel.format(t="events FINAL", g="actor"),
        "each event and person once": funnel.format(t="resolved_events", g="person"),
        "the same by person_id": funnel.format(t="resolved_events", g="person_id"),
    }
    bench.compare("funnel, merged, no duplicates, no links", **statements)
    again = bench.source(0, bench.events)
    bench.run(
        f"INSERT INTO events ({COLUMNS}, skew_ms) SELECT {COLUMNS}, 3000 FROM ({again}) "
        "WHERE h % 100 = 7"
    )
    links = bench.events // 20
    bench.run(
        "INSERT INTO identities (id, person_id, version) "
        "SELECT toString(reinterpretAsUUID(MD5(toString(number)))), "
        f"toString(reinterpretAsUUID(MD5(toString(number + {links})))), 1 FROM numbers({links})"
    )
    started = time.monotonic()
    bench.run("SYSTEM RELOAD DICTIONARY people")
    bench.note(f"dictionary of {links} links, seconds to load", time.monotonic() - started)
    found = bench.run("SELECT count() AS n FROM events")[0]["n"]
    bench.note("rows with 1 % duplicates", found)
    bench.compare(f"funnel, 1 % duplicates just arrived, {links} links", **statements)
    bench.merge()
    bench.compare(f"funnel, the same merged, {links} links", **statements)


def opening(bench: Bench) -> None:
    """Open the full folder in a new process; publish a big plan; an idle server's memory."""
    body = "".join(f"  Event {n}:\n    properties: {{a: string, b: number}}\n" for n in range(500))
    plan = Plan.parse(f"plan: big\nversion: 1.0.0\nevents:\n{body}")
    started = time.monotonic()
    bench.warehouse.publish(plan)
    bench.note("publish 500 events, seconds", time.monotonic() - started)
    bench.warehouse.close()
    code = (
        "import sys, time, resource; t = time.monotonic()\n"
        "from desirepath_collector.warehouse import Sql, Warehouse\n"
        "i = time.monotonic() - t\n"
        "w = Warehouse.open(sys.argv[1]); w.query(Sql('SELECT count() FROM events'))\n"
        "o = time.monotonic() - t - i; time.sleep(1)\n"
        "rss = int(open('/proc/self/statm').read().split()[1]) * 4096 / 1e6\n"
        "import json; print(json.dumps([i, o, rss]))\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code, bench.folder], check=True, capture_output=True, text=True
    )
    imported, opened, memory = json.loads(answer.stdout)
    bench.note("import, seconds", imported)
    bench.note("open the folder and count, seconds", opened)
    bench.note("memory after that, MB", memory)


def choices(bench: Bench) -> None:
    """The ways to keep ten properties, and the sort keys, beside each other."""
    columns = ("original_timestamp DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)), "
               "actor UInt64 CODEC(ZSTD(1)), message_uuid UUID, event LowCardinality(String), "
               "anonymous_id String CODEC(ZSTD(1)), ")  # fmt: skip
    split = "JSONExtractKeysAndValues(json, 'String')::Map(LowCardinality(String), String)"
    low = f"p Map(LowCardinality(String), String) DEFAULT {split} CODEC(ZSTD(1)), "
    low += "json String EPHEMERAL"
    buckets = (
        "map_serialization_version = 'with_buckets', map_buckets_min_avg_size = 0, "
        "map_serialization_version_for_zero_level_parts = 'basic', "
        "map_buckets_strategy = 'constant', max_buckets_in_map = "
    )
    day = "(toDate(original_timestamp), actor, original_timestamp, message_uuid)"
    first = "(event, toDate(original_timestamp), actor, original_timestamp, message_uuid)"
    person = "(actor, original_timestamp, message_uuid)"
    ways = {
        "map": (low, day, ""),
        "map in 8 buckets": (low, day, buckets + "8"),
        "map in 16 buckets": (low, day, buckets + "16"),
        "map in 32 buckets": (low, day, buckets + "32"),
        "JSON text": ("p String DEFAULT json CODEC(ZSTD(1)), json String EPHEMERAL", day, ""),
        "JSON type": ("p JSON DEFAULT CAST(if(json = '', '{}', json), 'JSON'), "
                      "json String EPHEMERAL", day, ""),
        "map, event first": (low, first, ""),
        "map, person first": (low, person, ""),
    }  # fmt: skip
    read: dict[str, Callable[[str], str]] = {
        "JSON text": "JSONExtractString(p, '{}')".format,
        "JSON type": "p.{}::String".format,
    }
    names = "original_timestamp, actor, message_uuid, event, anonymous_id, json"
    inner = ("original_timestamp, cityHash64(anonymous_id) AS actor, toUUID(raw_message_id) AS "
             "message_uuid, event, anonymous_id, properties_json AS json")  # fmt: skip
    bench.run(f"CREATE TABLE made ENGINE = MergeTree ORDER BY original_timestamp AS SELECT {inner} "
              f"FROM ({bench.source(0, bench.events)})")  # fmt: skip
    queries: dict[str, dict[str, str]] = {"group": {}, "person": {}}
    for number, (name, (column, key, settings)) in enumerate(ways.items()):
        table = f"way_{number}"
        extra = f"SETTINGS {settings}" if settings else ""
        bench.run(f"CREATE TABLE {table} ({columns}{column}) ENGINE = ReplacingMergeTree "
                  f"ORDER BY {key} {extra}")  # fmt: skip
        before = cpu()
        bench.run(f"INSERT INTO {table} ({names}) SELECT {names} FROM made")
        inserted = cpu() - before
        bench.run(f"OPTIMIZE TABLE {table} FINAL")
        size = bench.run("SELECT sum(bytes_on_disk) / sum(rows) AS bytes FROM system.parts "
                         "WHERE active AND database = currentDatabase() "
                         f"AND table = '{table}'")  # fmt: skip
        bench.note(f"{name}: insert CPU s/M, bytes an event", inserted / bench.events * 1e6,
                   f"{size[0]['bytes']:.1f}")  # fmt: skip
        get = read.get(name, "p['{}']".format)("category")
        queries["group"][name] = (
            f"SELECT {get} AS c, count() FROM {table} WHERE c != 'bags' GROUP BY c"
        )
        queries["person"][name] = f"SELECT max(c) FROM (SELECT actor, count() AS c FROM {table} " \
                                  f"WHERE event IN {STEPS} GROUP BY actor)"  # fmt: skip
    for title, statements in queries.items():
        bench.compare(title, **statements)


def main() -> None:
    """Measure, print, clean up."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--choices", action="store_true")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    bench = Bench(args.events, args.rounds)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {args.events} events")
    try:
        if args.choices:
            choices(bench)
        else:
            inserting(bench)
            bench.fill()
            properties(bench)
            once(bench)
            opening(bench)
    finally:
        bench.warehouse.close()
        shutil.rmtree(bench.folder, ignore_errors=True)
    if args.json:
        Path(args.json).write_text(json.dumps(bench.figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()

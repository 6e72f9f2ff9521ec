"""What questions cost: CPU as a multiple of a plain scan of the columns that each one needs.

    python benchmarks/behaviour.py [--events 20000000] [--people 500000] [--rounds 3]
    python benchmarks/behaviour.py --only funnel retention --threads 2
    python benchmarks/behaviour.py --peers PYTHON      the plain funnel beside polars and DuckDB

The engine makes the events itself (90 days, ten event names, a skewed number of events a person)
in an embedded folder that is thrown away. Every question is asked through the same compiled SQL as
anywhere else, over a table of resolved events. In
each round every question runs once beside its scan, so a noisy machine is noisy for both; told are
the medians. The table is sorted as the warehouse sorts its events (`--order person`: by person and
time). CPU is user and system time of this process, all threads.

The peers read the same events from Parquet, sorted by nothing, and compute the levels of the same
five-step funnel. PYTHON is an interpreter that has them, made by hand once:

    python3 -m venv FOLDER && FOLDER/bin/pip install polars duckdb
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import clickhouse_connect

from desirepath_analytics import (
    Funnel,
    Lifecycle,
    Paths,
    Retention,
    Segment,
    Stickiness,
    Trend,
    did,
)
from desirepath_analytics.catalog import OpenCatalog
from desirepath_analytics.sql.build import Statement
from desirepath_analytics.sql.sessions import split_sessions
from desirepath_collector.warehouse import Sql

SINCE, UNTIL = "2026-01-01", "2026-04-01"
STEPS = ["e0", "e1", "e2", "e3", "e4"]
NAMES = [f"e{i}" for i in range(10)]

WHO_WHEN = ("person_id", "timestamp")
COLUMNS = (*WHO_WHEN, "event")

TABLE = """
CREATE TABLE resolved_events
(
    message_id String DEFAULT '', kind LowCardinality(String), event LowCardinality(String),
    session_id String DEFAULT '', group_id String DEFAULT '', person_id String,
    timestamp DateTime64(3, 'UTC'), properties Map(LowCardinality(String), String)
) ENGINE = MergeTree ORDER BY {order}
"""

ORDERS = {
    "event": "(event, toDate(timestamp), person_id, timestamp)",
    "person": "(person_id, timestamp)",
}

FILL = """
INSERT INTO resolved_events (kind, event, person_id, timestamp, properties)
SELECT
    'track', concat('e', toString(least(9, toUInt8(-log(1 - randCanonical(2)) * 2.5)))),
    concat('u', toString(1000000 + toUInt64(randCanonical(4) * randCanonical(5) * {people}))),
    toDateTime64('2026-01-01', 3, 'UTC') + (rand64(1) % (90 * 86400000)) / 1000,
    map('source', concat('s', toString(rand(3) % 8)))
FROM numbers({events})
"""


class Engine:
    """The embedded engine, with the CPU that each statement took."""

    def __init__(self, folder: str, threads: int) -> None:
        self.client = clickhouse_connect.get_client(interface="chdb", path=folder)
        self.threads = threads

    def run(self, sql: Sql) -> tuple[float, float, Any]:
        """Wall seconds, CPU seconds, rows."""
        wall, cpu = time.perf_counter(), cpu_s()
        settings = {**sql.settings, "max_threads": self.threads}
        rows = self.client.query(
            sql.text, parameters=dict(sql.params), settings=settings
        ).result_rows
        return time.perf_counter() - wall, cpu_s() - cpu, rows


def cpu_s() -> float:
    """CPU seconds of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def peak_mib() -> int:
    """The most memory this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def questions() -> dict[str, tuple[Sql, tuple[str, ...], float | None]]:
    """Statement, columns of its scan, and the target."""
    catalog = OpenCatalog()

    def of(question: Any) -> Sql:
        compiled: Sql = question.compile(catalog, SINCE, UNTIL)
        return compiled

    rename = [{"match": "e[3-5]", "name": "middle"}, {"regex": "e[89]", "name": "late"}]
    paths = Paths(steps=5, rename=rename)
    from desirepath_analytics.spec import Period
    from desirepath_analytics.sql.paths import paths_sql

    exclusion = {"event": "e7", "after": 2, "before": 3}
    touched = Funnel(STEPS, within="7d", exclude=[exclusion], by="properties.source")
    levels = ", ".join(f"event = '{step}'" for step in STEPS)
    when = "toUInt64(toUnixTimestamp64Milli(timestamp))"
    s = Statement(catalog)
    packed = f"bitShiftLeft({when}, 20)"
    arrays = f"SELECT arraySort(groupArray({packed})) AS xs FROM resolved_events GROUP BY person_id"
    sessions = s.sql(f"SELECT sum(length({split_sessions('xs', 1_800_000)})) FROM ({arrays})")
    return {
        "windowFunnel, levels only": (
            Sql(
                f"SELECT level, count() FROM (SELECT windowFunnel(604800000)({when}, {levels})"
                " AS level FROM resolved_events GROUP BY person_id) GROUP BY level"
            ),
            COLUMNS,
            None,
        ),
        "funnel": (of(Funnel(STEPS, within="7d")), COLUMNS, 7.0),
        "funnel, exclusion, first touch": (of(touched), (*COLUMNS, "properties"), 10.0),
        "funnel, strict": (of(Funnel(STEPS, within="7d", order="strict")), COLUMNS, 8.0),
        "retention": (of(Retention("e0", "e1", unit="week", periods=8)), COLUMNS, 2.5),
        "stickiness": (of(Stickiness("*")), (*WHO_WHEN, "kind"), 2.5),
        "lifecycle": (of(Lifecycle("*", unit="week")), (*WHO_WHEN, "kind"), 3.0),
        "paths, cleaned": (paths_sql(paths, catalog, Period.of(SINCE, UNTIL), NAMES), COLUMNS, 6.5),
        "sessions": (sessions, WHO_WHEN, 3.0),
        "segment": (
            of(Segment(did("e1").at_least(3).within("30d") & ~did("e4").within("30d"))),
            COLUMNS,
            1.5,
        ),
        "trend of people": (of(Trend({"event": "e1", "measure": "people"})), COLUMNS, None),
    }


def scan(columns: tuple[str, ...]) -> Sql:
    """Every value of the columns is read and looked at."""
    return Sql(f"SELECT count() FROM resolved_events WHERE NOT ignore({', '.join(columns)})")


def measure(engine: Engine, rounds: int, only: list[str]) -> dict[str, dict[str, Any]]:
    """Medians over the rounds."""
    asked = {
        name: what
        for name, what in questions().items()
        if not only or any(word in name for word in only)
    }
    figures: dict[str, dict[str, list[float]]] = {name: {} for name in asked}
    for _ in range(rounds + 1):
        for name, (sql, columns, _) in asked.items():
            _, base, _ = engine.run(scan(columns))
            wall, cpu, _ = engine.run(sql)
            for key, value in (("scan", base), ("cpu", cpu), ("wall", wall)):
                figures[name].setdefault(key, []).append(value)
    report = {}
    for name, (_, _, target) in asked.items():
        # The first round warms the caches.
        found = {key: statistics.median(values[1:]) for key, values in figures[name].items()}
        report[name] = {**found, "multiple": found["cpu"] / found["scan"], "target": target}
    return report


PEERS = """
import json, resource, sys, time
path, which = sys.argv[1:]
W = 7 * 86400000
names = ["e0", "e1", "e2", "e3", "e4"]
begin = time.perf_counter()
if which == "polars":
    import polars as pl
    frame = pl.scan_parquet(path).filter(pl.col("event").is_in(names)).sort("person_id", "t")
    start = pl.when(pl.col("event") == names[0]).then(pl.col("t")).forward_fill().over("person_id")
    frame = frame.with_columns(start.alias("s0"))
    for k, name in enumerate(names[1:], 1):
        before = pl.col(f"s{k-1}").shift(1).over("person_id")
        ok = (pl.col("event") == name) & (pl.col("t") - before <= W)
        frame = frame.with_columns(
            pl.when(ok).then(before).forward_fill().over("person_id").alias(f"s{k}"))
    reached = [pl.col(f"s{k}").is_not_null().any().cast(pl.Int8) for k in range(5)]
    level = pl.sum_horizontal(reached)
    found = (frame.group_by("person_id").agg(level.alias("level")).group_by("level").len()
             .collect(engine="streaming"))
    rows = sorted(found.rows())
else:
    import duckdb
    duckdb.sql("SET threads = 2; SET enable_progress_bar = false")
    query = "SELECT person_id, event, t, CASE WHEN event = 'e0' THEN t END AS x0"
    query += f" FROM '{path}' WHERE event IN ('e0', 'e1', 'e2', 'e3', 'e4')"
    over = "OVER (PARTITION BY person_id ORDER BY t ROWS UNBOUNDED PRECEDING)"
    query = f"SELECT *, last_value(x0 IGNORE NULLS) {over} AS s0 FROM ({query})"
    for k, name in enumerate(names[1:], 1):
        lag = "OVER (PARTITION BY person_id ORDER BY t)"
        query = f"SELECT *, lag(s{k-1}) {lag} AS b{k} FROM ({query})"
        taken = f"CASE WHEN event = '{name}' AND t - b{k} <= {W} THEN b{k} END"
        query = f"SELECT *, {taken} AS x{k} FROM ({query})"
        query = f"SELECT *, last_value(x{k} IGNORE NULLS) {over} AS s{k} FROM ({query})"
    levels = " + ".join(f"(max(s{k}) IS NOT NULL)::INT" for k in range(5))
    query = f"SELECT {levels} AS level FROM ({query}) GROUP BY person_id"
    rows = sorted(duckdb.sql(f"SELECT level, count(*) FROM ({query}) GROUP BY level").fetchall())
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"wall": time.perf_counter() - begin, "cpu": used.ru_utime + used.ru_stime,
                  "mib": used.ru_maxrss // 1024, "rows": rows}))
"""


def beside_peers(engine: Engine, python: str, folder: Path) -> dict[str, Any]:
    """The plain funnel from the same Parquet file, each in a process of its own."""
    file = folder / "events.parquet"
    engine.client.command(
        f"INSERT INTO FUNCTION file('{file}', 'Parquet') SELECT toString(person_id) AS person_id,"
        " toString(event) AS event, toUnixTimestamp64Milli(timestamp) AS t FROM resolved_events"
    )
    sql = Funnel(STEPS, within="7d").compile(OpenCatalog())
    columns = "person_id String, event LowCardinality(String), t Int64"
    relation = (
        "(SELECT *, fromUnixTimestamp64Milli(t, 'UTC') AS timestamp"
        f" FROM file('{file}', 'Parquet', '{columns}'))"
    )
    ours = Sql(sql.text.replace("resolved_events", relation), sql.params, sql.settings)
    engine.run(ours)
    wall, cpu, rows = engine.run(ours)
    report: dict[str, Any] = {"desirepath": {"wall": wall, "cpu": cpu, "rows": rows[0][2:8]}}
    for which in ("polars", "duckdb"):
        done = subprocess.run(
            [python, "-c", PEERS, str(file), which], capture_output=True, text=True, check=False
        )
        failed = {"failed": done.stderr[-400:]}
        # The last line: what stands before it is a library's own progress.
        report[which] = json.loads(done.stdout.splitlines()[-1]) if not done.returncode else failed
    return report


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, default=20_000_000)
    parser.add_argument("--people", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--order", choices=sorted(ORDERS), default="event")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD")
    parser.add_argument("--peers", metavar="PYTHON")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="behaviour-"))
    try:
        engine = Engine(str(folder / "engine"), args.threads)
        engine.client.command(TABLE.replace("{order}", ORDERS[args.order]))
        engine.client.command(FILL.format(events=args.events, people=args.people))
        report: dict[str, Any] = {"questions": measure(engine, args.rounds, args.only)}
        report["peak_mib"] = peak_mib()
        if not args.json:
            show(report, args)
        if args.peers:
            report["peers"] = beside_peers(engine, args.peers, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if args.json:
        json.dump(report, sys.stdout)
        return
    for name, found in report.get("peers", {}).items():
        print(f"{name:32} {found}")


def show(report: dict[str, Any], args: argparse.Namespace) -> None:
    """The figures as a table."""
    print(f"{args.events:,} events, {args.people:,} people; peak {report['peak_mib']:,} MiB")
    for name, found in report["questions"].items():
        target = f"at most {found['target']:g}" if found["target"] else ""
        print(
            f"{name:32} {found['multiple']:6.2f} x the scan {target:14}"
            f" {found['cpu']:7.2f} CPU s {found['wall']:7.2f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()

"""What taking events in costs: CPU seconds per million events, beside two common alternatives.

    python benchmarks/collector.py --peers FOLDER [--batch 1 10 100 500] [--rounds 5]
    python benchmarks/collector.py --only desirepath --bad 0 10 --types 5 50 500
    python benchmarks/collector.py --only end-to-end

Servers are started once and measured in turn, so a noisy machine is noisy for all of them. The
figure is the server's own CPU time (user and system, all threads and children) for the same
requests over keep-alive connections; events a second are told beside it and depend on the load
generator, which shares the machine. The peers validate the same events against the same
constraints and answer; they write nothing to a disk:

    fastapi-typed     FastAPI, uvicorn with uvloop and httptools, one pydantic model an event in a
                      discriminated union, access log off
    fastapi-generic   the same with properties as a plain dict, not validated
    node-ajv          Node's http module, one compiled ajv schema an event, discriminated

`desirepath` is the durable intake with ClickHouse away, so only admission, spool and fsync are
measured; `end-to-end` includes the embedded ClickHouse and all rows being in it.

Peers come from a folder that is made by hand, once:

    python3 -m venv FOLDER/venv && FOLDER/venv/bin/pip install fastapi 'uvicorn[standard]' pydantic
    cd FOLDER && npm init -y && npm install ajv ajv-formats
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HEADERS = "Host: x\r\nAuthorization: Basic ZGV2Og==\r\nContent-Type: application/json\r\n"
REQUESTS = {1: 8000, 10: 3000, 100: 600, 500: 160}
CONNECTIONS = 16

FASTAPI = """
import json, sys
from typing import Annotated, Any, Literal, Union
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field
count, typed = int(sys.argv[1]), sys.argv[3] == "typed"
class Library(BaseModel):
    name: str
    version: str
class Context(BaseModel):
    model_config = ConfigDict(extra="allow")
    library: Library
    app_version: Annotated[str, Field(pattern=r"^\\d+\\.\\d+")]
class Call(BaseModel):
    type: Literal["track"]
    messageId: str
    userId: str | None = None
    anonymousId: str | None = None
    timestamp: str
    context: Context
    event: str
    properties: dict[str, Any]
def make(n):
    class Properties(BaseModel):
        model_config = ConfigDict(extra="forbid")
        order_id: Annotated[str, Field(min_length=1, max_length=100)]
        total: Annotated[float, Field(ge=0)]
        currency: Literal["EUR", "USD", "SEK"]
        quantity: Annotated[int, Field(ge=1, le=1000)]
        coupon: Annotated[str, Field(max_length=50)] | None = None
        category: str
        sku: Annotated[str, Field(pattern=r"^[A-Z0-9-]+$")]
        url: str
        first: bool
    class Event(Call):
        event: Literal[f"Event {n}"]
        properties: Properties
    return Event
if typed:
    Item = Annotated[Union[tuple(make(n) for n in range(count))], Field(discriminator="event")]
else:
    Item = Call
class Batch(BaseModel):
    batch: list[Item]
app = FastAPI()
@app.post("/v1/batch")
async def take(batch: Batch):
    return {"success": True, "accepted": len(batch.batch)}
import uvicorn
uvicorn.run(app, port=int(sys.argv[2]), access_log=False, log_level="error", loop="uvloop",
            http="httptools")
"""

NODE = """
const http = require("http"), Ajv = require("ajv"), formats = require("ajv-formats");
const ajv = new Ajv({allErrors: true}); formats(ajv);
const common = {type: {const: "track"}, messageId: {type: "string"}, userId: {type: "string"},
  anonymousId: {type: "string"}, timestamp: {type: "string", format: "date-time"},
  event: {type: "string"},
  context: {type: "object", required: ["library"], properties: {
    library: {type: "object", properties: {name: {type: "string"}, version: {type: "string"}}},
    app_version: {type: "string", pattern: "^\\\\d+\\\\.\\\\d+"}}}};
const properties = {type: "object", additionalProperties: false,
  required: ["order_id", "total", "currency", "quantity", "category", "sku", "url", "first"],
  properties: {order_id: {type: "string", minLength: 1, maxLength: 100},
    total: {type: "number", minimum: 0}, currency: {enum: ["EUR", "USD", "SEK"]},
    quantity: {type: "integer", minimum: 1, maximum: 1000}, coupon: {type: "string", maxLength: 50},
    category: {type: "string"}, sku: {type: "string", pattern: "^[A-Z0-9-]+$"},
    url: {type: "string"}, first: {type: "boolean"}}};
const validators = new Map();
for (let n = 0; n < +process.argv[2]; n++) validators.set(`Event ${n}`, ajv.compile({
  $id: `e${n}`, type: "object", required: ["type", "messageId", "event", "properties", "context"],
  properties: {...common, properties}}));
http.createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    const batch = JSON.parse(Buffer.concat(chunks)).batch, quarantined = [];
    batch.forEach((call, index) => {
      const check = validators.get(call.event);
      if (!check || !check(call)) quarantined.push({index, errors: check && check.errors});
    });
    const accepted = batch.length - quarantined.length;
    const body = JSON.stringify({success: true, accepted, quarantined});
    response.writeHead(200, {"Content-Type": "application/json",
      "Content-Length": Buffer.byteLength(body)});
    response.end(body);
  });
}).listen(+process.argv[3], "127.0.0.1");
"""


def plan(types: int) -> str:
    """A plan of so many events with nine properties each."""
    events = "".join(
        f"""  Event {n}:
    properties:
      order_id: {{type: string, minLength: 1, maxLength: 100, required: true}}
      total: {{type: number, minimum: 0, required: true}}
      currency: {{type: string, enum: [EUR, USD, SEK], required: true}}
      quantity: {{type: integer, minimum: 1, maximum: 1000, required: true}}
      coupon: {{type: string, maxLength: 50}}
      category: {{type: string, required: true}}
      sku: {{type: string, pattern: '^[A-Z0-9-]+$', required: true}}
      url: {{type: string, required: true}}
      first: {{type: boolean, required: true}}
"""
        for n in range(types)
    )
    context = "context:\n  app_version: {type: string, pattern: '^\\d+\\.\\d+'}\n"
    return f"plan: bench\nversion: 1.0.0\n{context}events:\n{events}"


class Events:
    """Calls of about 600 bytes, each with a message id of its own."""

    def __init__(self, types: int, bad: float) -> None:
        self.types = types
        self.bad = bad
        self.random = random.Random(1)
        self.number = 0

    def call(self) -> dict[str, Any]:
        self.number += 1
        pick = self.random
        bad = pick.random() < self.bad
        return {
            "type": "track",
            "event": f"Event {pick.randrange(self.types)}",
            "messageId": f"0192f0a0-{os.getpid():08x}-7abc-8def-{self.number:012x}",
            "userId": f"user-{pick.randrange(100_000)}",
            "anonymousId": f"0192f0a0-1234-7abc-8def-{pick.randrange(100_000):012x}",
            "timestamp": "2026-03-05T12:00:00.123Z",
            "properties": {
                "order_id": f"A-{self.number}",
                "total": -1 if bad else round(pick.random() * 100, 2),
                "currency": pick.choice(["EUR", "USD", "SEK"]),
                "quantity": pick.randrange(1, 9),
                "coupon": "SPRING",
                "category": "garden and outdoor",
                "sku": f"G-{pick.randrange(1000)}",
                "url": "https://shop.example.com/products/garden/1?utm_source=news",
                "first": True,
            },
            "context": {
                "library": {"name": "bench", "version": "1.0.0"},
                "app_version": "1.2.3",
                "locale": "en-US",
                "page": {"path": "/products", "url": "https://shop.example.com/products"},
            },
        }

    def requests(self, count: int, size: int) -> list[bytes]:
        made = []
        for _ in range(count):
            body = compact({"batch": [self.call() for _ in range(size)]})
            head = f"POST /v1/batch HTTP/1.1\r\n{HEADERS}Content-Length: {len(body)}\r\n\r\n"
            made.append(head.encode() + body)
        return made


def compact(value: Any) -> bytes:
    """JSON as browsers, Node and Desirepath's own tracker write it."""
    return json.dumps(value, separators=(",", ":")).encode()


class Server:
    """A server process, and what it has used so far."""

    def __init__(self, name: str, words: list[str], port: int, **options: Any) -> None:
        self.name = name
        self.port = port
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL, **options)
        for _ in range(600):
            if self.process.poll() is not None:
                raise SystemExit(f"{name} did not start")
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                return
            time.sleep(0.1)
        raise SystemExit(f"{name} does not listen")

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")

    def resident_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def send(port: int, requests: list[bytes], connections: int) -> list[float]:
    """Send all requests; the seconds each took."""
    took: list[float] = []
    queue = iter(requests)

    async def work() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for request in queue:
            begun_s = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if b" 200 " not in head[:16]:
                raise SystemExit(head.decode() + (await reader.read(1000)).decode())
            length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
            await reader.readexactly(int(length))
            took.append(time.perf_counter() - begun_s)
        writer.close()

    await asyncio.gather(*(work() for _ in range(connections)))
    return took


def measure(server: Server, requests: list[bytes], size: int, connections: int) -> dict[str, float]:
    """CPU seconds per million events of one run, its speed and answer times."""
    before_s, begun_s = server.cpu_s(), time.perf_counter()
    took = sorted(asyncio.run(send(server.port, requests, connections)))
    if server.name == "end-to-end":
        drain(server)
    wall_s, cpu_s = time.perf_counter() - begun_s, server.cpu_s() - before_s
    events = len(requests) * size
    return {
        "cpu": cpu_s / events * 1e6,
        "rate": events / wall_s,
        "p50_ms": took[len(took) // 2] * 1000,
        "p99_ms": took[len(took) * 99 // 100] * 1000,
    }


def drain(server: Server) -> None:
    """Wait until everything is in ClickHouse."""
    while True:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/readyz") as answer:
            if json.load(answer)["spool_bytes"] == 0:
                return
        time.sleep(0.25)


@contextlib.contextmanager
def servers(
    names: list[str], types: int, peers: Path | None, folder: Path
) -> Iterator[list[Server]]:
    running: list[Server] = []
    (folder / "plan.yaml").write_text(plan(types))
    try:
        for name in names:
            port = free_port()
            if name in ("desirepath", "end-to-end"):
                words = [sys.executable, "-m", "desirepath", "serve", "--port", str(port)]
                words += ["--data", str(folder / name), "--plan", str(folder / "plan.yaml")]
                words += ["--clickhouse-port", "0"]
                if name == "desirepath":
                    words += ["--clickhouse", "http://127.0.0.1:1"]
                running.append(Server(name, words, port, stderr=subprocess.DEVNULL))
                continue
            if peers is None:
                raise SystemExit("--peers FOLDER is needed for the others; see the docstring")
            if name == "node-ajv":
                (peers / "server.js").write_text(NODE)
                words = ["node", "server.js", str(types), str(port)]
            else:
                (peers / "server.py").write_text(FASTAPI)
                kind = name.removeprefix("fastapi-")
                words = [str(peers / "venv/bin/python"), "server.py", str(types), str(port), kind]
            running.append(Server(name, words, port, cwd=peers))
        yield running
    finally:
        for server in running:
            server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peers", type=Path, help="folder with the peers installed")
    parser.add_argument("--only", nargs="+", help="servers to measure (default: all)")
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 10, 100, 500])
    parser.add_argument("--bad", nargs="+", type=float, default=[0], help="percent of bad events")
    parser.add_argument(
        "--types", nargs="+", type=int, default=[50], help="event types in the plan"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--scale", type=float, default=1.0, help="of the requests a round")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    names = args.only or [
        "desirepath",
        "end-to-end",
        "fastapi-typed",
        "fastapi-generic",
        "node-ajv",
    ]
    found: list[dict[str, Any]] = []
    for types in args.types:
        with (
            tempfile.TemporaryDirectory() as folder,
            servers(names, types, args.peers, Path(folder)) as running,
        ):
            for bad in args.bad:
                for size in args.batch:
                    found += compare(running, types, bad, size, args)
            for server in running:
                print(f"{server.name}: {server.resident_mb():.0f} MB resident", file=sys.stderr)
    if args.json:
        print(json.dumps(found))


def compare(
    running: list[Server], types: int, bad: float, size: int, args: argparse.Namespace
) -> list[dict[str, Any]]:
    events = Events(types, bad / 100)
    count = max(50, int(REQUESTS.get(size, max(1, 60_000 // size)) * args.scale))
    results: dict[str, list[dict[str, float]]] = {server.name: [] for server in running}
    for number in range(args.rounds + 1):
        for server in running:
            requests = events.requests(count if number else max(20, count // 10), size)
            result = measure(server, requests, size, args.connections)
            if number:  # the first round only warms up
                results[server.name].append(result)
    rows = []
    for name, rounds in results.items():
        row: dict[str, Any] = {"server": name, "batch": size, "types": types, "bad": bad}
        for key in rounds[0]:
            row[key] = statistics.median(each[key] for each in rounds)
        rows.append(row)
        print(
            f"batch {size:>4}  types {types:>4}  bad {bad:>4}%  {name:<16} "
            f"{row['cpu']:>7.1f} CPU s/M  {row['rate']:>9,.0f} events/s  "
            f"p50 {row['p50_ms']:>6.1f} ms  p99 {row['p99_ms']:>6.1f} ms",
            file=sys.stderr,
        )
    return rows


if __name__ == "__main__":
    main()

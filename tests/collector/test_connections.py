"""What happens on the wire: odd pieces, slow clients, half-open connections, other methods."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import resource
import socket
import time

import aiohttp
import pytest
from tests.collector.conftest import Serve, Start
from tests.collector.kit import MemoryStore, basic, batch, post, track, until

from desirepath_collector.app import Collector
from desirepath_collector.http import fastlane

BODY = json.dumps(batch(track())).encode()
AUTH = basic()["Authorization"]


def request(body: bytes = BODY, *, extra: str = "", length: int | None = None) -> bytes:
    """A batch request as bytes."""
    size = len(body) if length is None else length
    head = f"POST /v1/batch HTTP/1.1\r\nHost: x\r\nAuthorization: {AUTH}\r\n{extra}"
    return f"{head}Content-Length: {size}\r\n\r\n".encode() + body


class Wire:
    """A bare connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, collector: Collector) -> Wire:
        host, port = collector.url.removeprefix("http://").split(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)).decode()
        status, *lines = head.rstrip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (x.partition(": ") for x in lines)}
        body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return int(status.split()[1]), headers, body

    async def closed(self, timeout_s: float = 10) -> bool:
        return await asyncio.wait_for(self.reader.read(), timeout_s) == b""

    async def __aenter__(self) -> Wire:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


async def test_a_request_cut_anywhere_is_the_same(start: Start, store: MemoryStore) -> None:
    collector = await start()
    whole = request()
    async with await Wire.open(collector) as wire:
        for cut in range(1, len(whole), 3):
            wire.send(whole[:cut])
            await asyncio.sleep(0.0005)
            wire.send(whole[cut:])
            status, headers, _ = await wire.answer()
            assert status == 200
            assert "connection" not in headers


async def test_pipelined_requests_are_answered_in_order(start: Start) -> None:
    collector = await start()
    bodies = [json.dumps(batch(*[track()] * n)).encode() for n in range(1, 20)]
    async with await Wire.open(collector) as wire:
        wire.send(b"".join(request(body) for body in bodies))
        for count in range(1, 20):
            _, _, answer = await wire.answer()
            assert json.loads(answer)["accepted"] == count


async def test_more_than_is_read_ahead_still_arrives(start: Start) -> None:
    collector = await start()
    body = json.dumps(batch(track(properties={"a": "x" * 30_000}))).encode()
    count = 3 * fastlane.MAX_BEHIND_BYTES // len(body) + 10
    async with await Wire.open(collector) as wire:
        wire.send(request(body) * count)
        for _ in range(count):
            assert (await wire.answer())[0] == 200


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /v1/batch HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (request().replace(b"HTTP/1.1", b"HTTP/1.0"), 200),
        (request().replace(b"/v1/batch", b"/v1/batch?x=1"), 200),
        (request(extra="Expect: 100-continue\r\n"), 100),
        (b"rubbish\r\n\r\n", 400),
        (request(extra="Content-Length: 3\r\n"), 400),
        (request(extra="Transfer-Encoding: chunked\r\n"), 400),
        (request(extra="Bad Name: 1\r\n"), 400),
        (request(extra=" folded: 1\r\n"), 400),
        (request(length=0, body=b""), 400),
        (request().replace(f"Content-Length: {len(BODY)}".encode(), b"Content-Length: -1"), 400),
        (request().replace(b"Host: x\r\n", b"X: " + b"y" * 20_000 + b"\r\n"), 431),
    ],
)
async def test_odd_heads(data: bytes, status: int, start: Start) -> None:
    collector = await start()
    async with await Wire.open(collector) as wire:
        wire.send(data)
        assert (await wire.answer())[0] == status


async def test_a_connection_changes_hands_and_goes_on(start: Start) -> None:
    collector = await start()
    async with await Wire.open(collector) as wire:
        for data in (request(), b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", request()):
            wire.send(data)
            assert (await wire.answer())[0] == 200


async def test_close_and_half_close_are_honoured(start: Start) -> None:
    collector = await start()
    async with await Wire.open(collector) as wire:
        wire.send(request(extra="Connection: close\r\n"))
        _, headers, _ = await wire.answer()
        assert headers["connection"] == "close"
        assert await wire.closed()
    async with await Wire.open(collector) as wire:
        wire.send(request())
        wire.writer.write_eof()
        assert (await wire.answer())[0] == 200
        assert await wire.closed()


async def test_an_endless_head_is_refused(start: Start) -> None:
    collector = await start()
    async with await Wire.open(collector) as wire:
        wire.send(b"POST /v1/batch HTTP/1.1\r\nX: " + b"y" * (fastlane.MAX_HEAD_BYTES + 1))
        assert (await wire.answer())[0] == 431
        assert await wire.closed()


async def test_a_large_body_is_refused_before_it_is_read(start: Start) -> None:
    collector = await start(max_body_bytes=1000)
    async with await Wire.open(collector) as wire:
        wire.send(request(body=b"x" * 10, length=1001))
        status, headers, answer = await wire.answer()
        assert (status, headers["connection"]) == (413, "close")
        assert json.loads(answer)["error"]["code"] == "too_large"


async def test_slow_heads_and_bodies_are_dropped(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fastlane, "HEAD_TIMEOUT_S", 0.2)
    monkeypatch.setattr(fastlane, "_SWEEP_S", 0.05)
    collector = await start(body_timeout_s=0.3)
    async with await Wire.open(collector) as silent:
        assert await silent.closed()
    async with await Wire.open(collector) as head:
        head.send(b"POST /v1/batch HT")
        assert (await head.answer())[0] == 408
    async with await Wire.open(collector) as body:
        body.send(request(length=1000))
        status, headers, _ = await body.answer()
        assert (status, headers["retry-after"]) == (408, "1")
        assert await body.closed()
    async with await Wire.open(collector) as trickle:
        trickle.send(request(length=1000))
        begun_s = time.monotonic()
        while time.monotonic() - begun_s < 2 and not trickle.reader.at_eof():
            trickle.send(b" ")
            await asyncio.sleep(0.02)
        assert (await trickle.answer())[0] == 408
    chunked = request().replace(
        f"Content-Length: {len(BODY)}".encode(), b"Transfer-Encoding: chunked"
    )
    async with await Wire.open(collector) as long_way:
        long_way.send(chunked[: -len(BODY)] + b"5\r\nabc")
        assert (await long_way.answer())[0] == 408


async def test_half_open_uploads_share_one_bound(start: Start, http: aiohttp.ClientSession) -> None:
    collector = await start(max_inflight_bytes=200_000, max_body_bytes=100_000)
    wires = [await Wire.open(collector) for _ in range(30)]
    for wire in wires:
        wire.send(request(body=b" " * 10_000, length=90_000))
    answers = [asyncio.create_task(wire.answer()) for wire in wires]
    done, waiting = await asyncio.wait(answers, timeout=0.5)
    assert len(done) >= 10
    for task in done:
        status, headers, _ = task.result()
        assert (status, headers["retry-after"]) == (503, "1")
    for task in waiting:
        task.cancel()
    for wire in wires:
        wire.writer.close()
    await asyncio.sleep(0.1)
    # They are gone, and all their room is there again.
    status, _ = await post(http, collector, batch(track(properties={"a": "x" * 60_000})))
    assert status == 200


def test_a_thousand_half_open_uploads_hold_little_memory(serve: Serve) -> None:
    server = serve()
    before = _resident_bytes(server.pid)
    host, port = server.url.removeprefix("http://").split(":")
    sockets = []
    try:
        for _ in range(1000):
            sock = socket.create_connection((host, int(port)))
            sock.setblocking(False)
            sockets.append(sock)
        data = request(body=b" " * 100_000, length=4_000_000)
        for sock in sockets:
            with contextlib.suppress(BlockingIOError, ConnectionError):
                sock.send(data)
        time.sleep(1.0)
        assert _resident_bytes(server.pid) - before < 64 << 20
    finally:
        for sock in sockets:
            sock.close()


def _resident_bytes(pid: int) -> int:
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


async def test_a_gzip_bomb_costs_next_to_nothing(start: Start, http: aiohttp.ClientSession) -> None:
    collector = await start()
    bomb = gzip.compress(b"0" * 50_000_000) * 20
    before_s = time.process_time()
    status, answer = await post(http, collector, bomb, headers={"Content-Encoding": "gzip"})
    spent_s = time.process_time() - before_s
    assert (status, answer["error"]["code"]) == (413, "too_large")
    assert spent_s < 0.1


async def test_a_client_that_does_not_read_is_not_read(start: Start, store: MemoryStore) -> None:
    collector = await start()
    refused = request(body=b"{")
    async with await Wire.open(collector) as wire:
        sock = wire.writer.get_extra_info("socket")
        data = refused * 2000
        for _ in range(20):
            wire.send(data)
        await asyncio.sleep(0.3)
        assert sock is not None
        lane_bytes = sum(
            connection._transport.get_write_buffer_size()
            for connection in collector.lane.connections
        )
        assert lane_bytes < 1 << 20
        wire.writer.transport.abort()


async def test_metrics_and_health(start: Start, http: aiohttp.ClientSession) -> None:
    collector = await start()
    await post(http, collector, batch(track(), track(userId="null")))
    async with http.get(collector.url + "/metrics") as answer:
        text = await answer.text()
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert 'desirepath_events_total{source="dev",verdict="accepted"} 1\n' in text
    assert 'desirepath_events_total{source="dev",verdict="quarantined"} 1\n' in text
    assert 'desirepath_violations_total{code="placeholder"} 1\n' in text
    assert 'desirepath_requests_total{result="ok"} 1\n' in text
    async with http.get(collector.url + "/readyz") as answer:
        assert (answer.status, (await answer.json())["ready"]) == (200, True)


async def test_stopping_turns_away_and_keeps_what_it_took(
    start: Start, store: MemoryStore, http: aiohttp.ClientSession
) -> None:
    collector = await start(load_interval_s=5.0)
    assert (await post(http, collector, batch(track())))[0] == 200
    assert store.rows == []
    async with await Wire.open(collector) as wire:
        whole = request()
        wire.send(whole[:-5])
        await asyncio.sleep(0.05)
        stopping = asyncio.create_task(collector.stop())
        await asyncio.sleep(0.05)
        wire.send(whole[-5:])
        status, headers, _ = await wire.answer()
        assert (status, headers["retry-after"], headers["connection"]) == (503, "5", "close")
        await stopping
    assert len(store.rows) == 1
    with pytest.raises(aiohttp.ClientConnectionError):
        await post(http, collector, batch(track()))


async def test_browsers_of_other_origins(start: Start, http: aiohttp.ClientSession) -> None:
    collector = await start(
        sources={
            "shop": {"write_key": "k-1", "origins": ["https://shop.example"]},
            "server": {"write_key": "k-2", "origins": []},
        }
    )
    here, there = {"Origin": "https://shop.example"}, {"Origin": "https://evil.example"}
    assert (await post(http, collector, batch(track()), key="k-1", headers=here))[0] == 200
    assert (await post(http, collector, batch(track()), key="k-1", headers=there))[0] == 403
    assert (await post(http, collector, batch(track()), key="k-2", headers=here))[0] == 403
    assert (await post(http, collector, batch(track()), key="k-2"))[0] == 200
    for headers, granted in ((here, here["Origin"]), (there, None)):
        async with http.options(collector.url + "/v1/t", headers=headers) as answer:
            assert answer.headers.get("Access-Control-Allow-Origin") == granted


async def test_the_sweeper_keeps_busy_connections(
    start: Start, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fastlane, "_SWEEP_S", 0.02)
    collector = await start(idle_timeout_s=0.2)
    async with await Wire.open(collector) as wire:
        for _ in range(4):
            await asyncio.sleep(0.1)
            wire.send(request())
            assert (await wire.answer())[0] == 200
        assert await wire.closed()
    await until(lambda: not collector.lane.connections)

"""What is posted, by whatever client, is durable, judged, and ends up as rows."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
from tests.collector.conftest import Start
from tests.collector.kit import MemoryStore, basic, batch, codes, post, track, until

from desirepath.event import PAGE_EVENT, SCREEN_EVENT

CLIENTS = [
    "rudder-sdk-node", "rudder-sdk-node-gzip", "rudder-sdk-python", "rudderstack-analytics-js",
    "segment-analytics-next", "segment-analytics-next-batching", "segment-analytics-node",
    "segment-analytics-node-legacy", "segment-analytics-python", "segment-analytics-python-gzip",
]  # fmt: skip


@pytest.mark.parametrize("client", CLIENTS)
async def test_captured_client_is_taken_whole(
    client: str, start: Start, store: MemoryStore, http: aiohttp.ClientSession, shared_data: Path
) -> None:
    collector = await start(sources={"web": {"write_key": "testWriteKey"}})
    sent: list[dict[str, Any]] = []
    lines = (shared_data / "client_payloads" / f"{client}.jsonl").read_text().splitlines()
    for line in lines:
        request = json.loads(line)
        headers = {
            name: value
            for name, value in request["headers"].items()
            if name.lower() not in ("host", "content-length", "connection", "accept-encoding")
        }
        body = None if request["body"] is None else json.dumps(request["body"]).encode()
        if headers.get("Content-Encoding") == "gzip" and body:
            body = gzip.compress(body)
        url = collector.url + request["path"]
        async with http.request(request["method"], url, data=body, headers=headers) as answer:
            assert answer.status in (200, 204), await answer.text()
            if origin := headers.get("Origin"):
                assert answer.headers["Access-Control-Allow-Origin"] == origin
            if request["method"] == "OPTIONS":
                wanted = request["headers"]["Access-Control-Request-Headers"].lower().split(", ")
                allowed = answer.headers["Access-Control-Allow-Headers"].lower().split(", ")
                assert set(wanted) <= set(allowed)
            elif request["method"] == "POST":
                verdicts = await answer.json()
                calls = request["body"].get("batch", [request["body"]])
                assert verdicts == {
                    "success": True, "accepted": len(calls), "quarantined": [], "violations": [],
                }  # fmt: skip
                sent += calls
    rows = await until(lambda: len(store.rows) >= len(sent) and store.rows)
    assert {row.message_id for row in rows} == {call["messageId"] for call in sent}
    by_id = {row.message_id: row for row in rows}
    for call in sent:
        row = by_id[call["messageId"]]
        assert row.kind == call["type"]
        assert row.user_id == (call.get("userId") or "")
        assert row.anonymous_id == (call.get("anonymousId") or "")
        properties = json.loads(bytes(row.properties))
        if call["type"] == "track":
            assert (row.event, properties) == (call["event"], call["properties"])
        if call["type"] == "identify":
            assert properties == (call.get("traits") or call["context"]["traits"])
        if call["type"] in ("page", "screen"):
            assert properties.get("name") == call.get("name")


@pytest.mark.parametrize(
    ("path", "kind", "event"),
    [
        ("/v1/track", "track", "Seen"), ("/v1/t", "track", "Seen"),
        ("/v1/identify", "identify", ""), ("/v1/i", "identify", ""),
        ("/v1/page", "page", PAGE_EVENT), ("/v1/p", "page", PAGE_EVENT),
        ("/v1/screen", "screen", SCREEN_EVENT), ("/v1/s", "screen", SCREEN_EVENT),
        ("/v1/group", "group", ""), ("/v1/g", "group", ""),
        ("/v1/alias", "alias", ""), ("/v1/a", "alias", ""),
    ],
)  # fmt: skip
async def test_each_call_has_two_addresses(
    path: str, kind: str, event: str, start: Start, store: MemoryStore, http: aiohttp.ClientSession
) -> None:
    collector = await start()
    call = {"userId": "u1", "groupId": "g1", "previousId": "a1", "event": "Seen", "name": "Home"}
    status, answer = await post(http, collector, call, path)
    assert (status, answer["accepted"]) == (200, 1), answer
    row = (await until(lambda: store.rows))[0]
    assert (row.kind, row.event, row.user_id) == (kind, event, "u1")
    assert row.group_id == ("g1" if kind == "group" else "")
    assert row.previous_id == ("a1" if kind == "alias" else "")


@pytest.mark.parametrize("path", ["/v1/batch", "/v1/import", "/v1/b"])
async def test_batches_have_three_addresses(
    path: str, start: Start, store: MemoryStore, http: aiohttp.ClientSession
) -> None:
    collector = await start()
    status, answer = await post(http, collector, batch(track(), track()), path)
    assert (status, answer["accepted"]) == (200, 2)
    await until(lambda: len(store.rows) == 2)


@pytest.mark.parametrize("way", ["basic", "header", "body", "event"])
async def test_write_key_by_every_way(way: str, start: Start, http: aiohttp.ClientSession) -> None:
    collector = await start(sources={"web": {"write_key": "k-1"}})
    body = batch(track())
    options: dict[str, Any] = {"key": None}
    if way == "basic":
        options["key"] = "k-1"
    elif way == "header":
        options["headers"] = {"X-Write-Key": "k-1"}
    elif way == "body":
        body["writeKey"] = "k-1"
    else:
        body["batch"][0]["writeKey"] = "k-1"
    assert (await post(http, collector, body, **options))[0] == 200


@pytest.mark.parametrize(
    "authorization", ["", "Basic dGhpcy1pcy13cm9uZzo=", "Basic ???", "Bearer k-1", "Basic"]
)
async def test_wrong_key_is_401_and_keeps_nothing(
    authorization: str, start: Start, store: MemoryStore, http: aiohttp.ClientSession
) -> None:
    collector = await start(sources={"web": {"write_key": "k-1"}})
    status, answer = await post(
        http, collector, batch(track()), key=None, headers={"Authorization": authorization}
    )
    assert (status, answer["error"]["code"]) == (401, "unauthorized")
    assert collector.readiness()[1]["spool_bytes"] == 0


async def test_many_passwords_of_one_key_are_not_all_remembered(
    start: Start, http: aiohttp.ClientSession
) -> None:
    collector = await start()
    for number in range(3000):
        text = base64.b64encode(f"dev:{number}".encode()).decode()
        assert collector.intake.source_of(f"Basic {text}").name == "dev"
    assert len(collector.intake._authorizations) <= 1000
    assert (await post(http, collector, batch(track())))[0] == 200


async def test_two_keys_in_one_batch_are_nobodys(start: Start, http: aiohttp.ClientSession) -> None:
    collector = await start(sources={"one": {"write_key": "k-1"}, "two": {"write_key": "k-2"}})
    body = batch(track(writeKey="k-1"), track(writeKey="k-2"))
    assert (await post(http, collector, body, key=None))[0] == 401


def form(body: bytes) -> bytes:
    return urlencode({"data": base64.b64encode(body).decode()}).encode()


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


@pytest.mark.parametrize(
    ("content_type", "encoding", "pack"),
    [
        ("application/json", "", bytes),
        ("application/json; charset=utf-8", "gzip", gzip.compress),
        ("application/json", "deflate", zlib.compress),
        ("application/json", "deflate", raw_deflate),
        ("text/plain", "", bytes),
        ("text/plain;charset=UTF-8", "gzip", gzip.compress),
        ("application/x-www-form-urlencoded", "gzip", gzip.compress),
        ("application/x-www-form-urlencoded", "", form),
        ("application/x-www-form-urlencoded", "", lambda body: urlencode({"data": body}).encode()),
    ],
)
async def test_content_types_and_encodings(
    content_type: str, encoding: str, pack: Any, start: Start, http: aiohttp.ClientSession
) -> None:
    collector = await start()
    headers = {"Content-Type": content_type} | ({"Content-Encoding": encoding} if encoding else {})
    body = json.dumps(batch(track(properties={"é+/": "ü"}))).encode()
    status, answer = await post(http, collector, pack(body), headers=headers)
    assert (status, answer.get("accepted")) == (200, 1), answer


BODY = json.dumps(batch(track())).encode()


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"", {}, 400, "malformed"),
        (b"{", {}, 400, "malformed"),
        (b"[]", {}, 400, "malformed"),
        (b"{}", {}, 400, "malformed"),
        (b'{"batch": {}}', {}, 400, "malformed"),
        (b'{"batch": [{]}', {}, 400, "malformed"),
        (b'{"batch": [{}]} x', {}, 400, "malformed"),
        (b'{"batch": [' + b"[" * 100_000, {}, 400, "malformed"),
        (b"[" * 100_000 + b"]" * 100_000, {}, 400, "malformed"),
        (BODY, {"Content-Type": "image/png"}, 415, "unsupported_type"),
        (BODY, {"Content-Encoding": "br"}, 415, "unsupported_type"),
        (BODY, {"Content-Encoding": "gzip"}, 400, "bad_encoding"),
        (gzip.compress(BODY)[:-9], {"Content-Encoding": "gzip"}, 400, "bad_encoding"),
        (gzip.compress(BODY) + b"x", {"Content-Encoding": "gzip"}, 400, "bad_encoding"),
        (zlib.compress(BODY)[:-2] + b"xx", {"Content-Encoding": "deflate"}, 400, "bad_encoding"),
        (b"a=1", {"Content-Type": "application/x-www-form-urlencoded"}, 400, "malformed"),
        (b"data=%%", {"Content-Type": "application/x-www-form-urlencoded"}, 400, "malformed"),
    ],
)
async def test_refused_bodies(
    body: bytes,
    headers: dict[str, str],
    status: int,
    code: str,
    start: Start,
    http: aiohttp.ClientSession,
) -> None:
    collector = await start()
    found, answer = await post(http, collector, body, headers=headers)
    assert (found, answer["error"]["code"], answer["success"]) == (status, code, False)
    assert collector.readiness()[1]["spool_bytes"] == 0


async def test_malformed_json_tells_the_place(start: Start, http: aiohttp.ClientSession) -> None:
    collector = await start()
    _, answer = await post(http, collector, b'{"userId": 1,,}', "/v1/track")
    assert "byte 13" in answer["error"]["message"]


async def test_a_number_beyond_every_range_harms_no_other_event(
    start: Start, store: MemoryStore, http: aiohttp.ClientSession
) -> None:
    collector = await start()
    body = json.dumps(batch(track(properties={"n": 0}), track(properties={"n": 1}))).encode()
    body = body.replace(b'{"n": 0}', b'{"n": 1e99999999999999999999}')
    status, answer = await post(http, collector, body)
    assert (status, answer["accepted"]) == (200, 1)
    assert codes(answer["quarantined"][0]["violations"]) == {("number", "/properties")}
    rows = await until(lambda: store.rows)
    assert [json.loads(bytes(row.properties)) for row in rows] == [{"n": 1}]


async def test_limits_at_n_and_one_above(start: Start, http: aiohttp.ClientSession) -> None:
    collector = await start(max_body_bytes=2000, max_inflated_bytes=3000, max_batch_events=3)

    def sized(size: int) -> bytes:
        body = json.dumps(batch(track())).encode()
        return body + b" " * (size - len(body))

    assert (await post(http, collector, sized(2000)))[0] == 200
    assert (await post(http, collector, sized(2001)))[0] == 413
    encoded = {"Content-Encoding": "gzip"}
    assert (await post(http, collector, gzip.compress(sized(3000)), headers=encoded))[0] == 200
    status, answer = await post(http, collector, gzip.compress(sized(3001)), headers=encoded)
    assert (status, answer["error"]["code"]) == (413, "too_large")
    assert (await post(http, collector, batch(*[track()] * 3)))[0] == 200
    status, answer = await post(http, collector, batch(*[track()] * 4))
    assert (status, answer["error"]["pointer"]) == (413, "/batch")


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


async def test_event_limits_at_n_and_one_above(
    start: Start, store: MemoryStore, http: aiohttp.ClientSession
) -> None:
    collector = await start(max_event_bytes=1000, max_properties=5, max_depth=8)

    def padded(size: int) -> dict[str, Any]:
        # What counts is the properties and the context, as the client wrote them.
        return track(properties={"a": "x" * (size - len('{"a": ""}{}'))}, context={})

    def many(count: int) -> dict[str, Any]:
        return track(properties={str(n): n for n in range(count)})

    body = batch(
        padded(1000), padded(1001),
        many(5), many(6),
        track(properties={"a": nested(7)}), track(properties={"a": nested(8)}),
        track(event="e" * 256), track(event="e" * 257),
        track(userId="u" * 512), track(userId="u" * 513),
        track(messageId="m" * 512), track(messageId="m" * 513),
        track(timestamp="1900-01-01T00:00:00Z"), track(timestamp="1899-12-31T23:59:59Z"),
    )  # fmt: skip
    status, answer = await post(http, collector, body)
    assert (status, answer["accepted"]) == (200, 7)
    found = {one["index"]: codes(one["violations"]) for one in answer["quarantined"]}
    assert found == {
        1: {("size", "")},
        3: {("size", "/properties")},
        5: {("depth", "/properties")},
        7: {("size", "/event")},
        9: {("size", "/userId")},
        11: {("size", "/messageId")},
        13: {("range", "/timestamp")},
    }
    await until(lambda: len(store.rows) == 7 and len(store.refused) == 7)


HOSTILE = {
    "depth 100,000": b'{"type":"track","event":"Seen","userId":"u","properties":{"a":'
    + b"[" * 100_000 + b"]" * 100_000 + b"}}",
    "5,000 digits": b'{"type":"track","event":"Seen","userId":"u","properties":{"a":'
    + b"9" * 5000 + b"}}",
    "NaN": b'{"type":"track","event":"Seen","userId":"u","properties":{"a":NaN}}',
    "lone surrogate": b'{"type":"track","event":"Seen","userId":"u","properties":{"a":"\\ud800"}}',
    "surrogate in the name": b'{"type":"track","event":"\\udc00","userId":"u"}',
    "bad UTF-8": b'{"type":"track","event":"Seen","userId":"u","properties":{"a":"\xff"}}',
    "duplicate keys": b'{"type":"track","event":"Seen","userId":"u","properties":{"a":1,"a":2}}',
    "not an object": b"42",
    "null": b"null",
    "a string with brackets": b'"]}[{"',
    "an object as id": b'{"type":"track","event":"Seen","userId":{"a":1}}',
    "a number as name": b'{"type":"track","event":7,"userId":"u"}',
    "no type": b'{"event":"Seen","userId":"u"}',
    "unknown type": b'{"type":"trick","event":"Seen","userId":"u"}',
    "no name": b'{"type":"track","userId":"u"}',
    "no person": b'{"type":"track","event":"Seen"}',
    "no group": b'{"type":"group","userId":"u"}',
    "no previous id": b'{"type":"alias","userId":"u"}',
    "properties an array": b'{"type":"track","event":"Seen","userId":"u","properties":[1]}',
    "context a string": b'{"type":"track","event":"Seen","userId":"u","context":"x"}',
    "a time that is none": b'{"type":"track","event":"Seen","userId":"u","timestamp":"soon"}',
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
async def test_one_bad_event_never_harms_its_batch(
    name: str, start: Start, store: MemoryStore, http: aiohttp.ClientSession
) -> None:
    collector = await start()
    good = [json.dumps(track(messageId=f"good-{n}", properties={"q": ',"]}'})) for n in range(4)]
    pieces = [piece.encode() for piece in good]
    pieces.insert(2, HOSTILE[name])
    body = b'{"sentAt": "2026-01-01T00:00:00Z", "batch": [' + b" ,\n".join(pieces) + b"]}"
    status, answer = await post(http, collector, body)
    assert (status, answer["accepted"]) == (200, 4), answer
    assert [one["index"] for one in answer["quarantined"]] == [2]
    await until(lambda: len(store.rows) == 4 and len(store.refused) == 1)
    assert {row.message_id for row in store.rows} == {f"good-{n}" for n in range(4)}
    refused = store.refused[0]
    assert codes(refused.violations) == codes(answer["quarantined"][0]["violations"])
    json.loads(refused.payload)


@pytest.mark.parametrize(
    "value", ["null", "undefined", "NaN", "None", "0", "[object Object]", "anonymous",
              "00000000-0000-0000-0000-000000000000"],
)  # fmt: skip
async def test_placeholder_ids_are_violations(
    value: str, start: Start, http: aiohttp.ClientSession
) -> None:
    collector = await start()
    calls = [track(userId=value), track(userId=None, anonymousId=value), track()]
    _, answer = await post(http, collector, batch(*calls))
    assert answer["accepted"] == 1
    found = [codes(one["violations"]) for one in answer["quarantined"]]
    assert found == [{("placeholder", "/userId")}, {("placeholder", "/anonymousId")}]


async def test_an_id_may_be_a_number(
    start: Start, store: MemoryStore, http: aiohttp.ClientSession
) -> None:
    collector = await start()
    await post(http, collector, batch(track(userId=4711)))
    assert (await until(lambda: store.rows))[0].user_id == "4711"


async def test_the_plan_judges_and_protects(
    start: Start, store: MemoryStore, http: aiohttp.ClientSession, plan_file: Path
) -> None:
    collector = await start(plan=str(plan_file))
    calls = [
        track("Bought", {"order_id": "A1", "total": 3}, context={"app_version": "1.2"}),
        track("Bought", {"total": -1, "extra": True}),
        track("Unheard", {}),
        track("Seen", {"what": "x", "more": 1}),
        {"type": "identify", "userId": "u1", "traits": {"email": "someone@example.com"}},
        {"type": "identify", "userId": "u1", "traits": {"email": "broken"}},
    ]
    _, answer = await post(http, collector, batch(*calls))
    assert answer["accepted"] == 3
    found = {one["index"]: codes(one["violations"]) for one in answer["quarantined"]}
    assert found == {
        1: {("missing", "/properties/order_id"), ("range", "/properties/total"),
            ("unplanned_property", "/properties/extra")},
        2: {("unplanned_event", "/event")},
        5: {("format", "/traits/email")},
    }  # fmt: skip
    await until(lambda: len(store.rows) == 3 and len(store.refused) == 3)
    assert {(row.plan, row.plan_version) for row in store.rows} == {("little", "1.0.0")}
    stored = b"".join(bytes(row.properties) for row in store.rows).decode()
    kept = "".join(row.payload for row in store.refused)
    assert "someone@example.com" not in stored + kept
    assert "broken" not in kept
    assert "broken" not in json.dumps(answer)


async def test_clock_skew(start: Start, store: MemoryStore, http: aiohttp.ClientSession) -> None:
    collector = await start()
    calls = [
        track(messageId="hour behind", timestamp="2020-01-01T00:00:10.000Z"),
        track(messageId="zone", timestamp="2020-01-01T01:00:10.000+01:00"),
        track(messageId="original", originalTimestamp="2020-01-01T00:00:10Z"),
        track(messageId="none"),
    ]
    await post(http, collector, batch(*calls, sentAt="2020-01-01T00:00:20.000Z"))
    await until(lambda: len(store.rows) == 4)
    rows = {row.message_id: row for row in store.rows}
    for name in ("hour behind", "zone", "original"):
        row = rows[name]
        assert row.original_timestamp == 1577836810000
        assert row.sent_at == 1577836820000
        # Ten seconds old when it was sent, so ten seconds older than its arrival.
        assert row.timestamp == row.received_at - 10_000
    # An event without a time of its own happened when it came.
    assert rows["none"].original_timestamp == rows["none"].received_at


async def test_a_retry_of_a_good_clock_keeps_its_time(
    start: Start, store: MemoryStore, http: aiohttp.ClientSession
) -> None:
    from desirepath.event import isoformat, utc_now

    collector = await start(dedupe_window=0)
    call = track(messageId="m", timestamp="2019-11-01T10:00:00.123Z")
    for _ in range(2):
        await post(http, collector, batch(call, sentAt=isoformat(utc_now())))
        await asyncio.sleep(0.01)
    await until(lambda: len(store.rows) == 2)
    assert {row.timestamp for row in store.rows} == {1572602400123}


async def test_a_message_is_inserted_once_within_the_window(
    start: Start, store: MemoryStore, http: aiohttp.ClientSession
) -> None:
    collector = await start(dedupe_window=10)
    for _ in range(3):
        _, answer = await post(http, collector, batch(track(messageId="m1"), track(messageId="m2")))
        assert answer["accepted"] == 2
    await until(lambda: collector.readiness()[1]["spool_bytes"] == 0)
    assert sorted(row.message_id for row in store.rows) == ["m1", "m2"]
    assert collector.telemetry.repeats.value() == 4


async def test_chunked_bodies_go_the_long_way_and_arrive(
    start: Start, store: MemoryStore, http: aiohttp.ClientSession
) -> None:
    collector = await start()

    async def chunks() -> Any:
        for byte in BODY:
            yield bytes([byte])

    async with http.post(collector.url + "/v1/batch", data=chunks(), headers=basic()) as answer:
        assert (answer.status, (await answer.json())["accepted"]) == (200, 1)
    await until(lambda: store.rows)

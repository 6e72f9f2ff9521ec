"""Sources: keys, rates, what is derived; and who looks on."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from tests.collector.conftest import Start
from tests.collector.kit import MemoryStore, batch, post, track, until

from desirepath_collector import ratelimit
from desirepath_collector.enrich import Enricher, truncated
from desirepath_collector.live import Live
from desirepath_collector.ratelimit import Limiter
from desirepath_collector.settings import Source


async def test_a_source_that_is_off_is_unknown(start: Start, http: aiohttp.ClientSession) -> None:
    collector = await start(
        sources={"on": {"write_key": "k-1"}, "off": {"write_key": "k-2", "enabled": False}}
    )
    assert (await post(http, collector, batch(track()), key="k-1"))[0] == 200
    assert (await post(http, collector, batch(track()), key="k-2"))[0] == 401


async def test_events_carry_their_source(
    start: Start, store: MemoryStore, http: aiohttp.ClientSession
) -> None:
    collector = await start(
        sources={"web": {"write_key": "k-1"}, "ios": {"write_key": "k-2", "name": "iPhone app"}}
    )
    await post(http, collector, batch(track(messageId="m1")), key="k-1")
    await post(http, collector, batch(track(messageId="m2")), key="k-2")
    rows = await until(lambda: len(store.rows) == 2 and store.rows)
    assert {row.message_id: row.source for row in rows} == {"m1": "web", "m2": "iPhone app"}


async def test_a_source_over_its_rate_waits(start: Start, http: aiohttp.ClientSession) -> None:
    limited = {"write_key": "k-1", "rate_per_s": 10, "burst_s": 1}
    collector = await start(sources={"web": limited, "free": {"write_key": "k-2"}})
    assert (await post(http, collector, batch(*[track()] * 30), key="k-1"))[0] == 200
    async with http.post(
        collector.url + "/v1/batch", data=json.dumps(batch(track(writeKey="k-1")))
    ) as answer:
        assert answer.status == 429
        # Thirty were sent where ten were there: two seconds until there is one again.
        assert answer.headers["Retry-After"] == "3"
    assert (await post(http, collector, batch(track()), key="k-2"))[0] == 200


async def test_an_address_over_its_rate_waits(start: Start, http: aiohttp.ClientSession) -> None:
    limited = {"write_key": "k-1", "rate_per_address_per_s": 1, "burst_s": 2}
    collector = await start(sources={"web": limited}, proxies=1)

    async def sent(forwarded: str) -> int:
        headers = {"X-Forwarded-For": forwarded}
        return (await post(http, collector, batch(*[track()] * 2), key="k-1", headers=headers))[0]

    assert await sent("10.0.0.1") == 200
    assert await sent("10.0.0.2") == 200
    assert await sent("10.0.0.1") == 429
    # What a client invents before the address that our proxy saw does not help it.
    assert await sent("1.2.3.4, 10.0.0.1") == 429


def test_the_bucket_fills_again() -> None:
    limiter = Limiter()
    source = Source(write_key="k", name="web", rate_per_s=10, burst_s=2)
    assert limiter.wait_s(source, "", 20, 100.0) == 0
    assert limiter.wait_s(source, "", 1, 100.0) == pytest.approx(0.1)
    assert limiter.wait_s(source, "", 1, 100.2) == 0
    assert limiter.wait_s(source, "", 20, 200.0) == 0
    assert limiter.wait_s(source, "", 1, 200.0) > 0


def test_addresses_are_forgotten_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ratelimit, "MAX_BUCKETS", 100)
    limiter = Limiter()
    source = Source(write_key="k", name="web", rate_per_address_per_s=1)
    for number in range(1000):
        limiter.wait_s(source, str(number), 1, float(number))
    assert len(limiter._buckets) == 100


@pytest.mark.parametrize(
    ("address", "shorter"),
    [
        ("203.0.113.77", "203.0.113.0"),
        ("2001:db8:aaaa:bbbb::1", "2001:db8:aaaa::"),
        ("::ffff:203.0.113.77", "203.0.113.0"),
        ("not an address", None),
        ("", None),
    ],
)
def test_truncated_addresses(address: str, shorter: str | None) -> None:
    assert truncated(address) == shorter


def enriched(context: dict[str, Any], **settings: Any) -> dict[str, Any]:
    raw = json.dumps(context).encode()
    found = Enricher().enrich(raw, Source(write_key="k", **settings))
    return dict(json.loads(found))


def test_what_becomes_of_the_ip() -> None:
    assert enriched({"ip": "203.0.113.77"}) == {"ip": "203.0.113.0"}
    assert enriched({"ip": "Jane Doe", "locale": "en"}) == {"locale": "en"}
    assert enriched({"ip": 7}) == {}
    assert enriched({"ip": "203.0.113.77"}, ip="drop") == {}
    assert enriched({"ip": "203.0.113.77"}, ip="keep") == {"ip": "203.0.113.77"}


PAGE = {
    "url": "https://shop.example/p?utm_source=news&utm_campaign=c1&utm_source=late&x=1",
    "referrer": "https://www.search.example/?q=private",
}


def test_campaign_and_referrer() -> None:
    found = enriched({"page": PAGE})
    assert found["campaign"] == {"source": "news", "name": "c1"}
    assert found["referrer"] == {"host": "www.search.example"}
    assert enriched({"page": {**PAGE, "search": "?utm_term=a%20b"}})["campaign"] == {"term": "a b"}
    inside = {**PAGE, "referrer": "https://shop.example/other"}
    assert "referrer" not in enriched({"page": inside})
    assert enriched({"page": PAGE}, campaign=False) == {"page": PAGE}


def test_what_the_client_says_is_not_overruled() -> None:
    said = {"page": PAGE, "campaign": {"name": "own"}, "referrer": {"id": 1}}
    assert enriched(said) == said


SAFARI = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/17.0 Mobile/15E148 Safari/604.1"
)


def test_user_agents() -> None:
    found = enriched({"userAgent": SAFARI})
    assert found == {
        "userAgent": SAFARI,
        "browser": {"name": "Mobile Safari", "version": "17"},
        "os": {"name": "iOS", "version": "17"},
        "device": {"family": "iPhone"},
    }
    assert enriched({"userAgent": SAFARI}, user_agent=False) == {"userAgent": SAFARI}
    assert enriched({"userAgent": SAFARI, "os": {"name": "own"}})["os"] == {"name": "own"}
    for bot in ("Mozilla/5.0 (compatible; Googlebot/2.1)", "curl/8.1", "x HeadlessChrome/120.0"):
        assert enriched({"userAgent": bot})["bot"] is True
    assert enriched({"userAgent": 7}) == {"userAgent": 7}
    assert "bot" not in enriched({"userAgent": "\x00" * 100_000})


@pytest.mark.parametrize("page", [7, {"url": 7}, {"url": "http://[", "search": ["x"]}, None, "x"])
def test_odd_pages_are_left_alone(page: Any) -> None:
    assert enriched({"page": page, "ip": "10.1.2.3"})["page"] == page


async def test_live_tells_what_arrives(start: Start, http: aiohttp.ClientSession) -> None:
    collector = await start()
    url = collector.url + "/api/live"
    async with http.get(url) as answer:
        assert answer.status == 401
    async with http.get(url, headers={"Authorization": "Bearer dev"}) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        await answer.content.readline()
        assert collector.intake.live.listening
        await post(http, collector, batch(track(messageId="m1"), track(userId="null")))
        told = []
        while len(told) < 2:
            line = await asyncio.wait_for(answer.content.readline(), 5)
            if line.startswith(b"data: "):
                told.append(json.loads(line[6:]))
    assert [one["verdict"] for one in told] == ["accepted", "quarantined"]
    assert told[0]["message_id"] == "m1"
    assert told[1]["violations"][0]["code"] == "placeholder"
    await until(lambda: not collector.intake.live.listening)


async def test_a_write_key_does_not_read(start: Start, http: aiohttp.ClientSession) -> None:
    collector = await start(sources={"web": {"write_key": "k-1"}}, readers={"ann": "a-long-token"})
    for authorization, status in (("Bearer k-1", 401), ("Bearer dev", 401)):
        async with http.get(
            collector.url + "/api/live", headers={"Authorization": authorization}
        ) as answer:
            assert answer.status == status


async def test_a_slow_listener_is_told_what_it_missed() -> None:
    live = Live()
    stream = live.stream()
    assert (await anext(stream)).startswith(b":")
    from tests.collector.test_loader import event

    live.tell([event(str(n)) for n in range(1500)])
    first = await anext(stream)
    assert first == b'event: missed\ndata: {"events":500}\n\n'
    await stream.aclose()
    assert not live.listening

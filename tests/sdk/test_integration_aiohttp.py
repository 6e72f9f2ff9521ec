"""The integration with aiohttp, on its own server."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientSession, CookieJar, web
from tests.sdk.web_kit import BROWSER, HTML, SECRET, Seen, cookie_of, seen

from desirepath.context import CURRENT
from desirepath.integrations import set_user
from desirepath.integrations.aiohttp import setup

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def browser(app: web.Application) -> AsyncIterator[ClientSession]:
    """A client of the app, which keeps its cookies."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    try:
        async with ClientSession(
            f"http://{host}:{port}", headers=BROWSER, cookie_jar=CookieJar(unsafe=True)
        ) as session:
            yield session
    finally:
        await runner.cleanup()


def make_app(recorder: Seen, **options: Any) -> web.Application:
    app = web.Application()
    setup(app, recorder.tracker, secret=SECRET, **options)

    async def product(request: web.Request) -> web.Response:
        recorder.tracker.track("Product Viewed", {"id": request.match_info["id"]})
        return web.Response(text=HTML, content_type="text/html")

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/html"})
        await response.prepare(request)
        for _ in range(2):
            recorder.tracker.track("Part Sent")
            await response.write(b"part")
        return response

    async def socket(request: web.Request) -> web.WebSocketResponse:
        response = web.WebSocketResponse()
        await response.prepare(request)
        async for message in response:
            recorder.tracker.track("Message Received")
            await response.send_str(message.data)
        return response

    async def account(_: web.Request) -> web.Response:
        set_user("ada")
        return web.Response(text=HTML, content_type="text/html")

    async def moved(_: web.Request) -> web.Response:
        raise web.HTTPFound("/")

    async def broken(_: web.Request) -> web.Response:
        raise RuntimeError("the app's own")

    async def health(_: web.Request) -> web.Response:
        assert CURRENT.get() is None
        return web.Response(text=HTML, content_type="text/html")

    for path, handler in {
        "/products/{id}": product,
        "/stream": stream,
        "/socket": socket,
        "/account": account,
        "/moved": moved,
        "/broken": broken,
        "/healthz": health,
    }.items():
        app.router.add_get(path, handler)
    return app


async def test_page_views_events_routes_and_the_visitor() -> None:
    """Several requests over one connection, which is one task, do not mix."""
    with seen() as shop:
        async with browser(make_app(shop, request_event="Request Served")) as session:
            for path in (
                "/products/a%20b?utm_source=x",
                "/stream",
                "/account",
                "/products/2",
                "/healthz",
                "/moved",
                "/broken",
                "/nowhere",
            ):
                await (await session.get(path, allow_redirects=False)).read()
    names = [each["properties"]["name"] for each in shop.pages()]
    assert names == ["/products/{id}", "/stream", "/account", "/products/{id}"]
    assert shop.pages()[0]["properties"]["path"] == "/products/a b"
    assert [each.get("userId") for each in shop.pages()] == [None, None, "ada", None]
    assert len({each["anonymousId"] for each in shop.messages}) == 1
    assert {each["context"]["campaign"]["source"] for each in shop.messages} == {"x"}
    assert len(shop.events("Part Sent")) == 2
    served = [each["properties"] for each in shop.events("Request Served")]
    assert [each["status"] for each in served] == [200, 200, 200, 200, 302, 500, 404]


async def test_the_apps_own_cookies_stay() -> None:
    app = web.Application()

    async def home(_: web.Request) -> web.Response:
        response = web.Response(text=HTML, content_type="text/html")
        response.set_cookie("own", "1")
        return response

    app.router.add_get("/", home)
    with seen() as shop:
        setup(app, shop.tracker, secret=SECRET)
        async with browser(app) as session:
            answer = await session.get("/")
    assert {each.partition("=")[0] for each in answer.headers.getall("Set-Cookie")} == {
        "own",
        "dp_visitor",
    }
    assert "HttpOnly; SameSite=Lax" in "".join(answer.headers.getall("Set-Cookie"))


async def test_websockets_pass_through() -> None:
    """No cookie, no page view; events inside know the visitor."""
    with seen() as shop:
        async with browser(make_app(shop)) as session:
            await session.get("/products/1")
            async with session.ws_connect("/socket") as socket:
                await socket.send_str("hello")
                assert (await socket.receive_str()) == "hello"
                assert socket._response.headers.get("Set-Cookie") is None
    assert shop.only("Message Received")["anonymousId"] == shop.only()["anonymousId"]


async def test_outer_middlewares_and_sub_apps() -> None:
    """Middlewares that were there before are inside the visit; sub-apps are part of the app."""
    with seen() as shop:

        @web.middleware
        async def tracking(request: web.Request, handler: Handler) -> web.StreamResponse:
            shop.tracker.track("In Middleware")
            return await handler(request)

        app = web.Application(middlewares=[tracking])
        setup(app, shop.tracker, secret=SECRET)
        sub = web.Application()

        async def home(_: web.Request) -> web.Response:
            return web.Response(text=HTML, content_type="text/html")

        sub.router.add_get("/home", home)
        app.add_subapp("/shop", sub)
        async with browser(app) as session:
            answer = await session.get("/shop/home")
    assert cookie_of(answer.headers)
    assert shop.only()["properties"]["name"] == "/shop/home"
    assert shop.only()["anonymousId"] == shop.only("In Middleware")["anonymousId"]


async def test_hooks_get_aiohttps_request() -> None:
    with seen() as shop:
        app = make_app(
            shop,
            user=lambda request: request.query["who"],
            consent=lambda request: {"analytics": request.query["who"] != "eve"},
        )
        async with browser(app) as session:
            await session.get("/products/1?who=ada")
            await session.get("/products/1?who=eve")
    assert shop.only()["userId"] == "ada"


async def test_a_request_that_cannot_be_read_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """A log line, and the app answers."""
    with seen() as shop:
        app = make_app(shop)
        unreadable: Any = object()
        visiting: Any = app.middlewares[0]
        answered = web.Response()

        async def handler(_: web.Request) -> web.StreamResponse:
            return answered

        assert await visiting(unreadable, handler) is answered
    assert "reading the request failed" in caplog.text


async def test_the_example_runs() -> None:
    """examples/aiohttp_app.py, driven as a browser would."""
    example = importlib.import_module("examples.aiohttp_app")
    with seen() as recorder:
        async with browser(example.make_app(recorder.tracker)) as session:
            assert (await session.get("/")).status == 200
            assert (await session.post("/login?user=ada")).status == 200
            assert (await session.post("/buy?total=42.5")).status == 200
    bought = recorder.only("Order Completed")
    assert bought["userId"] == "ada"
    assert bought["anonymousId"] == recorder.only()["anonymousId"]

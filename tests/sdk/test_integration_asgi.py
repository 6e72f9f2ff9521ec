"""The ASGI middleware under FastAPI, Starlette and bare ASGI."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from fastapi import Depends, FastAPI
from fastapi.responses import HTMLResponse, StreamingResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from tests.sdk.web_kit import BROWSER, HTML, SECRET, Seen, cookie_of, seen

from desirepath.integrations import set_user
from desirepath.integrations.asgi import DesirepathMiddleware

Message = dict[str, Any]


@pytest.fixture
def shop() -> Iterator[Seen]:
    with seen() as recorder:
        yield recorder


def client(app: Any, **settings: Any) -> httpx.AsyncClient:
    settings.setdefault("headers", BROWSER)
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app, raise_app_exceptions=False),
        base_url="https://shop.example",
        **settings,
    )


def fastapi_app(recorder: Seen, **options: Any) -> FastAPI:
    app = FastAPI()
    app.add_middleware(DesirepathMiddleware, recorder.tracker, secret=SECRET, **options)

    @app.get("/products/{product_id}", response_class=HTMLResponse)
    async def product(product_id: str) -> str:
        recorder.tracker.track("Product Viewed", {"product_id": product_id})
        return HTML

    @app.get("/sync", response_class=HTMLResponse)
    def sync() -> str:
        recorder.tracker.track("Sync")
        return HTML

    @app.get("/api")
    async def api() -> dict[str, int]:
        return {"a": 1}

    @app.get("/broken", response_class=HTMLResponse)
    async def broken() -> str:
        raise RuntimeError("the app's own")

    def login() -> None:
        set_user("u1")

    @app.get("/account", response_class=HTMLResponse, dependencies=[Depends(login)])
    async def account() -> str:
        recorder.tracker.track("Account Viewed")
        return HTML

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            for number in range(3):
                recorder.tracker.track("Part Sent", {"number": number})
                yield b"part"
                await asyncio.sleep(0)

        return StreamingResponse(parts(), media_type="text/html")

    @app.get("/healthz", response_class=HTMLResponse)
    async def health() -> str:
        return HTML

    return app


async def test_a_page_view_carries_visitor_session_page_and_route(shop: Seen) -> None:
    """And so does an event inside the request, without being told."""
    async with client(fastapi_app(shop)) as browser:
        answer = await browser.get(
            "/products/p1?utm_source=mail&utm_campaign=spring&token=hidden",
            headers={"Referer": "https://search.example/find?q=shoes&token=hidden"},
        )
    assert answer.text == HTML
    page, event = shop.only(), shop.only("Product Viewed")
    assert page["properties"] == {
        "name": "/products/{product_id}",
        "path": "/products/p1",
        "url": "https://shop.example/products/p1?utm_source=mail&utm_campaign=spring",
        "search": "?utm_source=mail&utm_campaign=spring",
        "referrer": "https://search.example/find?q=shoes",
    }
    for message in (page, event):
        context = message["context"]
        assert message["anonymousId"] == page["anonymousId"]
        assert "userId" not in message
        assert context["sessionId"] == page["context"]["sessionId"]
        assert context["page"]["path"] == "/products/p1"
        assert context["campaign"] == {"source": "mail", "name": "spring"}
        assert context["referrer"] == {
            "url": "https://search.example/find",
            "host": "search.example",
        }
        assert context["locale"] == "sv-SE"
        assert context["userAgent"] == BROWSER["User-Agent"]
        assert "ip" not in context
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Secure" in cookie


async def test_the_cookie_brings_the_visitor_back(shop: Seen) -> None:
    """One visitor, one session, over several requests; campaign and referrer stay with it."""
    async with client(fastapi_app(shop)) as browser:
        await browser.get("/products/p1?utm_source=mail")
        second = await browser.get("/products/p2")
    first_page, second_page = shop.pages()
    assert first_page["anonymousId"] == second_page["anonymousId"]
    assert first_page["context"]["sessionId"] == second_page["context"]["sessionId"]
    assert second_page["context"]["campaign"] == {"source": "mail"}
    assert cookie_of(second.headers) is None, "nothing has changed, so no cookie goes out"


async def test_visitors_do_not_mix(shop: Seen) -> None:
    """Two requests at once are two visitors, in coroutines and in worker threads."""
    app = fastapi_app(shop)

    async def visit(path: str) -> None:
        async with client(app) as browser:
            await browser.get(path)

    await asyncio.gather(*(visit(path) for path in ("/sync", "/products/p1") for _ in range(5)))
    ids = {message["anonymousId"] for message in shop.messages}
    assert len(shop.messages) == 20
    assert len(ids) == 10


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/api", {}),
        ("/healthz", {}),
        ("/static/a.html", {}),
        ("/nowhere", {}),
        ("/broken", {}),
        ("/products/p1", {"Sec-Purpose": "prefetch"}),
        ("/products/p1", {"Sec-Fetch-Dest": "empty"}),
        ("/products/p1", {"HX-Request": "true"}),
        ("/products/p1", {"X-Requested-With": "XMLHttpRequest"}),
        ("/products/p1", {"User-Agent": "Mozilla/5.0 (compatible; Googlebot/2.1)"}),
    ],
)
async def test_what_is_no_page_view(shop: Seen, path: str, headers: dict[str, str]) -> None:
    """JSON, health checks, assets, errors, prefetches, fragments and robots."""
    async with client(fastapi_app(shop)) as browser:
        await browser.get(path, headers=headers)
        await browser.post(path, headers=headers)
        await browser.head(path, headers=headers)
    assert shop.pages() == []


async def test_an_error_of_the_app_stays_the_apps(shop: Seen) -> None:
    """It is neither hidden nor changed, and the request event tells it."""
    app = fastapi_app(shop, request_event="Request Served")
    async with client(app) as browser:
        assert (await browser.get("/broken")).status_code == 500
    properties = shop.only("Request Served")["properties"]
    assert properties.pop("duration_ms") >= 0
    assert properties == {"method": "GET", "route": "/broken", "status": 500}


async def test_the_user_is_known_after_set_user_also_from_a_worker_thread(shop: Seen) -> None:
    """FastAPI runs a synchronous dependency in a copy of the request's context."""
    async with client(fastapi_app(shop)) as browser:
        await browser.get("/account")
        await browser.get("/products/p1")
    assert shop.only("Account Viewed")["userId"] == "u1"
    assert shop.pages()[0]["userId"] == "u1"
    assert "userId" not in shop.pages()[1], "the next request does not inherit it"


async def test_the_user_hook_sees_the_asgi_scope(shop: Seen) -> None:
    """Ids of any type are taken."""
    app = fastapi_app(shop, user=lambda scope: len(scope["path"]))
    async with client(app) as browser:
        await browser.get("/sync")
    assert shop.only()["userId"] == "5"


async def test_a_stream_passes_chunk_by_chunk_and_its_events_know_the_visitor(shop: Seen) -> None:
    """The middleware neither collects nor delays a body."""
    sent: list[Message] = []
    order: list[str] = []
    scope = {
        "type": "http", "method": "GET", "scheme": "http", "path": "/stream",
        "query_string": b"", "headers": [(b"host", b"shop.example")], "root_path": "",
        "http_version": "1.1", "asgi": {"version": "3.0", "spec_version": "2.4"},
        "client": ("192.0.2.1", 5), "server": ("127.0.0.1", 80),
    }  # fmt: skip

    async def receive() -> Message:
        await asyncio.sleep(3600)
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)
        order.append(f"{message['type']} after {len(shop.events('Part Sent'))}")

    await fastapi_app(shop)(scope, receive, send)
    assert [each.get("body") for each in sent[1:]] == [b"part"] * 3 + [b""]
    assert order[:3] == [
        "http.response.start after 0",
        "http.response.body after 1",
        "http.response.body after 2",
    ]
    assert {each["anonymousId"] for each in shop.messages} == {shop.only()["anonymousId"]}


async def test_websockets_and_lifespan_pass_through(shop: Seen) -> None:
    """The same messages, both ways; events inside know the visitor of the cookie."""
    async with client(fastapi_app(shop)) as browser:
        cookie = cookie_of((await browser.get("/sync")).headers)
    inbox: list[Message] = [{"type": "websocket.connect"}, {"type": "websocket.disconnect"}]
    outbox: list[Message] = []
    handed: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        handed[:] = [scope, receive, send]
        assert (await receive())["type"] == "websocket.connect"
        shop.tracker.track("Connected")
        await send({"type": "websocket.accept"})

    async def receive() -> Message:
        return inbox.pop(0)

    async def send(message: Message) -> None:
        outbox.append(message)

    middleware: Any = DesirepathMiddleware(app, shop.tracker, secret=SECRET)
    scope = {
        "type": "websocket",
        "path": "/ws",
        "headers": [(b"cookie", f"dp_visitor={cookie}".encode())],
    }
    await middleware(scope, receive, send)
    assert outbox == [{"type": "websocket.accept"}]
    assert handed == [scope, receive, send]
    assert shop.only("Connected")["anonymousId"] == shop.only()["anonymousId"]

    async def lifespan(scope: Any, receive: Any, send: Any) -> None:
        handed[:] = [scope, receive, send]

    middleware = DesirepathMiddleware(lifespan, shop.tracker, secret=SECRET)
    await middleware({"type": "lifespan"}, receive, send)
    assert handed == [{"type": "lifespan"}, receive, send]


async def test_a_scope_that_breaks_the_rules_does_not_break_the_app(
    shop: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    """The app gets it as it is; the log says so once."""
    reached: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope)

    middleware: Any = DesirepathMiddleware(app, shop.tracker, secret=SECRET)
    for _ in range(3):
        await middleware({"type": "http"}, None, None)
    assert len(reached) == 3
    assert len(caplog.records) == 1


async def test_starlette(shop: Seen) -> None:
    """Plain Starlette; the cookies of the app stay."""

    async def home(request: Request) -> PlainTextResponse:
        answer = PlainTextResponse(HTML, media_type="text/html")
        answer.set_cookie("own", "1")
        return answer

    routes = [Route("/", home), Mount("/list", routes=[Route("/{name}", home)])]
    app = Starlette(routes=routes)
    app.add_middleware(DesirepathMiddleware, shop.tracker, secret=SECRET)
    async with client(app) as browser:
        answer = await browser.get("/")
        await browser.get("/list/new")
    assert len(answer.headers.get_list("set-cookie")) == 2
    names = [(each["properties"]["name"], each["properties"]["path"]) for each in shop.pages()]
    assert names == [("/", "/"), ("/list/{name}", "/list/new")]


async def test_the_example_runs() -> None:
    """examples/fastapi_app.py, driven as a browser would."""
    example = importlib.import_module("examples.fastapi_app")
    with seen() as recorder:
        async with client(example.make_app(recorder.tracker)) as browser:
            assert (await browser.get("/")).status_code == 200
            assert (await browser.post("/login", params={"user": "ada"})).status_code == 200
            assert (await browser.post("/buy", params={"total": 42.5})).status_code == 200
    bought = recorder.only("Order Completed")
    assert bought["userId"] == "ada"
    assert bought["anonymousId"] == recorder.only()["anonymousId"]

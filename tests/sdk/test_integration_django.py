"""The Django middleware, under WSGI and ASGI."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import django
import pytest
from django.conf import settings
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import AsyncClient, Client, override_settings
from django.urls import path
from tests.sdk.capturing import Capture
from tests.sdk.web_kit import BROWSER, HTML, SECRET, Seen, cookie_of, seen

from desirepath.context import CURRENT
from desirepath.errors import SettingsError
from desirepath.integrations.django import DesirepathMiddleware

if not settings.configured:
    settings.configure(
        SECRET_KEY=SECRET,
        ALLOWED_HOSTS=["testserver"],
        ROOT_URLCONF=__name__,
        SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "desirepath.integrations.django.DesirepathMiddleware",
        ],
    )
    django.setup()

ROOT = Path(__file__).parents[2]
META = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in BROWSER.items()}
current: list[Seen] = []


class Person:
    """What Django's login hands to its signals."""

    pk = 7

    def save(self, **_: Any) -> None:
        """Django notes the time of the login."""


def product(request: HttpRequest, product_id: int) -> HttpResponse:
    current[0].tracker.track("Product Viewed", {"product_id": product_id})
    return HttpResponse(HTML)


async def aproduct(request: HttpRequest, product_id: int) -> HttpResponse:
    await asyncio.sleep(0)
    current[0].tracker.track("Product Viewed", {"product_id": product_id})
    return HttpResponse(HTML)


def login(request: HttpRequest) -> HttpResponse:
    request.session["_auth_user_id"] = "7"
    user_logged_in.send(Person, request=request, user=Person())
    current[0].tracker.track("Logged In")
    return HttpResponse(HTML)


def logout(request: HttpRequest) -> HttpResponse:
    user_logged_out.send(Person, request=request, user=Person())
    request.session.flush()
    current[0].tracker.track("Logged Out")
    return HttpResponse(HTML)


def stream(request: HttpRequest) -> StreamingHttpResponse:
    def parts() -> Iterator[bytes]:
        for _ in range(2):
            current[0].tracker.track("Part Sent")
            yield b"part"

    return StreamingHttpResponse(parts())


async def astream(request: HttpRequest) -> StreamingHttpResponse:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(2):
            current[0].tracker.track("Part Sent")
            yield b"part"

    return StreamingHttpResponse(parts())


def file(request: HttpRequest) -> FileResponse:
    return FileResponse(io.BytesIO(HTML.encode()), content_type="text/html")


def broken(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("the app's own")


def health(request: HttpRequest) -> HttpResponse:
    assert CURRENT.get() is None
    return HttpResponse(HTML)


urlpatterns = [
    path("products/<int:product_id>/", product),
    path("aproducts/<int:product_id>/", aproduct),
    path("login/", login),
    path("logout/", logout),
    path("stream/", stream),
    path("astream/", astream),
    path("file/", file),
    path("broken/", broken),
    path("healthz", health),
]


@pytest.fixture
def shop() -> Iterator[Seen]:
    with seen() as recorder:
        current[:] = [recorder]
        yield recorder


def configured(recorder: Seen, **options: Any) -> Any:
    return override_settings(
        ROOT_URLCONF=__name__, DESIREPATH={"tracker": recorder.tracker, **options}
    )


def test_page_views_events_and_routes(shop: Seen) -> None:
    """Under WSGI."""
    with configured(shop, request_event="Request Served"):
        browser = Client(raise_request_exception=False)
        first = browser.get("/products/1/?utm_source=x", **META)
        for place in ("/file/", "/broken/", "/nowhere/", "/healthz"):
            b"".join(browser.get(place, **META))
    assert shop.pages()[0]["properties"]["name"] == "/products/<int:product_id>/"
    assert len(shop.pages()) == 2
    assert len({each["anonymousId"] for each in shop.messages}) == 1
    assert shop.only("Product Viewed")["context"]["campaign"] == {"source": "x"}
    served = [each["properties"] for each in shop.events("Request Served")]
    assert [each["status"] for each in served] == [200, 200, 500, 404]
    cookie = first.cookies["dp_visitor"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/")
    assert "Vary" not in first, "nobody's session was asked for"
    assert CURRENT.get() is None


async def test_page_views_under_asgi(shop: Seen) -> None:
    """Synchronous views, which Django runs in a thread, and asynchronous ones."""
    with configured(shop):
        browser = AsyncClient()
        for place in ("/products/1/", "/aproducts/2/", "/healthz"):
            answer = await browser.get(place, headers=BROWSER)
            assert answer.status_code == 200
    assert len(shop.pages()) == 2
    assert len(shop.events("Product Viewed")) == 2
    assert len({each["anonymousId"] for each in shop.messages}) == 1
    assert CURRENT.get() is None


def test_the_user_is_the_sessions(shop: Seen) -> None:
    """From the login on, in that request already, until the logout."""
    with configured(shop):
        browser = Client()
        for place in ("/products/1/", "/login/", "/products/1/", "/logout/", "/products/1/"):
            browser.get(place, **META)
    assert [each.get("userId") for each in shop.pages()] == [None, "7", "7", None, None]
    assert shop.only("Logged In")["userId"] == "7"
    assert "userId" not in shop.only("Logged Out")


async def test_the_user_is_the_sessions_under_asgi(shop: Seen) -> None:
    with configured(shop):
        browser = AsyncClient()
        for place in ("/login/", "/aproducts/1/"):
            await browser.get(place, headers=BROWSER)
    assert [each.get("userId") for each in shop.pages()] == ["7", "7"]
    assert shop.only("Logged In")["userId"] == "7"


async def test_a_session_that_fails_is_the_apps_affair(
    shop: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    """The store may be away; the page is served, the visitor is nobody's user."""

    class Broken:
        def get(self, key: str) -> str:
            raise RuntimeError("the store is away")

        async def aget(self, key: str) -> str:
            raise RuntimeError("the store is away")

    request = HttpRequest()
    request.method = "GET"
    request.META.update(META)
    request.COOKIES["sessionid"] = "x"
    request.session = Broken()

    async def later(_: HttpRequest) -> HttpResponse:
        return HttpResponse(HTML)

    with configured(shop):
        assert DesirepathMiddleware(lambda _: HttpResponse(HTML))(request).status_code == 200
        assert (await DesirepathMiddleware(later)(request)).status_code == 200
    assert len(shop.pages()) == 2
    assert caplog.text.count("reading the session failed") == 2


async def test_a_request_that_cannot_be_read_goes_on(
    shop: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    unreadable: Any = object()
    answered = HttpResponse()

    async def later(_: HttpRequest) -> HttpResponse:
        return answered

    with configured(shop):
        assert DesirepathMiddleware(lambda _: answered)(unreadable) is answered
        assert await DesirepathMiddleware(later)(unreadable) is answered
        half: Any = HttpResponse(HTML)
        half.headers = None
        assert DesirepathMiddleware(lambda _: half)(_request("/")) is half
        odd: Any = DesirepathMiddleware(lambda _: unreadable)
        request = HttpRequest()
        request.META.update(META)
        with pytest.raises(AttributeError):
            odd(request)
    assert "reading the request failed" in caplog.text
    assert "the answer failed" in caplog.text


def test_streams_keep_their_steps_and_know_the_visitor(shop: Seen) -> None:
    with configured(shop):
        answer = Client().get("/stream/", **META)
        assert shop.events("Part Sent") == []
        steps = iter(answer.streaming_content)
        assert next(steps) == b"part"
        assert len(shop.events("Part Sent")) == 1
        assert CURRENT.get() is None
        assert list(steps) == [b"part"]
    assert len({each["anonymousId"] for each in shop.messages}) == 1


async def test_streams_under_asgi(shop: Seen) -> None:
    with configured(shop):
        answer = await AsyncClient().get("/astream/", headers=BROWSER)
        blocks = [block async for block in answer.streaming_content]
    assert blocks == [b"part", b"part"]
    assert len(shop.messages) == 3
    assert len({each["anonymousId"] for each in shop.messages}) == 1


def test_a_file_is_not_touched(shop: Seen) -> None:
    """So that the server may send it without us."""
    with configured(shop):
        answer = DesirepathMiddleware(file)(_request("/file/"))
        assert answer.file_to_stream is not None
        answer.close()


def _request(place: str) -> HttpRequest:
    request = HttpRequest()
    request.method, request.path = "GET", place
    request.META.update(META)
    return request


def ada(request: HttpRequest) -> str:
    return "ada"


def test_hooks_by_dotted_path(shop: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    """As settings name what they cannot import."""
    monkeypatch.setitem(sys.modules, "shop_analytics", sys.modules[__name__])
    with configured(shop, user="shop_analytics.ada"):
        Client().get("/products/1/", **META)
    assert shop.only()["userId"] == "ada"


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        {},
        {"tracker": "no.such.module"},
        {"tracker": 5},
        {"tracker": "os.path"},
    ],
)
def test_wrong_settings_are_told(shop: Seen, wrong: Any) -> None:
    with override_settings(DESIREPATH=wrong), pytest.raises(SettingsError):
        DesirepathMiddleware(product)
    with configured(shop, colour="red"), pytest.raises(SettingsError, match="colour"):
        DesirepathMiddleware(product)


def test_the_example_runs(server: Capture, tmp_path: Path) -> None:
    """examples/django_app.py in a process of its own: Django is configured once a process."""
    program = """
import django
from django.test import Client
from examples import django_app as example
django.setup()
browser = Client(HTTP_USER_AGENT="Firefox")
for path in ("/", "/login?user=ada", "/buy?total=42.5"):
    assert browser.get(path).status_code == 200
assert example.tracker.flush()
"""
    places = {"DESIREPATH_ENDPOINT": server.url, "DESIREPATH_QUEUE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=ROOT,
        env={**os.environ, **places},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (bought,) = server.named("Order Completed")
    assert bought["userId"] == "ada"
    assert {each["anonymousId"] for each in server.events} == {bought["anonymousId"]}


def test_the_cookie_name_is_an_option(shop: Seen) -> None:
    with configured(shop, cookie="who"):
        answer = Client().get("/products/1/", **META)
    assert cookie_of({"set-cookie": answer.cookies.output(header="").strip()}, "who")

"""The WSGI middleware bare, checked by the standard library's validator, and under Flask."""

from __future__ import annotations

import importlib
import io
import threading
from collections.abc import Iterable, Iterator
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import flask
import pytest
import urllib3
from tests.sdk.web_kit import BROWSER, HTML, SECRET, Seen, cookie_of, seen

from desirepath.context import CURRENT
from desirepath.errors import SettingsError
from desirepath.integrations import set_user
from desirepath.integrations.flask import init_app
from desirepath.integrations.wsgi import DesirepathMiddleware

Headers = list[tuple[str, str]]


@pytest.fixture
def shop() -> Iterator[Seen]:
    with seen() as recorder:
        yield recorder


def environ(path: str = "/", **values: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"PATH_INFO": path, "HTTP_HOST": "shop.example", **values}
    setup_testing_defaults(found)
    return found


class Client:
    """Calls an app as a server would, and looks at how it answers."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.starts: list[tuple[str, Headers, Any]] = []
        self.written: list[bytes] = []

    def start(self, status: str, headers: Headers, exc_info: Any = None) -> Any:
        self.starts.append((status, headers, exc_info))
        return self.written.append

    def call(self, path: str = "/", **values: Any) -> Any:
        return self.app(environ(path, **values), self.start)


def html(start_response: Any, status: str = "200 OK") -> Any:
    return start_response(status, [("Content-Type", "text/html")])


# -- WSGI ----------------------------------------------------------------------------------------


def test_the_middleware_keeps_the_rules_of_wsgi(shop: Seen) -> None:
    """Both its sides, as PEP 3333's validator sees them."""

    def app(asked: Any, start_response: Any) -> Iterable[bytes]:
        shop.tracker.track("Inside")
        html(start_response)
        return [HTML.encode()]

    checked = validator(DesirepathMiddleware(validator(app), shop.tracker, secret=SECRET))
    client = Client(checked)
    body = client.call("/caf\xc3\xa9", QUERY_STRING="utm_source=x", SCRIPT_NAME="/shop")
    assert b"".join(body) == HTML.encode()
    body.close()
    page = shop.only()
    assert page["properties"]["path"] == "/shop/café"
    assert page["context"]["campaign"] == {"source": "x"}
    assert page["anonymousId"] == shop.only("Inside")["anonymousId"]
    assert cookie_of({name.lower(): value for name, value in client.starts[0][1]})


def test_lists_and_files_are_handed_on_as_they_are(shop: Seen) -> None:
    """A server sends a file by sendfile only if it sees its own wrapper."""
    bodies: list[Any] = [[b"a"], (b"a",), FileWrapper(io.BytesIO(b"a"))]
    for body in bodies:

        def app(asked: Any, start_response: Any, body: Any = body) -> Any:
            html(start_response)
            return body

        client = Client(DesirepathMiddleware(app, shop.tracker, secret=SECRET))
        assert client.call(**{"wsgi.file_wrapper": FileWrapper}) is body


def test_a_generator_runs_step_by_step_and_knows_the_visitor(shop: Seen) -> None:
    """Also where it starts its answer late; between its steps the thread is anybody's."""
    steps: list[int] = []
    closed: list[object] = []

    def app(asked: Any, start_response: Any) -> Iterator[bytes]:
        try:
            html(start_response)
            with shop.tracker.context(properties={"list": "new"}):
                for number in range(3):
                    steps.append(number)
                    shop.tracker.track("Part Sent", {"number": number})
                    yield b"part"
        finally:
            shop.tracker.track("Closed")
            closed.append(CURRENT.get())

    client = Client(DesirepathMiddleware(app, shop.tracker, secret=SECRET))
    body = client.call()
    assert steps == []
    for number, block in enumerate(body):
        assert block == b"part"
        assert len(steps) == number + 1
        assert CURRENT.get() is None
        if number == 1:
            break
    body.close()
    assert len(closed) == 1
    assert CURRENT.get() is None
    parts = shop.events("Part Sent")
    assert [each["properties"] for each in parts] == [
        {"number": 0, "list": "new"},
        {"number": 1, "list": "new"},
    ]
    assert {each["anonymousId"] for each in shop.messages} == {shop.only()["anonymousId"]}


def test_the_old_write_is_the_servers_own(shop: Seen) -> None:
    def app(asked: Any, start_response: Any) -> list[bytes]:
        html(start_response)(b"written")
        return []

    client = Client(DesirepathMiddleware(app, shop.tracker, secret=SECRET))
    assert client.call() == []
    assert client.written == [b"written"]


def test_a_status_that_is_none_is_the_servers_affair(shop: Seen) -> None:
    """No page view, no cookie; nobody is stopped from closing twice either."""

    def app(asked: Any, start_response: Any) -> Iterator[bytes]:
        html(start_response, "Fine")
        yield b""

    middleware = DesirepathMiddleware(app, shop.tracker, secret=SECRET, request_event="Served")
    client = Client(middleware)
    body = client.call()
    assert list(body) == [b""]
    body.close()
    body.close()
    assert client.starts == [("Fine", [("Content-Type", "text/html")], None)]
    assert shop.pages() == []
    assert shop.only("Served")


def test_a_body_without_close(shop: Seen) -> None:
    class Blocks:
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"a"])

    def app(asked: Any, start_response: Any) -> Any:
        html(start_response)
        return Blocks()

    body = Client(DesirepathMiddleware(app, shop.tracker, secret=SECRET)).call()
    assert list(body) == [b"a"]
    body.close()


def test_an_app_that_starts_twice_is_one_page_view(shop: Seen) -> None:
    """It may, with the exception that came between; the cookie goes out with either head."""

    def app(asked: Any, start_response: Any) -> list[bytes]:
        html(start_response)
        try:
            raise RuntimeError("half-way")
        except RuntimeError as error:
            start_response("500 Oh", [], (RuntimeError, error, error.__traceback__))
        return [b""]

    client = Client(
        DesirepathMiddleware(app, shop.tracker, secret=SECRET, request_event="Request Served")
    )
    client.call()
    assert [len(headers) for _, headers, _ in client.starts] == [2, 1]
    assert client.starts[1][2] is not None
    assert shop.only()
    assert shop.only("Request Served")["properties"]["status"] == 500


def test_the_apps_exceptions_stay_its_own(shop: Seen) -> None:
    """In the call, in a block, and in close; each request is told once."""

    class Bad:
        def __iter__(self) -> Iterator[bytes]:
            raise ValueError("in a block")

        def close(self) -> None:
            raise KeyError("in close")

    def app(asked: Any, start_response: Any) -> Any:
        if asked["PATH_INFO"] == "/call":
            raise RuntimeError("in the call")
        html(start_response)
        return Bad()

    client = Client(
        DesirepathMiddleware(app, shop.tracker, secret=SECRET, request_event="Request Served")
    )
    with pytest.raises(RuntimeError, match="in the call"):
        client.call("/call")
    body = client.call("/other")
    with pytest.raises(ValueError, match="in a block"):
        next(body)
    with pytest.raises(KeyError):
        body.close()
    assert [each["properties"]["status"] for each in shop.events("Request Served")] == [500, 200]
    assert CURRENT.get() is None


def test_an_environ_that_breaks_the_rules_does_not_break_the_app(
    shop: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    middleware: Any = DesirepathMiddleware(lambda *_: [b"fine"], shop.tracker, secret=SECRET)
    assert middleware({}, None) == [b"fine"]
    assert middleware({}, None) == [b"fine"]
    assert len(caplog.records) == 1


def test_a_real_server(shop: Seen) -> None:
    """The standard library's, with one thread for all requests."""

    def app(asked: Any, start_response: Any) -> Iterator[bytes]:
        html(start_response)
        yield HTML.encode()

    class Quiet(WSGIRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    middleware = DesirepathMiddleware(app, shop.tracker, secret=SECRET)
    with make_server("127.0.0.1", 0, middleware, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        with urllib3.PoolManager() as pool:
            url = f"http://127.0.0.1:{server.server_port}/"
            cookies = [
                cookie_of(pool.request("GET", url, headers=BROWSER).headers) for _ in range(2)
            ]
        server.shutdown()
        thread.join()
    assert None not in cookies
    assert len({each["anonymousId"] for each in shop.pages()}) == 2


# -- Flask ---------------------------------------------------------------------------------------


def flask_app(recorder: Seen, **options: Any) -> flask.Flask:
    app = flask.Flask(__name__)
    app.secret_key = SECRET
    init_app(app, recorder.tracker, **options)

    @app.get("/products/<product_id>")
    def product(product_id: str) -> str:
        recorder.tracker.track("Product Viewed", {"product_id": product_id})
        return HTML

    @app.get("/login/<user>")
    def login(user: str) -> str:
        flask.session["user"] = user
        set_user(user)
        return HTML

    @app.get("/stream")
    def stream() -> flask.Response:
        @flask.stream_with_context
        def parts() -> Iterator[str]:
            for _ in range(2):
                recorder.tracker.track("Part Sent", {"path": flask.request.path})
                yield "part"

        return flask.Response(parts(), mimetype="text/html")

    @app.get("/file")
    def file() -> flask.Response:
        return flask.send_file(io.BytesIO(HTML.encode()), "text/html")

    @app.get("/broken")
    def broken() -> str:
        raise RuntimeError("the app's own")

    return app


def test_flask_page_views_events_and_routes(shop: Seen) -> None:
    browser = flask_app(shop, request_event="Request Served").test_client()
    for path in ("/products/p1", "/products/p2", "/stream", "/file", "/nowhere", "/broken"):
        browser.get(path, headers=BROWSER, buffered=True)
    names = [each["properties"].get("name") for each in shop.pages()]
    assert names == ["/products/<product_id>", "/products/<product_id>", "/stream", "/file"]
    assert len({each["anonymousId"] for each in shop.messages}) == 1
    assert len(shop.events("Part Sent")) == 2
    served = [each["properties"] for each in shop.events("Request Served")]
    assert [each["status"] for each in served] == [200, 200, 200, 200, 404, 500]
    assert served[4]["route"] == ""


def test_flask_users_come_from_the_session(shop: Seen, caplog: pytest.LogCaptureFixture) -> None:
    """The hook is asked where Flask's session is open; what it raises stays here."""
    app = flask_app(shop, user=lambda request: flask.session["user"])
    browser = app.test_client()
    for path in ("/products/p1", "/login/ada", "/products/p1"):
        assert browser.get(path, headers=BROWSER).status_code == 200
    assert [each.get("userId") for each in shop.pages()] == [None, "ada", "ada"]
    assert "the user hook failed" in caplog.text


def test_flask_consent_gets_a_request(shop: Seen) -> None:
    """And the client's `with` block, which keeps contexts open, works as ever."""

    def consent(request: flask.Request) -> dict[str, bool]:
        return {"analytics": request.cookies.get("ok") == "1"}

    with flask_app(shop, consent=consent).test_client() as browser:
        assert cookie_of(browser.get("/products/p1", headers=BROWSER).headers) is None
        browser.set_cookie("ok", "1")
        assert cookie_of(browser.get("/products/p1", headers=BROWSER).headers)
        assert flask.request.path == "/products/p1"
    assert shop.only()


def test_flask_needs_a_secret(shop: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DESIREPATH_COOKIE_SECRET", raising=False)
    with pytest.raises(SettingsError, match="no secret"):
        init_app(flask.Flask(__name__), shop.tracker)


def test_the_example_runs() -> None:
    """examples/flask_app.py, driven as a browser would."""
    example = importlib.import_module("examples.flask_app")
    with seen() as recorder:
        browser = example.make_app(recorder.tracker).test_client()
        for method, path in (("GET", "/"), ("POST", "/login?user=ada"), ("POST", "/buy?total=9")):
            assert browser.open(path, method=method, headers=BROWSER).status_code == 200
    bought = recorder.only("Order Completed")
    assert bought["userId"] == "ada"
    assert bought["anonymousId"] == recorder.only()["anonymousId"]

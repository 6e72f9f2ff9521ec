"""WSGI middleware, for every WSGI app; needs no framework.

    app = DesirepathMiddleware(app, tracker, secret=...)

Bodies pass through as they come: a list and a `wsgi.file_wrapper` are the app's own object,
everything else is iterated block by block, with the visitor known to the events in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from desirepath.integrations._request import HEADERS, Cookie, Request
from desirepath.integrations._web import Held, Options, Visit, Web

if TYPE_CHECKING:
    from typing import Unpack
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from desirepath.tracker import Tracker

__all__ = ["ROUTE", "DesirepathMiddleware"]

ROUTE: Final = "desirepath.route"
"""The environ's key under which a framework may note the route's path."""

_KEYS: Final = {f"HTTP_{name.upper().replace('-', '_')}": name for name in HEADERS}

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]


class DesirepathMiddleware:
    """Page views, visitors and their context for a WSGI app.

    Parameters
    ----------
    app
        The app.
    tracker
        Whose events these are.
    **options
        Those of `desirepath.integrations`; hooks get the environ.

    Raises
    ------
    SettingsError
        If the secret is missing or short. A request never raises.
    """

    def __init__(self, app: WSGIApplication, tracker: Tracker, **options: Unpack[Options]) -> None:
        self._app = app
        self._web = Web(tracker, **options)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        visit = self._begin(environ)
        if visit is None:
            return self._app(environ, start_response)
        answer = _Answer(visit, environ, start_response)
        held = visit.inside()
        try:
            with held:
                body = self._app(environ, answer.start)
        except BaseException:
            answer.finish()
            raise
        if isinstance(body, list | tuple) or _is_file(body, environ):
            answer.finish()
            return body
        return _Body(body, held, answer)

    def failed(self, where: str, error: Exception) -> None:
        """One line in the log a kind of failure, for frameworks' hooks."""
        self._web.failed(where, error)

    def _begin(self, environ: WSGIEnvironment) -> Visit | None:
        try:
            request = _request(environ)
        except Exception as error:
            self._web.failed("reading the request", error)
            return None
        return self._web.begin(request)


class _Answer:
    """The head of the answer, and the end of it."""

    __slots__ = ("_begun", "_cookie", "_environ", "_finished", "_start", "_status", "_visit")

    def __init__(self, visit: Visit, environ: WSGIEnvironment, start: StartResponse) -> None:
        self._visit = visit
        self._environ = environ
        self._start = start
        self._status = 500
        self._begun = False
        self._finished = False
        self._cookie: Cookie | None = None

    def start(
        self, status: str, headers: list[tuple[str, str]], exc_info: _ExcInfo | None = None, /
    ) -> Any:
        found = {name.lower(): value for name, value in headers}
        # An app that fails half-way starts a second time: the page is not seen twice.
        if not self._begun and status[:3].isdigit():
            self._begun = True
            self._cookie = self._visit.answer(
                int(status[:3]),
                found.get("content-type", ""),
                found.get("cache-control", ""),
                self._environ.get(ROUTE),
            )
        if status[:3].isdigit():
            self._status = int(status[:3])
        if self._cookie is not None:
            headers = [*headers, ("Set-Cookie", self._cookie.header())]
        return self._start(status, headers, exc_info) if exc_info else self._start(status, headers)

    def finish(self) -> None:
        if not self._finished:
            self._finished = True
            self._visit.finish(self._status, self._environ.get(ROUTE))


class _Body:
    """The app's blocks, one by one."""

    __slots__ = ("_answer", "_body", "_held", "_iterator")

    def __init__(self, body: Iterable[bytes], held: Held, answer: _Answer) -> None:
        self._body = body
        self._held = held
        self._answer = answer
        self._iterator: Iterator[bytes] | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        with self._held:
            if self._iterator is None:
                self._iterator = iter(self._body)
            return next(self._iterator)

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        try:
            if close is not None:
                with self._held:
                    close()
        finally:
            self._answer.finish()


def _is_file(body: object, environ: WSGIEnvironment) -> bool:
    """Whether the server would send this body from a file, which it must recognise (PEP 3333)."""
    wrapper = environ.get("wsgi.file_wrapper")
    return isinstance(wrapper, type) and isinstance(body, wrapper)


def _request(environ: WSGIEnvironment) -> Request:
    headers = {name: environ[key] for key, name in _KEYS.items() if key in environ}
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    return Request(
        method=environ["REQUEST_METHOD"],
        scheme=environ["wsgi.url_scheme"],
        host=headers.get("host") or environ["SERVER_NAME"],
        path=path.encode("latin-1").decode("utf-8", "replace"),
        query=environ.get("QUERY_STRING", ""),
        headers=headers,
        client=environ.get("REMOTE_ADDR", ""),
        native=environ,
    )

"""ASGI middleware, for Starlette, FastAPI and all others; needs none of them.

    app.add_middleware(DesirepathMiddleware, tracker=tracker, secret=...)

Bodies pass through as they come, chunk by chunk; websockets and lifespan are not touched, but
events inside a websocket know its visitor.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from desirepath.integrations._request import HEADERS, Request
from desirepath.integrations._web import Options, Visit, Web

if TYPE_CHECKING:
    from typing import Unpack

    from desirepath.tracker import Tracker

__all__ = ["DesirepathMiddleware"]

_Scope = MutableMapping[str, Any]
_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[_Scope, _Receive, _Send], Awaitable[None]]

_NAMES = {name.encode(): name for name in HEADERS}


class DesirepathMiddleware:
    """Page views, visitors and their context for an ASGI app.

    Parameters
    ----------
    app
        The app.
    tracker
        Whose events these are.
    **options
        Those of `desirepath.integrations`; hooks get the ASGI scope.

    Raises
    ------
    SettingsError
        If the secret is missing or short. A request never raises.
    """

    def __init__(self, app: _App, tracker: Tracker, **options: Unpack[Options]) -> None:
        self._app = app
        self._web = Web(tracker, **options)

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Serve one connection."""
        visit = None
        if scope["type"] in ("http", "websocket"):
            visit = self._begin(scope)
        if visit is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            with visit.inside():
                await self._app(scope, receive, send)
        else:
            await self._serve(visit, scope, receive, send)

    async def _serve(self, visit: Visit, scope: _Scope, receive: _Receive, send: _Send) -> None:
        status = 500
        root = scope.get("root_path", "")

        async def answer(message: _Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = _answered(visit, message, _route(scope, root))
            await send(message)

        try:
            with visit.inside():
                await self._app(scope, receive, answer)
        finally:
            visit.finish(status, _route(scope, root))

    def _begin(self, scope: _Scope) -> Visit | None:
        try:
            request = _request(scope)
        except Exception as error:
            self._web.failed("reading the request", error)
            return None
        return self._web.begin(request)


def _request(scope: _Scope) -> Request:
    headers: dict[str, str] = {}
    for raw, value in scope["headers"]:
        name = _NAMES.get(raw)
        if name is not None:
            text = value.decode("latin-1")
            # HTTP/2 may split the cookies over several headers (RFC 9113, 8.2.3).
            headers[name] = f"{headers[name]}; {text}" if name in headers else text
    server = scope.get("server") or ("", None)
    client = scope.get("client") or ("", None)
    return Request(
        method=scope.get("method", "GET"),
        scheme=scope.get("scheme", "http"),
        host=headers.get("host", server[0]),
        path=scope["path"],
        query=scope.get("query_string", b"").decode("latin-1"),
        headers=headers,
        client=client[0],
        native=scope,
    )


def _answered(visit: Visit, message: _Message, route: str | None) -> _Message:
    """The head of the answer, with the visitor's cookie if one goes out."""
    headers = list(message.get("headers", ()))
    found = {bytes(name).lower(): bytes(value).decode("latin-1") for name, value in headers}
    cookie = visit.answer(
        message["status"],
        found.get(b"content-type", ""),
        found.get(b"cache-control", ""),
        route,
    )
    if cookie is None:
        return message
    return {**message, "headers": [*headers, (b"set-cookie", cookie.header().encode("latin-1"))]}


def _route(scope: _Scope, root: str) -> str | None:
    """The route's path with its parameters' names, where the router has noted it.

    Starlette's routers write into the scope; below a mount, `root_path` has grown by its path.
    """
    path = getattr(scope.get("route"), "path", None)
    if not isinstance(path, str):
        return None
    return str(scope.get("root_path", "")).removeprefix(root) + path

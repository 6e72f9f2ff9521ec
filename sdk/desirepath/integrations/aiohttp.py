"""aiohttp's server: one call sets an app up.

    setup(app, tracker, secret=...)

Streams and websockets are the handler's own; the cookie goes out with the head of the answer,
whoever prepares it. Events know the visitor while the handler runs; not in a generator that is
handed over as a body and runs after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from desirepath.integrations._request import HEADERS, Request
from desirepath.integrations._web import Options, Visit, Web

if TYPE_CHECKING:
    from typing import Unpack

    from aiohttp.typedefs import Handler

    from desirepath.tracker import Tracker

__all__ = ["setup"]

# Newer versions of aiohttp warn of a plain name, older ones know nothing else.
_VISIT: Final[Any] = (
    web.RequestKey("desirepath_visit", Visit) if hasattr(web, "RequestKey") else "desirepath_visit"
)


def setup(app: web.Application, tracker: Tracker, **options: Unpack[Options]) -> None:
    """Track an app's page views, and know its visitors in its handlers.

    Parameters
    ----------
    app
        The app, before it runs; its sub-apps are part of it.
    tracker
        Whose events these are.
    **options
        Those of `desirepath.integrations`; hooks get aiohttp's request.

    Raises
    ------
    SettingsError
        If the secret is missing or short. A request never raises.
    """
    core = Web(tracker, **options)

    @web.middleware
    async def visiting(request: web.Request, handler: Handler) -> web.StreamResponse:
        visit = _begin(core, request)
        if visit is None:
            return await handler(request)
        request[_VISIT] = visit
        status = 500
        try:
            with visit.inside():
                response = await handler(request)
            status = response.status
            return response
        except web.HTTPException as answer:
            status = answer.status
            raise
        finally:
            visit.finish(status, _route(request))

    async def prepare(request: web.Request, response: web.StreamResponse) -> None:
        visit: Visit | None = request.get(_VISIT)
        if visit is None or isinstance(response, web.WebSocketResponse):
            return
        cookie = visit.answer(
            response.status,
            response.headers.get("Content-Type", ""),
            response.headers.get("Cache-Control", ""),
            _route(request),
        )
        if cookie is not None:
            response.headers.add("Set-Cookie", cookie.header())

    # The first is the outermost: the other middlewares' events know the visitor too.
    app.middlewares.insert(0, visiting)
    app.on_response_prepare.append(prepare)


def _begin(core: Web, request: web.Request) -> Visit | None:
    try:
        found = {name: request.headers[name] for name in HEADERS if name in request.headers}
        neutral = Request(
            method=request.method,
            scheme=request.scheme,
            host=request.host,
            path=request.path,
            query=request.rel_url.raw_query_string,
            headers=found,
            client=request.remote or "",
            native=request,
        )
    except Exception as error:
        core.failed("reading the request", error)
        return None
    return core.begin(neutral)


def _route(request: web.Request) -> str | None:
    resource = request.match_info.route.resource
    return None if resource is None else resource.canonical

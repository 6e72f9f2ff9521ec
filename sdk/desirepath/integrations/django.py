"""Django middleware, for WSGI and ASGI alike.

    MIDDLEWARE = [..., "desirepath.integrations.django.DesirepathMiddleware"]
    DESIREPATH = {"tracker": "shop.analytics.tracker"}

It stands behind Django's session and authentication middleware: the user of a session is the
user of the events, and one who logs in or out is so from there on. Streams keep their steps and
know the visitor; a `FileResponse` is not touched.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from inspect import iscoroutinefunction
from typing import Any, Final

from asgiref.sync import markcoroutinefunction
from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.http import FileResponse, HttpRequest, HttpResponseBase
from django.utils.module_loading import import_string

from desirepath.errors import SettingsError
from desirepath.integrations._request import HEADERS, Request
from desirepath.integrations._web import Held, Options, Visit, Web, set_user
from desirepath.tracker import Tracker

__all__ = ["DesirepathMiddleware"]

_KEYS: Final = {f"HTTP_{name.upper().replace('-', '_')}": name for name in HEADERS}
_BY_PATH: Final = ("tracker", "user", "consent", "page")
"""The settings that may be the dotted path of what is meant."""

_HINT: Final = 'as in DESIREPATH = {"tracker": "shop.analytics.tracker"}'


class DesirepathMiddleware:
    """Page views, visitors and their context for a Django project.

    The setting `DESIREPATH` is a dict: `tracker`, and the options of `desirepath.integrations`;
    hooks get Django's request. The tracker and the hooks may be named by their dotted paths. The
    default of `secret` is `SECRET_KEY` with its fallbacks, that of `user` the session's user.

    Raises
    ------
    SettingsError
        If the setting is missing or wrong. A request never raises.
    """

    sync_capable = True
    async_capable = True

    def __init__(
        self, get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]
    ) -> None:
        self._get_response: Callable[[HttpRequest], Any] = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)
        self._web, self._asks_session = _web()
        user_logged_in.connect(_logged_in, dispatch_uid="desirepath")
        user_logged_out.connect(_logged_out, dispatch_uid="desirepath")

    def __call__(self, request: HttpRequest) -> Any:
        """Serve one request."""
        if self._is_async:
            return self._acall(request)
        visit = self._begin(request)
        if visit is None:
            return self._get_response(request)
        held, status = visit.inside(), 500
        try:
            if self._has_session(request):
                try:
                    visit.know(request.session.get(SESSION_KEY))
                except Exception as error:
                    self._web.failed("reading the session", error)
            with held:
                response = self._get_response(request)
            status = response.status_code
            return self._answered(visit, held, request, response)
        finally:
            visit.finish(status, _route(request))

    async def _acall(self, request: HttpRequest) -> HttpResponseBase:
        visit = self._begin(request)
        if visit is None:
            return await self._get_response(request)
        held, status = visit.inside(), 500
        try:
            if self._has_session(request):
                try:
                    visit.know(await request.session.aget(SESSION_KEY))
                except Exception as error:
                    self._web.failed("reading the session", error)
            with held:
                response = await self._get_response(request)
            status = response.status_code
            return self._answered(visit, held, request, response)
        finally:
            visit.finish(status, _route(request))

    def _begin(self, request: HttpRequest) -> Visit | None:
        try:
            neutral = _request(request)
        except Exception as error:
            self._web.failed("reading the request", error)
            return None
        return self._web.begin(neutral)

    def _has_session(self, request: HttpRequest) -> bool:
        # Without the cookie there is nobody in the session, and asking it costs a query and makes
        # every answer vary by cookie.
        return (
            self._asks_session
            and hasattr(request, "session")
            and settings.SESSION_COOKIE_NAME in request.COOKIES
        )

    def _answered(
        self, visit: Visit, held: Held, request: HttpRequest, response: Any
    ) -> HttpResponseBase:
        try:
            if response.streaming and not isinstance(response, FileResponse):
                step = _async_steps if response.is_async else _steps
                response.streaming_content = step(response.streaming_content, held)
            cookie = visit.answer(
                response.status_code,
                response.headers.get("Content-Type", ""),
                response.headers.get("Cache-Control", ""),
                _route(request),
            )
            if cookie is not None:
                response.set_cookie(
                    cookie.name,
                    cookie.value,
                    max_age=cookie.max_age_s,
                    domain=cookie.domain,
                    secure=cookie.secure,
                    httponly=True,
                    samesite="Lax",
                )
        except Exception as error:
            self._web.failed("the answer", error)
        return response


def _web() -> tuple[Web, bool]:
    """The integration that the settings ask for, and whether it asks the session for the user."""
    given = getattr(settings, "DESIREPATH", None)
    if not isinstance(given, dict) or not given.get("tracker"):
        raise SettingsError("the setting DESIREPATH names no tracker", hint=_HINT)
    unknown = given.keys() - Options.__annotations__.keys() - {"tracker"}
    if unknown:
        raise SettingsError(f"DESIREPATH: {sorted(unknown)[0]!r} is no option")
    options = dict(given)
    for name in _BY_PATH:
        if isinstance(options.get(name), str):
            try:
                options[name] = import_string(options[name])
            except ImportError as error:
                raise SettingsError(f"DESIREPATH: {name}: {error}", hint=_HINT) from None
    tracker = options.pop("tracker")
    if not isinstance(tracker, Tracker):
        raise SettingsError(f"DESIREPATH: tracker is {tracker!r}, no Tracker", hint=_HINT)
    options.setdefault("secret", [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS])
    return Web(tracker, **options), "user" not in options


def _request(request: HttpRequest) -> Request:
    meta = request.META
    headers = {name: meta[key] for key, name in _KEYS.items() if key in meta}
    return Request(
        method=request.method or "",
        scheme=request.scheme or "",
        # Not get_host(), which raises for a host that is not allowed: that is the app's to say.
        host=headers.get("host") or meta.get("SERVER_NAME", ""),
        path=request.path,
        query=meta.get("QUERY_STRING", ""),
        headers=headers,
        client=meta.get("REMOTE_ADDR", ""),
        native=request,
    )


def _route(request: HttpRequest) -> str | None:
    match = getattr(request, "resolver_match", None)
    return None if match is None else f"/{match.route}"


def _steps(blocks: Iterator[bytes], held: Held) -> Iterator[bytes]:
    while True:
        with held:
            try:
                block = next(blocks)
            except StopIteration:
                return
        yield block


async def _async_steps(blocks: AsyncIterator[bytes], held: Held) -> AsyncIterator[bytes]:
    while True:
        with held:
            try:
                block = await anext(blocks)
            except StopAsyncIteration:
                return
        yield block


def _logged_in(user: Any, **_: Any) -> None:
    set_user(user.pk)


def _logged_out(**_: Any) -> None:
    set_user(None)

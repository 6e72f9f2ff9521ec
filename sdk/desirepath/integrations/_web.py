"""What happens to a web request, whatever the framework.

A request begins a `Visit`: who it is (the signed cookie), which session, where from, what they
consented to. Inside it every event carries that. When the answer's head is known, a page view is
tracked if a person looked at a page, and the cookie goes out. The frameworks' modules only
translate. Nothing here raises into the app: a failure is one line in the log, and the request
goes on without.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Final, TypedDict
from urllib.parse import SplitResult, parse_qsl, unquote_plus, urlunsplit

import msgspec

from desirepath.context import CURRENT, Scope
from desirepath.errors import SettingsError
from desirepath.integrations._request import (
    PRIVATE_QUERY,
    Cookie,
    Request,
    campaign_of,
    is_robot,
    page_properties,
    split,
)
from desirepath.integrations._visitor import Signer, Visitor, cookies, new_visitor
from desirepath.privacy import DEFAULT_PURPOSE
from desirepath.tracker import Tracker

__all__ = ["IGNORED", "VISIT", "Held", "Options", "Visit", "Web", "set_user"]

IGNORED: Final = (
    "/static", "/media", "/assets", "/favicon.ico", "/robots.txt", "/sitemap.xml", "/.well-known",
    "/health", "/healthz", "/livez", "/ready", "/readyz", "/ping", "/metrics",
)  # fmt: skip
"""The paths that are left alone by default, with all that is below them."""

_COOKIE_AGE_S: Final = 365 * 86_400
_REFRESH_S: Final = 60
_MAX_REFERRER_CHARS: Final = 300
_MAX_LOCALE_CHARS: Final = 35
_MAX_AGENT_CHARS: Final = 500
_HTML_TYPES: Final = ("text/html", "application/xhtml+xml")
_YES: Final = frozenset({"1", "true", "yes", "granted", "allow"})

logger: Final = logging.getLogger("desirepath")

PageHook = Callable[[Request, dict[str, Any]], Mapping[str, Any] | None]


class Options(TypedDict, total=False):
    """What every integration takes beside the tracker.

    Parameters
    ----------
    secret
        Signs the visitor cookie: at least 16 bytes; of several the first signs and all are
        believed. Default: `DESIREPATH_COOKIE_SECRET`, or what the framework has for that.
    page
        Whether to track page views: True (default), False, or a function that gets the `Request`
        and the properties, and returns the properties to send or None for no page view.
    request_event
        The name of an event for every request, with `method`, `route`, `status` and
        `duration_ms`. Default: none.
    ignore
        Paths that are left alone, with all below them. Default: `IGNORED`.
    robots
        Whether robots that say so count as visitors. Default: False.
    user
        Gets the framework's request and returns the user's id, or None.
    consent
        Gets the framework's request and returns purpose -> allowed, or None for no answer yet.
        Default: reads the cookie `consent_cookie`, written `analytics=1&marketing=0`.
    consent_cookie
        Default: `dp_consent`.
    consent_required
        The purposes for which silence means no. Default: none.
    cookie
        The visitor cookie's name. Default: `dp_visitor`.
    cookie_domain
        Default: the host that set it, and no other.
    cookie_secure
        Default: where the request came by https.
    identify
        Whether a visitor who turns out to be a user is tied to them, by one `identify` without
        traits. Default: True.
    session_timeout_s
        The pause that ends a session, in seconds. Default: 1800.
    private_query
        The query parameters that leave no trace. Default: those that name secrets.
    send_ip
        Whether the visitor's address is part of the context. Default: False.
    """

    secret: str | bytes | Sequence[str | bytes]
    page: bool | PageHook
    request_event: str | None
    ignore: Collection[str]
    robots: bool
    user: Callable[[Any], object] | None
    consent: Callable[[Any], Mapping[str, bool] | None] | None
    consent_cookie: str
    consent_required: Collection[str]
    cookie: str
    cookie_domain: str | None
    cookie_secure: bool | None
    identify: bool
    session_timeout_s: float
    private_query: Collection[str]
    send_ip: bool


class Web:
    """One app's integration: begins visits."""

    def __init__(
        self,
        tracker: Tracker,
        *,
        secret: str | bytes | Sequence[str | bytes] = "",
        page: bool | PageHook = True,
        request_event: str | None = None,
        ignore: Collection[str] = IGNORED,
        robots: bool = False,
        user: Callable[[Any], object] | None = None,
        consent: Callable[[Any], Mapping[str, bool] | None] | None = None,
        consent_cookie: str = "dp_consent",
        consent_required: Collection[str] = (),
        cookie: str = "dp_visitor",
        cookie_domain: str | None = None,
        cookie_secure: bool | None = None,
        identify: bool = True,
        session_timeout_s: float = 1800.0,
        private_query: Collection[str] = PRIVATE_QUERY,
        send_ip: bool = False,
    ) -> None:
        for name, names in (
            ("ignore", ignore),
            ("consent_required", consent_required),
            ("private_query", private_query),
        ):
            if isinstance(names, str):
                raise SettingsError(f"{name} is the text {names!r}, not a list of names")
        if session_timeout_s <= 0:
            raise SettingsError(f"session_timeout_s is {session_timeout_s}, not above 0")
        self.tracker = tracker
        self.signer = Signer(secret or os.environ.get("DESIREPATH_COOKIE_SECRET", ""))
        self.page = page
        self.request_event = request_event
        self.ignored = tuple(each.rstrip("/") or "/" for each in ignore)
        self.below = tuple(f"{each}/" for each in self.ignored)
        self.robots = robots
        self.user = user
        self.consent = consent or self._consent_of_cookie
        self.native_consent = consent is not None
        self.consent_cookie = consent_cookie
        self.consent_required = tuple(consent_required)
        self.cookie = cookie
        self.cookie_domain = cookie_domain
        self.cookie_secure = cookie_secure
        self.identify = identify
        self.session_timeout_s = session_timeout_s
        self.private_query = frozenset(each.lower() for each in private_query)
        self.send_ip = send_ip
        self._said: set[str] = set()

    def begin(self, request: Request) -> Visit | None:
        """The visit of a request; None where the path is ignored, or something went wrong."""
        path = request.path
        if path in self.ignored or path.startswith(self.below):
            return None
        try:
            return Visit(self, request)
        except Exception as error:
            self.failed("beginning the visit", error)
            return None

    def is_own(self, page: SplitResult, request: Request) -> bool:
        """Whether a page is the site's: of the same host, or where the cookie holds too."""
        if page.netloc == request.host:
            return True
        domain = (self.cookie_domain or "").lstrip(".")
        host = page.hostname or ""
        return bool(domain) and (host == domain or host.endswith(f".{domain}"))

    def failed(self, where: str, error: Exception) -> None:
        """One line in the log a kind of failure; never more."""
        kind = f"{where} {type(error)}"
        if kind not in self._said:
            self._said.add(kind)
            logger.error("desirepath: %s failed, the request goes on: %r", where, error)

    def answers(self, request: Request) -> dict[str, bool]:
        """The visitor's consent: purpose -> allowed. A hook that fails has answered no."""
        given: Mapping[str, bool] | None
        try:
            given = self.consent(request.native if self.native_consent else request)
            answers = {str(key): bool(value) for key, value in (given or {}).items()}
        except Exception as error:
            self.failed("the consent hook", error)
            answers = {DEFAULT_PURPOSE: False}
        for purpose in self.consent_required:
            answers.setdefault(purpose, False)
        return answers

    def user_id(self, native: Any) -> str | None:
        """The user, if the hook knows one."""
        if self.user is None:
            return None
        try:
            found = self.user(native)
        except Exception as error:
            self.failed("the user hook", error)
            return None
        return None if found is None else str(found)

    def visitor(self, request: Request, now_s: int) -> tuple[Visitor, bool]:
        """The visitor of the cookie, or a new one, and whether they are new."""
        for value in cookies(request.header("cookie"), self.cookie):
            known = self.signer.read(value)
            if known is not None:
                return known, False
        return new_visitor(now_s), True

    def _consent_of_cookie(self, request: Request) -> dict[str, bool] | None:
        for value in cookies(request.header("cookie"), self.consent_cookie):
            return {key: allowed.lower() in _YES for key, allowed in parse_qsl(unquote_plus(value))}
        return None


class Visit:
    """One request: what its events carry, its page view, its cookie.

    Parameters
    ----------
    scope
        What holds for the events inside the request.
    """

    __slots__ = (
        "_answers", "_began_s", "_new", "_person", "_properties", "_stale", "_storable", "_web",
        "request", "scope",
    )  # fmt: skip

    def __init__(self, web: Web, request: Request) -> None:
        self._web = web
        self.request = request
        self._began_s = time.perf_counter()
        now_s = int(time.time())
        stored, self._new = web.visitor(request, now_s)
        self._answers = web.answers(request)
        self._storable = self._answers.get(DEFAULT_PURPOSE, True) and (
            web.robots or not is_robot(request.header("user-agent")[:_MAX_AGENT_CHARS])
        )
        self._person = person = _continued(
            stored if self._storable else new_visitor(now_s), web, request, now_s
        )
        self._stale = person != stored
        self._properties = page_properties(request, web.private_query)
        self.scope = Scope(
            user_id=web.user_id(request.native),
            anonymous_id=person.anonymous_id,
            session_id=person.session_id,
            context=self._context(),
            consent=self._answers,
        )

    def inside(self) -> Held:
        """Make this visit the one that events in this thread or task belong to."""
        return Held(self)

    def know(self, user_id: object) -> None:
        """From here on, the visit's events are this user's; None: nobody's."""
        # Changed in place: frameworks run a request's parts in copies of its context, and a
        # variable that is set in one of them is not seen by the others.
        found = None if user_id is None else str(user_id)
        msgspec.structs.force_setattr(self.scope, "user_id", found)

    def answer(
        self, status: int, content_type: str, cache_control: str, route: str | None
    ) -> Cookie | None:
        """The head of the answer is known: track the page view, say which cookie goes out."""
        try:
            # What shared caches keep must not carry one visitor's id to the next (RFC 9111, 7.3).
            directives = cache_control.lower()
            shared = "public" in directives or "s-maxage" in directives
            if self._storable and not shared:
                self._tie()
            cookie = self._cookie(shared)
            recognised = not self._new or cookie is not None
            if self._web.page and recognised and self._is_page(status, content_type):
                self._view(route)
        except Exception as error:
            self._web.failed("the page view", error)
            return None
        return cookie

    def finish(self, status: int, route: str | None) -> None:
        """The request is over."""
        name = self._web.request_event
        if name is None:
            return
        try:
            properties = {
                "method": self.request.method,
                "route": route or "",
                "status": status,
                "duration_ms": round((time.perf_counter() - self._began_s) * 1000, 3),
            }
            with self.inside():
                self._web.tracker.track(name, properties)
        except Exception as error:
            self._web.failed("the request event", error)

    def _view(self, route: str | None) -> None:
        properties: Mapping[str, Any] | None = dict(self._properties)
        if callable(self._web.page):
            properties = self._web.page(self.request, dict(self._properties))
        if properties is not None:
            with self.inside():
                self._web.tracker.page(route, properties)

    def _is_page(self, status: int, content_type: str) -> bool:
        """Whether a person looked at a page: no robot, no prefetch, no fragment."""
        request = self.request
        destination = request.header("sec-fetch-dest")
        if (
            request.method != "GET"
            or not self._storable
            or destination not in ("", "document")
            or "prefetch" in request.header("sec-purpose") + request.header("purpose")
            or request.header("hx-request")
            or request.header("x-requested-with")
        ):
            return False
        if status == 304:
            # The browser shows the page that it has; its head says nothing of the type.
            return destination == "document"
        kind = content_type.partition(";")[0].strip().lower()
        return 200 <= status < 300 and kind in _HTML_TYPES

    def _tie(self) -> None:
        """Say once that this visitor is that user; the cookie remembers that it is said."""
        user_id = self.scope.user_id
        if user_id is None or not self._web.identify:
            return
        user = self._web.signer.digest(user_id)
        if user == self._person.user:
            return
        self._person = msgspec.structs.replace(self._person, user=user)
        self._stale = True
        with self.inside():
            self._web.tracker.identify(user_id)

    def _cookie(self, shared: bool) -> Cookie | None:
        web = self._web
        secure = self.request.scheme in ("https", "wss")
        if web.cookie_secure is not None:
            secure = web.cookie_secure
        if not self._storable:
            if self._answers.get(DEFAULT_PURPOSE, True) or not any(
                cookies(self.request.header("cookie"), web.cookie)
            ):
                return None
            return Cookie(web.cookie, "", 0, web.cookie_domain, secure)
        if shared or not (self._new or self._stale):
            return None
        value = web.signer.write(self._person)
        return Cookie(web.cookie, value, _COOKIE_AGE_S, web.cookie_domain, secure)

    def _context(self) -> dict[str, Any]:
        request, person = self.request, self._person
        context: dict[str, Any] = {"page": self._properties}
        if agent := request.header("user-agent"):
            context["userAgent"] = agent[:_MAX_AGENT_CHARS]
        locale = re.split("[,;]", request.header("accept-language"), maxsplit=1)[0].strip()
        if locale and locale != "*":
            context["locale"] = locale[:_MAX_LOCALE_CHARS]
        if person.campaign:
            context["campaign"] = person.campaign
        if person.referrer:
            host = split(person.referrer).hostname or ""
            context["referrer"] = {"url": person.referrer, "host": host}
        if self._web.send_ip and request.client:
            context["ip"] = request.client
        return context


VISIT: Final[ContextVar[Visit | None]] = ContextVar("desirepath_visit", default=None)
"""The visit this thread or task is in."""


class Held:
    """Our two context variables as the app left them, put back whenever the app runs.

    May be entered again and again, not inside itself: a server's thread serves one request after
    the other in one context, and iterates a body after the app has returned, so the variables are
    swapped in and out at each step.
    """

    __slots__ = ("_outer", "_scope", "_visit")

    def __init__(self, visit: Visit) -> None:
        self._scope: Scope | None = visit.scope
        self._visit: Visit | None = visit
        self._outer: tuple[Scope | None, Visit | None] = (None, None)

    def __enter__(self) -> None:
        self._outer = (CURRENT.get(), VISIT.get())
        CURRENT.set(self._scope)
        VISIT.set(self._visit)

    def __exit__(self, *_: object) -> None:
        self._scope, self._visit = CURRENT.get(), VISIT.get()
        CURRENT.set(self._outer[0])
        VISIT.set(self._outer[1])


def set_user(user_id: object) -> None:
    """From here to the end of the request, events are this user's; None: nobody's.

    For apps that learn only inside the request who is asking. Outside a request it does nothing.
    """
    visit = VISIT.get()
    if visit is None:
        return
    visit.know(user_id)
    inner = CURRENT.get()
    if inner is not None and inner is not visit.scope:
        msgspec.structs.force_setattr(inner, "user_id", visit.scope.user_id)


def _continued(visitor: Visitor, web: Web, request: Request, now_s: int) -> Visitor:
    """The visitor with the session this request belongs to, and what brought them."""
    timeout_s = web.session_timeout_s
    if now_s - visitor.seen_s > timeout_s:
        fresh = new_visitor(now_s)
        visitor = msgspec.structs.replace(
            fresh, anonymous_id=visitor.anonymous_id, user=visitor.user
        )
    changed: dict[str, Any] = {}
    if abs(now_s - visitor.seen_s) > min(_REFRESH_S, timeout_s / 10):
        changed["seen_s"] = now_s
    campaign = campaign_of(request.query)
    if campaign:
        changed["campaign"] = campaign
    if not visitor.referrer:
        came_from = split(request.header("referer"))
        if came_from.scheme in ("http", "https") and not web.is_own(came_from, request):
            bare = urlunsplit((came_from.scheme, came_from.netloc, came_from.path, "", ""))
            changed["referrer"] = bare[:_MAX_REFERRER_CHARS]
    return msgspec.structs.replace(visitor, **changed) if changed else visitor

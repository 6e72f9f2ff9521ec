"""A request as every framework has it, and what its URLs tell: page, campaign, robot.

Everything in a request is a stranger's word: long values are cut, URLs that are none have no
parts, and query parameters that carry secrets are taken out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, unquote_plus, urlsplit, urlunsplit

import msgspec

__all__ = [
    "HEADERS",
    "PRIVATE_QUERY",
    "Cookie",
    "Request",
    "campaign_of",
    "is_robot",
    "page_properties",
    "split",
]

HEADERS: Final = frozenset(
    {
        "accept-language", "cookie", "host", "hx-request", "purpose", "referer", "sec-fetch-dest",
        "sec-purpose", "user-agent", "x-requested-with",
    }
)  # fmt: skip
"""The request headers that are looked at, in lower case."""

PRIVATE_QUERY: Final = frozenset(
    {
        "access_token", "api_key", "apikey", "auth", "code", "email", "id_token", "key", "otp",
        "passwd", "password", "secret", "session", "sig", "signature", "state", "token",
    }
)  # fmt: skip
"""The query parameters that are taken out of every URL by default."""

_MAX_URL_CHARS: Final = 2_000
_MAX_CAMPAIGN_CHARS: Final = 100
_ROBOT: Final = re.compile(
    r"(?<!cu)bot(?:\b|[/_-])|crawl|spider|slurp|scrap(?:er|y)|facebookexternalhit|preview|prerender"
    r"|lighthouse|headless|monitor|uptime|pingdom|kube-probe|googlehc|healthcheck",
    re.IGNORECASE,
)
_CAMPAIGN: Final = {
    "utm_source": "source",
    "utm_medium": "medium",
    "utm_campaign": "name",
    "utm_term": "term",
    "utm_content": "content",
}


class Request(msgspec.Struct, frozen=True):
    """A request as every framework has it.

    Parameters
    ----------
    path, query
        As in the URL; the path is decoded, the query is not.
    headers
        Those that are looked at, by their names in lower case.
    client
        The visitor's address, as far as the framework knows it.
    native
        The framework's own: the ASGI scope, the WSGI environ, the request.
    """

    method: str
    scheme: str
    host: str
    path: str
    query: str
    headers: Mapping[str, str]
    client: str
    native: Any

    def header(self, name: str) -> str:
        """A header's value, or nothing."""
        return self.headers.get(name, "")


class Cookie(msgspec.Struct, frozen=True):
    """A cookie on its way out; an empty value takes it away."""

    name: str
    value: str
    max_age_s: int
    domain: str | None
    secure: bool

    def header(self) -> str:
        """The value of Set-Cookie."""
        text = f"{self.name}={self.value}; Max-Age={self.max_age_s}; Path=/; HttpOnly; SameSite=Lax"
        if self.domain:
            text += f"; Domain={self.domain}"
        return f"{text}; Secure" if self.secure else text


def page_properties(request: Request, private: frozenset[str]) -> dict[str, str]:
    """The page as Segment's specification writes it."""
    query = _cleaned(request.query, private)
    search = f"?{query}" if query else ""
    properties = {
        "path": request.path[:_MAX_URL_CHARS],
        "url": f"{request.scheme}://{request.host}{request.path}{search}"[:_MAX_URL_CHARS],
    }
    if search:
        properties["search"] = search[:_MAX_URL_CHARS]
    if referrer := request.header("referer"):
        parts = split(referrer)
        parts = parts._replace(query=_cleaned(parts.query, private), fragment="")
        properties["referrer"] = urlunsplit(parts)[:_MAX_URL_CHARS]
    return properties


def split(url: str) -> SplitResult:
    """A URL's parts; of what is none, no part."""
    try:
        return urlsplit(url)
    except ValueError:
        return SplitResult("", "", "", "", "")


def _cleaned(query: str, private: frozenset[str]) -> str:
    """A query without what must leave no trace; as it was written otherwise."""
    return "&".join(
        pair
        for pair in query.split("&")
        if unquote_plus(pair.partition("=")[0]).lower() not in private
    )


def campaign_of(query: str) -> dict[str, str]:
    """The `utm_...` of a query, by their names in Segment's specification."""
    if "utm_" not in query:
        return {}
    return {
        _CAMPAIGN[key]: value[:_MAX_CAMPAIGN_CHARS]
        for key, value in parse_qsl(query)
        if key in _CAMPAIGN
    }


@lru_cache(maxsize=1_000)  # the search takes longer than all the rest of a request
def is_robot(agent: str) -> bool:
    """Whether a user agent says that it is no person."""
    return _ROBOT.search(agent) is not None

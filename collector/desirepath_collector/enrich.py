"""What a context says between the lines: campaign, referring host, device, bot; and less of the IP.

Enrichment only adds keys that the client did not send, and only takes away from `ip`. It happens
before the plan is asked, so a plan may constrain or drop what is derived here. Contexts repeat, so
the caller keeps the result by the context's bytes; nothing here needs to be fast for its own sake.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import msgspec

from desirepath_collector.settings import Source

__all__ = ["Enricher", "truncated"]

_CAMPAIGN: Final = {
    "utm_source": "source",
    "utm_medium": "medium",
    "utm_campaign": "name",
    "utm_term": "term",
    "utm_content": "content",
    "utm_id": "id",
}
_MAX_VALUE_CHARS: Final = 500
_BOT: Final = re.compile(r"bot\b|crawl|spider|headless|monitor|curl/|wget/|python-requests", re.I)

_BROKEN: Final = (msgspec.DecodeError, msgspec.EncodeError, UnicodeDecodeError, RecursionError)


class Enricher:
    """Derives what a source's settings ask for."""

    def __init__(self) -> None:
        self._decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
        self._text = msgspec.json.Decoder(str).decode
        self._object = msgspec.json.Decoder(dict[str, Any]).decode
        self._encode = msgspec.json.Encoder().encode

    def enrich(self, raw: bytes, source: Source) -> bytes:
        """The context with what can be derived; as it was where nothing can, or it is no object."""
        if not (b'"ip"' in raw or b'"page"' in raw or b'"userAgent"' in raw):
            return raw
        try:
            context = self._decode(raw)
            changed = self._ip(context, source)
            if source.campaign and "page" in context:
                changed |= self._page(context)
            if source.user_agent and "userAgent" in context:
                changed |= self._user_agent(context)
            return self._encode(context) if changed else raw
        except _BROKEN:
            return raw

    def _ip(self, context: dict[str, msgspec.Raw], source: Source) -> bool:
        if "ip" not in context or source.ip == "keep":
            return False
        if source.ip == "truncate":
            try:
                shorter = truncated(self._text(context["ip"]))
            except _BROKEN:
                shorter = None
            if shorter is not None:
                context["ip"] = msgspec.Raw(self._encode(shorter))
                return True
        # What is no address may be anything, a person's name too.
        del context["ip"]
        return True

    def _page(self, context: dict[str, msgspec.Raw]) -> bool:
        page = self._object(context["page"])
        changed = False
        if "campaign" not in context:
            query = page.get("search") or _part(page.get("url"), "query")
            campaign = _campaign(query)
            if campaign:
                context["campaign"] = msgspec.Raw(self._encode(campaign))
                changed = True
        if "referrer" not in context:
            host = _part(page.get("referrer"), "hostname")
            if host and host != _part(page.get("url"), "hostname"):
                context["referrer"] = msgspec.Raw(self._encode({"host": host}))
                changed = True
        return changed

    def _user_agent(self, context: dict[str, msgspec.Raw]) -> bool:
        text = self._text(context["userAgent"])
        changed = False
        for key, value in _derived(text[:_MAX_VALUE_CHARS]).items():
            if key not in context:
                context[key] = msgspec.Raw(self._encode(value))
                changed = True
        return changed


@functools.lru_cache(4096)
def _derived(user_agent: str) -> dict[str, Any]:
    """Browser, system and device of a user agent; `bot` only where it is one."""
    from ua_parser import parse

    parsed = parse(user_agent)
    found: dict[str, Any] = {}
    if parsed.user_agent is not None:
        found["browser"] = _named(parsed.user_agent.family, parsed.user_agent.major)
    if parsed.os is not None:
        found["os"] = _named(parsed.os.family, parsed.os.major)
    spider = parsed.device is not None and parsed.device.family == "Spider"
    if spider or _BOT.search(user_agent):
        found["bot"] = True
    elif parsed.device is not None:
        found["device"] = {"family": parsed.device.family}
    return found


def _named(name: str, version: str | None) -> dict[str, str]:
    return {"name": name, "version": version} if version else {"name": name}


def truncated(address: str) -> str | None:
    """The /24 of an IPv4 address, the /48 of an IPv6 one; None for what is neither."""
    try:
        parsed = ipaddress.ip_address(address.strip())
    except ValueError:
        return None
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    prefix = 24 if parsed.version == 4 else 48
    return str(ipaddress.ip_network(f"{parsed}/{prefix}", strict=False).network_address)


def _campaign(query: Any) -> dict[str, str]:
    if not isinstance(query, str) or "utm_" not in query:
        return {}
    try:
        pairs = parse_qsl(query.removeprefix("?"), max_num_fields=200)
    except ValueError:
        return {}
    return {
        _CAMPAIGN[name]: value[:_MAX_VALUE_CHARS]
        for name, value in reversed(pairs)
        if name in _CAMPAIGN and value
    }


def _part(url: Any, part: str) -> str:
    if not isinstance(url, str):
        return ""
    try:
        return str(getattr(urlsplit(url), part) or "")
    except ValueError:
        return ""

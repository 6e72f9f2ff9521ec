"""The formats a plan may assert, each by the RFC that JSON Schema 2020-12 names for it."""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable, Mapping
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

__all__ = ["FORMATS"]

_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_TIME = re.compile(
    r"([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.[0-9]+)?(?:[zZ]|([+-])([0-9]{2}):([0-9]{2}))"
)
_UUID = re.compile(r"[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}")
# RFC 5321 Mailbox: a dot-string or a quoted string, a domain or an address literal.
_LOCAL = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r'|"(?:[ !#-\[\]-~]|\\[ -~])*"'
)
_DOMAIN = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)
_URI = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]*:(?://(?P<authority>[^/?#]*)(?P<path>/[^?#]*)?|(?P<rootless>[^?#]*))"
    r"(?:\?(?P<query>[^#]*))?(?:#(?P<fragment>.*))?"
)
_PCHARS = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*")
_HOST = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*")
_USERINFO = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:-]|%[0-9A-Fa-f]{2})*")
_FUTURE_ADDRESS = re.compile(r"v[0-9A-Fa-f]+\.[A-Za-z0-9._~!$&'()*+,;=:-]+")


def _is_date(text: str) -> bool:
    match = _DATE.fullmatch(text)
    if match is None:
        return False
    year, month, day = map(int, match.groups())
    # RFC 3339 has a year 0000; the calendar repeats every 400 years, Python starts at year 1.
    return 1 <= month <= 12 and 1 <= day <= monthrange(year or 400, month)[1]


def _is_time(text: str) -> bool:
    match = _TIME.fullmatch(text)
    if match is None:
        return False
    hour, minute, second = int(match[1]), int(match[2]), int(match[3])
    offset = 0
    if match[4]:
        if int(match[5]) > 23 or int(match[6]) > 59:
            return False
        offset = int(match[5]) * 60 + int(match[6])
        if match[4] == "-":
            offset = -offset
    if hour > 23 or minute > 59 or second > 60:
        return False
    # A leap second is only ever 23:59:60 in UTC.
    return second < 60 or (hour * 60 + minute - offset) % 1440 == 1439


def _is_date_time(text: str) -> bool:
    return len(text) > 10 and text[10] in "Tt" and _is_date(text[:10]) and _is_time(text[11:])


def _is_email(text: str) -> bool:
    local, at, domain = text.rpartition("@")
    if not at or _LOCAL.fullmatch(local) is None:
        return False
    if domain.startswith("[") and domain.endswith("]"):
        literal = domain[1:-1]
        if literal[:5].lower() == "ipv6:":
            return _is_ipv6(literal[5:])
        return _is_ipv4(literal)
    return len(domain) <= 255 and _DOMAIN.fullmatch(domain) is not None


def _is_uri(text: str) -> bool:
    match = _URI.fullmatch(text)
    if match is None:
        return False
    authority = match["authority"]
    if authority is not None and not _is_authority(authority):
        return False
    parts = (match["path"], match["rootless"], match["query"], match["fragment"])
    if any(part and _PCHARS.fullmatch(part) is None for part in parts):
        return False
    return "?" not in (match["path"] or "")


def _is_authority(text: str) -> bool:
    user, at, host = text.rpartition("@")
    if at and _USERINFO.fullmatch(user) is None:
        return False
    if host.startswith("["):
        address, bracket, port = host[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            return False
        if not _is_ipv6(address) and _FUTURE_ADDRESS.fullmatch(address) is None:
            return False
        port = port[1:]
    else:
        name, _, port = host.partition(":")
        if _HOST.fullmatch(name) is None:
            return False
    return port == "" or (port.isascii() and port.isdigit())


def _is_uuid(text: str) -> bool:
    return _UUID.fullmatch(text) is not None


def _is_ipv4(text: str) -> bool:
    try:
        IPv4Address(text)
    except AddressValueError:
        return False
    return text.isascii()


def _is_ipv6(text: str) -> bool:
    if "%" in text or not text.isascii():  # a zone is no part of an address (RFC 4291)
        return False
    try:
        IPv6Address(text)
    except AddressValueError:
        return False
    return True


FORMATS: Final[Mapping[str, Callable[[str], bool]]] = {
    "date": _is_date,
    "date-time": _is_date_time,
    "email": _is_email,
    "ipv4": _is_ipv4,
    "ipv6": _is_ipv6,
    "time": _is_time,
    "uri": _is_uri,
    "uuid": _is_uuid,
}
"""Each format's name and whether a string has it; strings only, other types pass."""

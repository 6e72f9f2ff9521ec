"""The formats a plan may assert, each by the RFC that JSON Schema 2020-12 names for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

__all__ = ["FORMATS"]

_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_TIME = re.compile(
    r"([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.[0-9]+)?(?:[zZ]|([+-])([0-9]{2}):([0-9]{2}))"
)
_MONTH_DAYS: Final = (0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")
_HEXTET = re.compile(r"[0-9A-Fa-f]{1,4}")
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
    if not 1 <= month <= 12 or not 1 <= day <= _MONTH_DAYS[month]:
        return False
    is_leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return day < 29 or month != 2 or is_leap


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
    return _IPV4.fullmatch(text) is not None


def _is_ipv6(text: str) -> bool:
    """RFC 4291, section 2.2: eight groups, `::` once for some of them, an IPv4 address at last."""
    if len(text) > 45 or text.count("::") > 1:
        return False
    left, gap, right = text.partition("::")
    groups = [part.split(":") if part else [] for part in (left, right)]
    last = groups[1] if groups[1] else groups[0] if not gap else []
    size = len(groups[0]) + len(groups[1])
    if last and "." in last[-1]:
        if not _is_ipv4(last.pop()):
            return False
        size += 1
    if not all(_HEXTET.fullmatch(group) for group in (*groups[0], *groups[1])):
        return False
    return size <= 7 if gap else size == 8


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

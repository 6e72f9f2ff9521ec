"""Guesses which fields hold personal data, by their name and by their values.

A guess is for a person to confirm: it says why, never shows a value, and errs on the side of
flagging. `drop` is advised for what an analysis never needs (secrets, card and identity numbers),
`hash` for what names a person.
"""

from __future__ import annotations

import ipaddress
import itertools
import re
from typing import Final, Literal

__all__ = ["Treatment", "by_name", "by_value"]

Treatment = Literal["hash", "drop"]

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")

_NAMES: Final[tuple[tuple[str, Treatment, frozenset[str]], ...]] = (
    (
        "a secret",
        "drop",
        frozenset({"password", "passwd", "pwd", "secret", "pin", "cvv", "cvc", "api key"}),
    ),
    (
        "a card or account number",
        "drop",
        frozenset({"card number", "credit card", "cardnumber", "creditcard", "iban", "pan"}),
    ),
    (
        "an identity document",
        "drop",
        frozenset(
            {"ssn", "social security", "passport", "tax id", "national id", "driver license"}
        ),
    ),
    ("an e-mail address", "hash", frozenset({"email", "e mail", "mail"})),
    (
        "a phone number",
        "hash",
        frozenset({"phone", "mobile number", "msisdn", "telephone", "cellphone", "fax"}),
    ),
    (
        "a person's name",
        "hash",
        frozenset(
            {"first name", "last name", "full name", "firstname", "lastname", "surname"}
            | {"fullname", "given name", "family name", "maiden name", "middle name"}
        ),
    ),
    (
        "a postal address",
        "hash",
        frozenset({"street", "address", "address line", "house number"}),
    ),
    ("a date of birth", "hash", frozenset({"birthday", "birthdate", "birth date", "dob", "birth"})),
    ("an IP address", "hash", frozenset({"ip", "ip address", "ipaddress", "remote addr"})),
    ("a position", "hash", frozenset({"latitude", "longitude", "lat", "lng", "lon", "geo"})),
)

_EMAIL: Final = re.compile(r"[^@\s]{1,64}@[^@\s]+\.[^@\s]{2,}")
_PHONE: Final = re.compile(r"(?:\+|00)[1-9][0-9 ()./-]{6,20}|\(?0[0-9]{2,5}\)?[ /-][0-9 /-]{5,12}")
_CARD: Final = re.compile(r"(?:[0-9][ -]?){12,18}[0-9]")
_IBAN: Final = re.compile(r"[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?")
_LONGEST: Final = 254
"""Longer values are text, not identifiers; the longest e-mail address has 254 characters."""


def by_name(name: str) -> tuple[str, Treatment] | None:
    """What a field of this name would hold and what to do with it; None if nothing personal.

    >>> by_name("billingEmail")
    ('an e-mail address', 'hash')
    >>> by_name("emailed_count") is None
    True
    """
    words = [word.lower() for word in _WORD.findall(name)]
    pairs = {*words, *(" ".join(pair) for pair in itertools.pairwise(words))}
    for what, treatment, known in _NAMES:
        if pairs & known and not pairs & _NOT_A_VALUE:
            return what, treatment
    return None


_NOT_A_VALUE: Final = frozenset(
    {"count", "verified", "type", "status", "length", "opt", "has", "service"}
)
"""`email_verified`, `card_type`: about a personal value, not one."""


def by_value(value: str) -> tuple[str, Treatment] | None:
    """What this value looks like, if it looks personal."""
    if not 6 <= len(value) <= _LONGEST:
        return None
    if "@" in value and _EMAIL.fullmatch(value):
        return "an e-mail address", "hash"
    if _CARD.fullmatch(value) and _luhn(value):
        return "a card or account number", "drop"
    if _IBAN.fullmatch(value) and _iban(value):
        return "a card or account number", "drop"
    if _PHONE.fullmatch(value):
        return "a phone number", "hash"
    if value.count(".") == 3 or value.count(":") >= 2:
        try:
            ipaddress.ip_address(value)
        except ValueError:
            return None
        return "an IP address", "hash"
    return None


def _luhn(text: str) -> bool:
    digits = [int(char) for char in reversed(text) if char.isdigit()]
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return len(set(digits)) > 1 and (sum(digits[::2]) + sum(doubled)) % 10 == 0


def _iban(text: str) -> bool:
    packed = text.replace(" ", "")
    moved = packed[4:] + packed[:4]
    return int("".join(str(int(char, 36)) for char in moved)) % 97 == 1

"""Who a visitor is between two requests: one signed cookie.

The cookie holds the anonymous id, the session and what brought the visitor here. Only what this
server signed is believed; anything else, older secrets aside, makes a new visitor. The format is
`1.DATA.SIGNATURE`: base64url of a JSON array, and of the first 20 bytes of its HMAC-SHA-256.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import uuid
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from desirepath.errors import SettingsError

__all__ = ["Signer", "Visitor", "cookies", "new_visitor"]

_VERSION: Final = "1"
_SIGNATURE_BYTES: Final = 20
_MIN_SECRET_BYTES: Final = 16
_MAX_COOKIE_CHARS: Final = 3_000


class Visitor(msgspec.Struct, array_like=True, frozen=True):
    """What the cookie holds.

    Parameters
    ----------
    anonymous_id, session_id
        UUIDs.
    seen_s
        When the session was last known to be alive, in seconds since 1970.
    campaign
        The `utm_...` of the session: `source`, `medium`, `name`, `term`, `content`.
    referrer
        The foreign page the session came from.
    user
        The digest of the user this visitor has been tied to.
    """

    anonymous_id: str
    session_id: str
    seen_s: int
    campaign: dict[str, str] = {}
    referrer: str = ""
    user: str = ""


def new_visitor(now_s: int) -> Visitor:
    """Somebody never seen before."""
    return Visitor(str(uuid.uuid4()), str(uuid.uuid4()), now_s)


class Signer:
    """Writes visitors as cookie values, and reads back its own.

    Parameters
    ----------
    secrets
        The first signs, all of them are believed.
    """

    def __init__(self, secrets: str | bytes | Sequence[str | bytes]) -> None:
        given = [secrets] if isinstance(secrets, str | bytes) else list(secrets)
        raw = [each.encode() if isinstance(each, str) else each for each in given]
        if not raw or any(len(each) < _MIN_SECRET_BYTES for each in raw):
            raise SettingsError(
                "there is no secret to sign the visitor cookie with"
                if not any(raw)
                else f"a secret of the visitor cookie is shorter than {_MIN_SECRET_BYTES} bytes",
                hint="pass secret=... or set DESIREPATH_COOKIE_SECRET; make one with: "
                "python -c 'import secrets; print(secrets.token_urlsafe(32))'",
            )
        # A key of our own, so that a secret shared with sessions signs nothing of theirs.
        self._keys = [hmac.digest(each, b"desirepath visitor cookie", "sha256") for each in raw]

    def write(self, visitor: Visitor) -> str:
        """The cookie's value."""
        body = f"{_VERSION}.{_text(_encode(visitor))}"
        return f"{body}.{_signature(self._keys[0], body)}"

    def digest(self, user_id: str) -> str:
        """Stands for a user in the cookie, without saying who."""
        return _signature(self._keys[0], f"user {user_id}")[:12]

    def read(self, value: str) -> Visitor | None:
        """The visitor in a cookie's value; None where this server did not sign it."""
        body, _, signature = value.rpartition(".")
        version, _, data = body.partition(".")
        if version != _VERSION or len(value) > _MAX_COOKIE_CHARS or not value.isascii():
            return None
        if not any(hmac.compare_digest(_signature(key, body), signature) for key in self._keys):
            return None
        try:
            return _decode(base64.urlsafe_b64decode(data + "=" * (-len(data) % 4)))
        except (binascii.Error, msgspec.MsgspecError):
            return None


def cookies(header: str, name: str) -> Iterator[str]:
    """The values of the cookies called `name` in a Cookie header; a browser may send several."""
    for pair in header.split(";"):
        key, equals, value = pair.strip().partition("=")
        if equals and key == name:
            yield value.strip('"')


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Visitor).decode


def _signature(key: bytes, body: str) -> str:
    return _text(hmac.digest(key, body.encode(), "sha256")[:_SIGNATURE_BYTES])


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

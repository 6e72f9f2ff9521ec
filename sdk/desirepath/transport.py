"""One batch to the collector and its answer back. Retrying is the sender's affair.

The answer's body is believed only where it is a collector's: a proxy or a captive portal that
answers 200 with a page of its own has not stored anything.
"""

from __future__ import annotations

import base64
import contextlib
import enum
import time
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from desirepath import _ids
from desirepath._imports import load_urllib3
from desirepath._settings import without_password
from desirepath.errors import SettingsError

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, HTTPConnectionPool

__all__ = ["Answer", "Outcome", "Quarantined", "Transport"]

_GZIP_FROM_BYTES: Final = 1_000
# Level 1 takes an eighth of the time of level 9 for 108 instead of 79 bytes an event.
_GZIP_LEVEL: Final = 1
_GZIP_WINDOW: Final = 31
_MAX_ANSWER_BYTES: Final = 8 << 20
_CONNECT_TIMEOUT_S: Final = 5.0


class Outcome(enum.Enum):
    """What the sender has to do."""

    DELIVERED = enum.auto()
    RETRY = enum.auto()
    REFUSED = enum.auto()
    """The collector does not take anything of ours as things stand: a wrong key, a wrong path."""
    TOO_LARGE = enum.auto()
    MALFORMED = enum.auto()


class Quarantined(msgspec.Struct, frozen=True, rename="camel"):
    """One event that the collector set aside, or took with reservations."""

    index: int = -1
    message_id: str = ""
    violations: list[dict[str, Any]] = []


class Answer(msgspec.Struct, frozen=True):
    """What came of one batch.

    Parameters
    ----------
    outcome
        What to do.
    status
        The HTTP status; 0 where there was no answer.
    reason
        Why, in words.
    retry_after_s
        How long the collector asks to be left alone, in seconds.
    accepted
        How many events it took.
    quarantined
        The events it set aside.
    reserved
        Events it took although they break their plan in parts.
    """

    outcome: Outcome
    status: int = 0
    reason: str = ""
    retry_after_s: float | None = None
    accepted: int = 0
    quarantined: tuple[Quarantined, ...] = ()
    reserved: tuple[Quarantined, ...] = ()


class _Body(msgspec.Struct):
    success: bool
    accepted: int | None = None
    quarantined: list[Quarantined] = []
    violations: list[Quarantined] = []


class _Failure(msgspec.Struct):
    code: str = ""
    message: str = ""
    hint: str | None = None


class _FailureBody(msgspec.Struct):
    error: _Failure


class Transport:
    """Posts batches to one collector over one kept-alive connection; for one thread.

    Parameters
    ----------
    endpoint
        The collector's URL, with a path where it is mounted below one.
    write_key
        Sent by Basic authentication, as Segment's clients do.
    timeout_s
        How long the answer may be silent, and how long its body may take, in seconds.
    gzip
        Whether to compress bodies; by default not for this machine's own addresses, where the
        compression costs more than the bytes.
    sent_at
        Whether to stamp batches with this machine's time, by which the collector corrects the
        events' times for a wrong clock.
    """

    def __init__(
        self,
        endpoint: str,
        write_key: str,
        *,
        timeout_s: float = 10.0,
        gzip: bool | None = None,
        sent_at: bool = True,
    ) -> None:
        from urllib.parse import urlsplit

        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError(
                f"the endpoint {without_password(endpoint)!r} is not an http or https URL",
                hint="for example http://127.0.0.1:8000",
            )
        self._origin = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        self._path = f"{parts.path.rstrip('/')}/v1/batch"
        token = base64.b64encode(f"{write_key}:".encode()).decode()
        self._headers = {
            "Authorization": f"Basic {token}",
            "Content-Type": "application/json",
            "User-Agent": "desirepath-python",
        }
        self._timeout_s = timeout_s
        self._gzip = not _is_loopback(parts.hostname) if gzip is None else gzip
        self._sent_at = sent_at
        self._pool: HTTPConnectionPool | None = None

    def post(self, records: Sequence[bytes]) -> Answer:
        """Send `records`, each one message's JSON; never raises for what the network does."""
        urllib3 = load_urllib3()
        body = b'{"batch":[' + b",".join(records)
        if self._sent_at:
            body += b'],"sentAt":"' + _ids.timestamp().encode() + b'"}'
        else:
            body += b"]}"
        headers = self._headers
        if self._gzip and len(body) >= _GZIP_FROM_BYTES:
            packer = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
            body = packer.compress(body) + packer.flush()
            headers = {**headers, "Content-Encoding": "gzip"}
        if self._pool is None:
            # In the sender's thread: importing and connecting cost the app nothing.
            self._pool = urllib3.connection_from_url(
                self._origin,
                maxsize=1,
                block=True,
                timeout=urllib3.Timeout(connect=_CONNECT_TIMEOUT_S, read=self._timeout_s),
            )
        response = None
        try:
            response = self._pool.urlopen(
                "POST",
                self._path,
                body=body,
                headers=headers,
                retries=False,
                redirect=False,
                preload_content=False,
            )
            answer = self._body(response)
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            if response is not None:
                response.close()
                # With its connection, for which the next request would wait.
                self.close()
            return Answer(Outcome.RETRY, 0, _reason(error))
        response.drain_conn()
        response.release_conn()
        return _read(response.status, response.headers.get("Retry-After"), answer, len(records))

    def _body(self, response: BaseHTTPResponse) -> bytes:
        """The answer's body, in pieces: a server that drips must not hold us for ever."""
        deadline = time.monotonic() + self._timeout_s
        body = b""
        while piece := response.read1(_MAX_ANSWER_BYTES - len(body)):
            body += piece
            if len(body) >= _MAX_ANSWER_BYTES:
                break
            if time.monotonic() >= deadline:
                raise TimeoutError(f"the answer takes longer than {self._timeout_s:g} s")
        return body

    def close(self) -> None:
        """Close the connection; the next `post` opens another."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def forget(self) -> None:
        """In a forked child: drop the parent's connection without a word on it."""
        self._pool = None


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def _read(status: int, retry_after: str | None, body: bytes, sent: int) -> Answer:
    if 200 <= status < 300:
        return _read_success(status, body, sent)
    failure = _Failure()
    with contextlib.suppress(msgspec.MsgspecError):
        failure = msgspec.json.decode(body, type=_FailureBody).error
    reason = f"HTTP {status}" + (f": {failure.message}" if failure.message else "")
    if status == 413:
        return Answer(Outcome.TOO_LARGE, status, reason)
    if status in (400, 422):
        return Answer(Outcome.MALFORMED, status, reason)
    if status in (408, 425, 429) or status >= 500:
        return Answer(Outcome.RETRY, status, reason, _seconds(retry_after))
    if status in (401, 403):
        reason += " (is the write key right?)" if not failure.message else ""
    return Answer(Outcome.REFUSED, status, reason, _seconds(retry_after))


def _read_success(status: int, body: bytes, sent: int) -> Answer:
    try:
        answer = msgspec.json.decode(body, type=_Body)
    except msgspec.MsgspecError:
        return Answer(Outcome.REFUSED, status, f"HTTP {status}, but not from a collector")
    if not answer.success:
        return Answer(Outcome.RETRY, status, "the collector answered success: false")
    quarantined = tuple(answer.quarantined)
    # Other servers that speak Segment's protocol answer {"success": true} and no counts.
    accepted = answer.accepted if answer.accepted is not None else sent - len(quarantined)
    return Answer(
        Outcome.DELIVERED,
        status,
        "",
        None,
        accepted=accepted,
        quarantined=quarantined,
        reserved=tuple(answer.violations),
    )


def _seconds(retry_after: str | None) -> float | None:
    if not retry_after:
        return None
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    from email.utils import parsedate_to_datetime

    from desirepath.event import utc_now

    try:
        return max(0.0, (parsedate_to_datetime(retry_after) - utc_now()).total_seconds())
    except (ValueError, TypeError):
        return None


def _reason(error: Exception) -> str:
    cause = error.__cause__ or error.__context__ or error
    text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return f"{type(error).__name__}: {text}"[:300]

"""The short way for the requests that matter: events over plain HTTP/1.1.

Every connection begins here. A request whose head is one of the few expected forms - POST to an
intake address, HTTP/1.1, a Content-Length, nothing exotic - is read, judged and answered by this
protocol, which costs a third of what the library's request and response objects cost. Anything
else, down to a header that merely looks odd, is handed over to aiohttp with all bytes received,
and the connection stays there. So this file never has to be lenient, and holds no second opinion
on what HTTP allows.

What must hold: a head is whole within `HEAD_TIMEOUT_S` and a body within `body_timeout_s`, or the
connection is closed; all bodies being received together never hold more than `max_inflight_bytes`;
requests on one connection are answered in order; a client that does not read is not read either.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import Final, cast

from desirepath_collector.http.answers import Answer, Refusal
from desirepath_collector.http.cors import granted
from desirepath_collector.http.head import Head, Heads
from desirepath_collector.http.intake import Intake, IntakeRequest, Taken
from desirepath_collector.settings import Settings

__all__ = ["HEAD_TIMEOUT_S", "MAX_HEAD_BYTES", "Lane", "LaneProtocol"]

log = logging.getLogger("desirepath.http")

HEAD_TIMEOUT_S: Final = 10.0
MAX_HEAD_BYTES: Final = 16 * 1024
MAX_BEHIND_BYTES: Final = 64 * 1024
"""What a client may send on while its request is judged, before it is not read any more."""

_SWEEP_S: Final = 1.0
_LINGER_S: Final = 2.0
_NEVER: Final = float("inf")

_HEAD: Final = b"HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s%s\r\n"
_REASONS: Final = {status.value: status.phrase.encode() for status in HTTPStatus}


class Lane:
    """What the connections of one listening socket share.

    Parameters
    ----------
    intake
        Judges requests.
    settings
        Limits and timeouts.
    fallback
        Makes the aiohttp protocol that a connection is handed over to.
    """

    def __init__(
        self, intake: Intake, settings: Settings, fallback: Callable[[], asyncio.Protocol]
    ) -> None:
        self.intake = intake
        self.settings = settings
        self.fallback = fallback
        self.connections: set[LaneProtocol] = set()
        self.heads = Heads()
        self.closing = False
        self._date = b""
        self._sweeper = asyncio.get_running_loop().create_task(self._sweep())
        self._tick()

    def __call__(self) -> LaneProtocol:
        """A protocol for a new connection."""
        return LaneProtocol(self)

    async def close(self, timeout_s: float) -> None:
        """Close idle connections, let busy ones end for at most `timeout_s`, then close all."""
        self.closing = True
        until_s = time.monotonic() + timeout_s
        for connection in list(self.connections):
            connection.close_if_idle()
        while self.connections and time.monotonic() < until_s:
            await asyncio.sleep(0.02)
        for connection in list(self.connections):
            connection.abort()
        self._sweeper.cancel()

    @property
    def date(self) -> bytes:
        """The Date header, made once a second."""
        return self._date

    def _tick(self) -> None:
        self._date = b"Date: " + formatdate(usegmt=True).encode() + b"\r\n"

    async def _sweep(self) -> None:
        """One timer for all connections: a timer each would cost more than the request."""
        while True:
            await asyncio.sleep(_SWEEP_S)
            self._tick()
            now_s = time.monotonic()
            for connection in list(self.connections):
                if connection.deadline_s < now_s:
                    connection.timed_out()


class LaneProtocol(asyncio.Protocol):
    """One connection."""

    __slots__ = (
        "_address", "_behind", "_body", "_busy", "_counted_bytes", "_discarding", "_gone", "_head",
        "_keep", "_lane", "_length", "_paused", "_received_s", "_transport", "_waits_for_head",
        "_writable", "deadline_s",
    )  # fmt: skip

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._transport: asyncio.Transport
        self._behind = b""
        self._address = ""
        self._head: Head | None = None
        self._length = 0
        self._body: list[bytes] = []
        self._counted_bytes = 0
        self._received_s = 0.0
        self._waits_for_head = False
        self._busy = False
        self._keep = True
        self._discarding = False
        self._gone = False
        self._paused = False
        self._writable = True
        self.deadline_s = time.monotonic() + HEAD_TIMEOUT_S

    # -- the transport's callbacks ---------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self._address = peer[0] if peer else ""
        self._lane.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; what was submitted for it stays submitted."""
        del exc
        self._lane.intake.release(self._counted_bytes)
        self._counted_bytes = 0
        self._body = []
        self._gone = True
        self._lane.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._discarding:
            return
        if self._busy or not self._writable:
            self._behind += data
            if len(self._behind) > MAX_BEHIND_BYTES and not self._paused:
                self._paused = True
                self._transport.pause_reading()
            return
        self._feed(data)
        self._go_on()

    def eof_received(self) -> bool:
        """The client will send no more, but may wait for its answer."""
        self._keep = False
        return self._busy

    def pause_writing(self) -> None:
        """The client does not read its answers: take nothing more from it."""
        self._writable = False

    def resume_writing(self) -> None:
        """It reads again."""
        self._writable = True
        self._go_on()

    # -- the lane's calls ------------------------------------------------------------------------

    def close_if_idle(self) -> None:
        """Close, unless a request is on its way."""
        self._keep = False
        if not self._busy and self._head is None and not self._behind:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def timed_out(self) -> None:
        """The deadline is over."""
        if self._discarding or not (self._head or self._behind):
            self._transport.abort()
            return
        what = "body" if self._head else "head"
        self._refuse(Refusal("timeout", f"the request's {what} was not whole in time"))

    # -- a request -------------------------------------------------------------------------------

    def _go_on(self) -> None:
        while self._behind and not (self._busy or self._discarding or self._gone):
            if not self._writable:
                return
            behind, self._behind = self._behind, b""
            self._feed(behind)
            if self._behind:
                # The head is still not whole.
                break
        if self._paused and not self._gone and len(self._behind) <= MAX_BEHIND_BYTES:
            self._paused = False
            self._transport.resume_reading()

    def _feed(self, data: bytes) -> None:
        if self._head is not None:
            self._take_body(data)
            return
        if self._behind:
            data, self._behind = self._behind + data, b""
        end = data.find(b"\r\n\r\n")
        if end > MAX_HEAD_BYTES or (end < 0 and len(data) > MAX_HEAD_BYTES):
            self._refuse(Refusal("headers_too_large", f"over {MAX_HEAD_BYTES} bytes of head"))
            return
        if end < 0:
            if not self._waits_for_head:
                self._waits_for_head = True
                self.deadline_s = time.monotonic() + HEAD_TIMEOUT_S
            self._behind = data
            return
        found = self._lane.heads.read(data, end)
        if found is None:
            self._hand_over(data)
            return
        self._head, self._length = found
        self._waits_for_head = False
        self._received_s = time.time()
        if not self._head.keep:
            self._keep = False
        if self._length > self._lane.settings.max_body_bytes:
            limit = self._lane.settings.max_body_bytes
            self._refuse(Refusal("too_large", f"the body is over {limit} bytes"))
            return
        self._take_body(data[end + 4 :])

    def _take_body(self, data: bytes) -> None:
        missing = self._length - self._counted_bytes
        if len(data) > missing:
            self._behind = data[missing:]
            data = data[:missing]
        lane = self._lane
        self._counted_bytes += len(data)
        try:
            lane.intake.hold(len(data))
        except Refusal as refusal:
            self._refuse(refusal)
            return
        self._body.append(data)
        if self._counted_bytes < self._length:
            if len(self._body) == 1:
                self.deadline_s = time.monotonic() + lane.settings.body_timeout_s
            return
        body = data if len(self._body) == 1 else b"".join(self._body)
        self._body = []
        self._judge(body)

    def _judge(self, body: bytes) -> None:
        head = self._head
        assert head is not None  # noqa: S101 (a body is only read behind a head)
        intake = self._lane.intake
        self._busy = True
        self.deadline_s = _NEVER
        begun_s = time.perf_counter()
        request = IntakeRequest(head, body, self._address, self._received_s)
        try:
            taken = intake.judge(request)
            if taken.records:
                intake.submit(taken, lambda failure: self._durable(taken, failure, begun_s))
                return
            answer = intake.durable(taken, begun_s)
        except Refusal as refusal:
            answer = intake.refused(refusal, begun_s)
        except Exception:
            log.exception("a request failed")
            answer = intake.refused(Refusal("internal", "a fault of the collector"), begun_s)
        self._answer(answer)

    def _durable(self, taken: Taken, failure: Refusal | None, begun_s: float) -> None:
        intake = self._lane.intake
        if failure is not None:
            self._answer(intake.refused(failure, begun_s))
        else:
            self._answer(intake.durable(taken, begun_s))
        self._go_on()

    def _refuse(self, refusal: Refusal) -> None:
        """Answer before the request is whole; what still comes of it is thrown away."""
        self._keep = False
        self._discarding = True
        self._answer(self._lane.intake.refused(refusal, time.perf_counter()))

    def _answer(self, answer: Answer) -> None:
        lane = self._lane
        lane.intake.release(self._counted_bytes)
        self._counted_bytes = 0
        head, self._head = self._head, None
        self._body = []
        self._busy = False
        self.deadline_s = time.monotonic() + lane.settings.idle_timeout_s
        if self._gone:
            return
        origin = head.origin if head is not None else ""
        self._transport.write(_response(answer, lane, origin, keep=self._keep and not lane.closing))
        if self._discarding:
            # A close with unread bytes would make the kernel reset the connection, and the client
            # might never see why. So only our side is closed, and the rest runs into the sand.
            self._behind = b""
            self.deadline_s = time.monotonic() + _LINGER_S
            if self._transport.can_write_eof():
                self._transport.write_eof()
        elif not self._keep or lane.closing:
            self._transport.close()
            self._gone = True

    def _hand_over(self, data: bytes) -> None:
        lane = self._lane
        lane.connections.discard(self)
        self._gone = True
        protocol = lane.fallback()
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        protocol.data_received(data)


def _response(answer: Answer, lane: Lane, origin: str, *, keep: bool) -> bytes:
    body = answer.body
    extra = b""
    if answer.headers:
        extra = "".join(f"{name}: {value}\r\n" for name, value in answer.headers).encode("latin-1")
    if origin and lane.intake.origins.allow(origin):
        extra += "".join(f"{name}: {value}\r\n" for name, value in granted(origin)).encode(
            "latin-1"
        )
    if not keep:
        extra += b"Connection: close\r\n"
    return _HEAD % (answer.status, _REASONS[answer.status], len(body), lane.date, extra) + body

"""Taking events in, independent of the HTTP library: from a whole request to its answer.

The order never changes: who sends -> may they -> what is it -> verdicts -> durable -> answer.
Nothing of a request that is refused is kept.
"""

from __future__ import annotations

import time
from base64 import b64decode
from typing import Final, NamedTuple

from desirepath_collector.admit import Admitted, Admitter
from desirepath_collector.envelope import Batch, decode_batch, decode_single
from desirepath_collector.http.answers import Answer, Refusal, success
from desirepath_collector.http.body import inflate, unwrap
from desirepath_collector.http.cors import Origins
from desirepath_collector.http.head import Head
from desirepath_collector.live import Live
from desirepath_collector.ratelimit import Limiter
from desirepath_collector.settings import Settings, Source
from desirepath_collector.spool import Done, Spool
from desirepath_collector.telemetry import Telemetry

__all__ = ["Intake", "IntakeRequest", "Taken"]


_MAX_AUTHORIZATIONS: Final = 1_000


class IntakeRequest(NamedTuple):
    """A whole request."""

    head: Head
    body: bytes
    address: str
    received_s: float


class Taken(NamedTuple):
    """A request that was judged, and waits for its records to become durable."""

    records: list[bytes]
    source: Source
    admitted: Admitted
    body_bytes: int


class Intake:
    """Takes requests in.

    Parameters
    ----------
    settings
        Limits and sources.
    admitter
        Judges the events.
    spool
        Makes them durable.
    telemetry
        Counts.
    """

    def __init__(
        self, settings: Settings, admitter: Admitter, spool: Spool, telemetry: Telemetry
    ) -> None:
        self._settings = settings
        self._admitter = admitter
        self._spool = spool
        self._telemetry = telemetry
        self._sources: dict[str, Source] = {}
        self._authorizations: dict[str, Source] = {}
        self.stopping = False
        self.inflight_bytes = 0
        self.live = Live()
        self._limiter = Limiter()
        self.use(settings)

    def use(self, settings: Settings) -> None:
        """Know these sources, and only these, and these limits from now on."""
        self._settings = settings
        self._admitter.use(settings)
        self._sources = {source.write_key: source for source in settings.effective_sources()}
        self._authorizations = {}
        self.origins = Origins(settings.effective_sources())

    def source_of(self, authorization: str, write_key: str = "") -> Source:
        """Whose request it is.

        Raises
        ------
        Refusal
            `unauthorized` for no key or an unknown one.
        """
        source = self._authorizations.get(authorization)
        if source is not None:
            return source
        key = _basic_user(authorization) or write_key
        if not key:
            raise Refusal(
                "unauthorized",
                "no write key",
                hint="send it as the user of Basic authorization, or as `writeKey` in the body",
            )
        source = self._sources.get(key)
        if source is None:
            raise Refusal("unauthorized", "this write key is not known here")
        if authorization and not write_key:
            if len(self._authorizations) >= _MAX_AUTHORIZATIONS:
                # A public key with a random password each time would fill the memory.
                self._authorizations.clear()
            self._authorizations[authorization] = source
        return source

    def hold(self, size: int) -> None:
        """Count bytes of a body that is being received; whoever holds them releases them.

        Raises
        ------
        Refusal
            `busy` above `max_inflight_bytes`. They are counted all the same.
        """
        self.inflight_bytes += size
        if self.inflight_bytes > self._settings.max_inflight_bytes:
            raise Refusal("busy", "too many requests are in flight", retry_after_s=1)

    def release(self, size: int) -> None:
        """Count them no longer."""
        self.inflight_bytes -= size

    async def take(self, request: IntakeRequest) -> Answer:
        """Answer one request; never raises."""
        begun_s = time.perf_counter()
        try:
            taken = self.judge(request)
            await self._spool.commit(taken.records)
        except Refusal as refusal:
            return self.refused(refusal, begun_s)
        return self.durable(taken, begun_s)

    def judge(self, request: IntakeRequest) -> Taken:
        """Everything up to making the events durable.

        Raises
        ------
        Refusal
            Nothing of the request is kept.
        """
        if self.stopping:
            raise Refusal("stopping", "the collector is stopping", retry_after_s=5)
        head = request.head
        known: Source | None = None
        if head.authorization or head.write_key:
            # Before the body is looked at, where the key allows.
            known = self.source_of(head.authorization, head.write_key)
        batch = self._decoded(request)
        source = known or self.source_of("", _body_key(batch))
        if head.origin and "*" not in source.origins and head.origin not in source.origins:
            raise Refusal("forbidden", f"source {source.name!r} does not take {head.origin}")
        if len(batch.wires) > self._settings.max_batch_events:
            raise Refusal(
                "too_large",
                f"a batch may hold {self._settings.max_batch_events} events, "
                f"this one holds {len(batch.wires)}",
                pointer="/batch",
            )
        if source.rate_per_s or source.rate_per_address_per_s:
            self._limit(source, request, len(batch.wires))
        admitted = self._admitter.admit(batch, source, int(request.received_s * 1000), head.kind)
        if not self.live.listening:
            # Large requests wait for the disk in numbers; their rows need not wait with them.
            admitted.rows.clear()
        return Taken(admitted.records, source, admitted, len(request.body))

    def submit(self, taken: Taken, done: Done) -> None:
        """Have the records made durable; a Refusal if there is no room for them."""
        self._spool.submit(taken.records, done)

    def durable(self, taken: Taken, begun_s: float) -> Answer:
        """The answer to a request whose events are durable now, counted."""
        admitted = taken.admitted
        self._count(taken.source, admitted)
        telemetry = self._telemetry
        telemetry.requests.add(1, "ok")
        telemetry.body_bytes.add(taken.body_bytes)
        telemetry.answer_seconds.observe(time.perf_counter() - begun_s)
        if self.live.listening:
            self.live.tell(admitted.rows)
        return success(admitted.accepted, admitted.quarantined, admitted.violations)

    def refused(self, refusal: Refusal, begun_s: float) -> Answer:
        """The answer to a request that was refused, counted."""
        self._telemetry.requests.add(1, refusal.code)
        self._telemetry.answer_seconds.observe(time.perf_counter() - begun_s)
        return refusal.answer()

    def _limit(self, source: Source, request: IntakeRequest, events: int) -> None:
        address = request.address
        if self._settings.proxies and request.head.forwarded:
            # Each proxy appends whom it saw; what lies before our own proxies anybody may invent.
            hops = [hop.strip() for hop in request.head.forwarded.split(",")]
            address = hops[max(0, len(hops) - self._settings.proxies)]
        wait_s = self._limiter.wait_s(source, address, events, time.monotonic())
        if wait_s:
            raise Refusal(
                "rate_limited", f"source {source.name!r} sends too much", retry_after_s=wait_s
            )

    def _decoded(self, request: IntakeRequest) -> Batch:
        limits, head, body = self._settings, request.head, request.body
        if len(body) > limits.max_body_bytes:
            raise Refusal("too_large", f"the body is over {limits.max_body_bytes} bytes")
        if head.content_encoding or len(body) > limits.max_inflated_bytes:
            body = inflate(body, head.content_encoding, limits.max_inflated_bytes)
        body = unwrap(body, head.content_type)
        if not body:
            raise Refusal("malformed", "the body is empty", pointer="")
        return decode_batch(body) if head.kind is None else decode_single(body)

    def _count(self, source: Source, admitted: Admitted) -> None:
        events = self._telemetry.events
        clean = admitted.accepted - len(admitted.violations)
        if clean:
            events.add(clean, source.name, "accepted")
        if not admitted.quarantined and not admitted.violations:
            return
        for verdict, reports in (
            ("violations", admitted.violations),
            ("quarantined", admitted.quarantined),
        ):
            if reports:
                events.add(len(reports), source.name, verdict)
            for report in reports:
                for violation in report.violations:
                    self._telemetry.violations.add(1, violation.code)


def _basic_user(authorization: str) -> str:
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return b64decode(value.strip(), validate=True).decode().partition(":")[0]
    except ValueError:
        return ""


def _body_key(batch: Batch) -> str:
    if batch.write_key:
        return batch.write_key
    # Where each event carries the key they must agree, or one key could send for another.
    keys = {wire.write_key for wire in batch.wires}
    return keys.pop() or "" if len(keys) == 1 else ""

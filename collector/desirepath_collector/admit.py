"""From a request's events to spool records and verdicts.

Every event gets one verdict: accepted, accepted with violations, or quarantined with all its
violations. Nothing here waits or writes: the answer built from an `Admitted` may be sent only
after its `records` are durable. Properties and contexts are never taken apart here; the plan's
validator hands back their canonical bytes, and these very bytes go into the record.

Times: the client's own time (`timestamp`, else `originalTimestamp`) is kept; if the client's
clock, by its `sentAt`, is off by `clock_skew_min_s` or more, the corrected time is moved by the
difference. Below that a difference is indistinguishable from the network's delay, and correcting
it would give every retry of a message another time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from desirepath.event import KINDS, PAGE_EVENT, SCREEN_EVENT, Kind, new_message_id
from desirepath.plan import Plan, Verdict, Violation
from desirepath.plan.wire import MAX_DEPTH, scan
from desirepath_collector.enrich import Enricher
from desirepath_collector.envelope import EMPTY, Batch, Wire, to_ms
from desirepath_collector.http.answers import VerdictReport
from desirepath_collector.plans import Checker, Plans
from desirepath_collector.settings import Settings, Source
from desirepath_collector.warehouse.rows import EventRow, QuarantineRow

__all__ = ["MAX_ID_CHARS", "PLACEHOLDERS", "Admitted", "Admitter", "Row"]

Row = EventRow | QuarantineRow

MAX_ID_CHARS: Final = 512
MAX_NAME_CHARS: Final = 256

PLACEHOLDERS: Final = frozenset(
    {
        # What broken integrations send instead of an id; merging people by it is a disaster.
        # Most are PostHog's list of illegal distinct ids.
        "null", "none", "nil", "undefined", "nan", "true", "false", "0", "-1",
        "anonymous", "guest", "distinct_id", "distinctid", "not_authenticated", "unknown",
        "user_id", "userid", "anonymous_id", "anonymousid", "[object object]", "(null)", "n/a",
        "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff",
    }
)  # fmt: skip

# DateTime64(3) holds 1900 to 2299; what is outside would be stored as another time.
_MIN_MS: Final = -2_208_988_800_000
_MAX_MS: Final = 10_413_791_999_999

_RECORD_BYTES: Final = 1 << 20
_MAX_CACHED_CONTEXTS: Final = 1024
_MAX_CACHED_CONTEXT_BYTES: Final = 4096

_BROKEN: Final = (msgspec.DecodeError, msgspec.EncodeError, UnicodeDecodeError, RecursionError)


class Admitted(NamedTuple):
    """What became of a request's events."""

    records: list[bytes]
    rows: list[Row]
    accepted: int
    quarantined: list[VerdictReport]
    violations: list[VerdictReport]


class _Context(NamedTuple):
    """A context as it is checked, and what it says to the collector itself."""

    raw: bytes
    size: int
    session_id: str
    checker: Checker | None
    traits: bytes
    has_traits: bool
    problems: tuple[Violation, ...]


class _Sender(NamedTuple):
    """What all events of a request share."""

    source: Source
    contexts: dict[bytes, _Context]
    context: bytes
    sent_ms: int
    skew_ms: int
    received_ms: int
    checker: Checker


class _PlanRef(msgspec.Struct):
    name: str = ""
    version: str = ""


class _ContextFields(msgspec.Struct, rename="camel"):
    session_id: str | int | None = None
    plan: _PlanRef | str | None = None
    traits: msgspec.Raw = EMPTY


class Admitter:
    """Judges events by the plans and the limits.

    Parameters
    ----------
    plans
        The plans that are known.
    settings
        Limits and the skew that is corrected.
    new_id
        Makes the message id of an event that has none.
    """

    def __init__(
        self, plans: Plans, settings: Settings, *, new_id: Callable[[], str] = new_message_id
    ) -> None:
        self._plans = plans
        self._new_id = new_id
        self._encode_rows = msgspec.json.Encoder().encode
        self._context_fields = msgspec.json.Decoder(_ContextFields).decode
        self._object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
        self._contexts: dict[str, dict[bytes, _Context]] = {}
        self._enrich = Enricher().enrich
        self._generation = plans.generation
        self.use(settings)

    def use(self, settings: Settings) -> None:
        """Judge by these limits from now on."""
        self._settings = settings
        # What is kept of a context depends on its source's settings.
        self._contexts.clear()
        # So short a payload cannot hold too many properties: each takes five bytes at least.
        self._plain_bytes = min(settings.max_event_bytes, settings.max_properties * 5)
        # Beyond this depth the validator itself refuses.
        self._max_depth = settings.max_depth
        self._shallow = settings.max_depth < MAX_DEPTH

    def plan_of(self, source: str) -> Plan | None:
        """The plan that a source's events are judged by, unless they name another."""
        return self._plans.of_source(source).personal.plan

    def admit(
        self, batch: Batch, source: Source, received_ms: int, kind: Kind | None = None
    ) -> Admitted:
        """Judge the events of a request.

        Parameters
        ----------
        batch
            The request, taken apart.
        source
            Whose key it came with.
        received_ms
            When it came, milliseconds since 1970.
        kind
            What the address says they are; None where each event says it itself.
        """
        if self._generation != self._plans.generation:
            self._contexts.clear()
            self._generation = self._plans.generation
        rows: list[Row] = []
        quarantined: list[VerdictReport] = []
        noted: list[VerdictReport] = []
        faults = batch.faults
        sender = self._sender(batch, source, received_ms)
        for index, wire in enumerate(batch.wires):
            row: Row | None = None
            if (kind or wire.type) == "track" and not faults:
                row = self._plain(batch, index, wire, sender)
            if row is None:
                row = self._judge(batch, index, wire, sender, kind)
            rows.append(row)
            if row.violations:
                report = VerdictReport(index, row.message_id, row.violations)
                (noted if type(row) is EventRow else quarantined).append(report)
        return Admitted(self._records(rows), rows, len(rows) - len(quarantined), quarantined, noted)

    def _sender(self, batch: Batch, source: Source, received_ms: int) -> _Sender:
        sent_ms = received_ms if batch.sent_at is None else to_ms(batch.sent_at)
        return _Sender(
            source,
            self._contexts.setdefault(source.name, {}),
            bytes(batch.context),
            sent_ms,
            self._skew_ms(sent_ms, received_ms),
            received_ms,
            self._plans.of_source(source.name),
        )

    def _plain(self, batch: Batch, index: int, wire: Wire, sender: _Sender) -> Row | None:
        """The row of a track call that only the plan can object to; None if `_judge` must look.

        Nine of ten events come this way, at a third of the cost.
        """
        message_id, event, moment = wire.message_id, wire.event, wire.timestamp
        user_id, anonymous_id = wire.user_id or "", wire.anonymous_id or ""
        if (
            message_id.__class__ is not str
            or not event
            or moment is None
            or moment.tzinfo is None
            or wire.sent_at is not None
            or user_id.__class__ is not str
            or anonymous_id.__class__ is not str
        ):
            return None
        if TYPE_CHECKING:
            assert isinstance(message_id, str)
            assert isinstance(user_id, str)
            assert isinstance(anonymous_id, str)
        context = sender.contexts.get(bytes(wire.context) or sender.context)
        payload = bytes(wire.properties)
        if (
            context is None
            or context.problems
            or not 0 < len(message_id) <= MAX_ID_CHARS
            or len(event) > MAX_NAME_CHARS
            or len(user_id) > MAX_ID_CHARS
            or len(anonymous_id) > MAX_ID_CHARS
            or not (user_id or anonymous_id)
            or user_id.lower() in PLACEHOLDERS
            or anonymous_id.lower() in PLACEHOLDERS
            or len(payload) + context.size > self._plain_bytes
            or (self._shallow and payload.count(b"{") + payload.count(b"[") > self._max_depth)
        ):
            return None
        original_ms = round(moment.timestamp() * 1000)
        timestamp_ms = original_ms + sender.skew_ms
        if not (_MIN_MS <= original_ms <= _MAX_MS and _MIN_MS <= timestamp_ms <= _MAX_MS):
            return None
        checker = context.checker or sender.checker
        verdict = checker.validator.check("track", event, payload or b"{}", context.raw)
        if context.has_traits:
            kept = checker.personal.context(verdict.context)
            verdict = msgspec.structs.replace(verdict, context=kept)
        if verdict.decision != "accept":
            return QuarantineRow(
                message_id,
                "track",
                event,
                user_id,
                anonymous_id,
                sender.received_ms,
                sender.sent_ms,
                sender.source.name,
                checker.name,
                checker.version,
                tuple(checker.personal.masked(verdict.violations)),
                self._kept(batch.raw(index), "track", message_id, verdict, checker),
            )
        return EventRow(
            message_id,
            "track",
            event,
            user_id,
            anonymous_id,
            "",
            "",
            context.session_id,
            timestamp_ms,
            original_ms,
            sender.sent_ms,
            sender.received_ms,
            sender.source.name,
            checker.name,
            checker.version,
            msgspec.Raw(verdict.payload),
            msgspec.Raw(verdict.context),
            verdict.violations,
        )

    def _records(self, rows: list[Row]) -> list[bytes]:
        if not rows:
            return []
        record = self._encode_rows(rows)
        if len(record) <= _RECORD_BYTES or len(rows) == 1:
            return [record]
        half = len(rows) // 2
        return self._records(rows[:half]) + self._records(rows[half:])

    def _judge(
        self,
        batch: Batch,
        index: int,
        wire: Wire,
        sender: _Sender,
        path_kind: Kind | None,
    ) -> Row:
        source, received_ms = sender.source, sender.received_ms
        problems = list(batch.faults.get(index, ()))
        kind: str = path_kind or wire.type or ""
        if kind not in _EVENT_OF:
            if not _unsafe(problems):
                problems.append(_kind_violation(wire.type))
            kind = ""
        message_id = wire.message_id
        if message_id.__class__ is not str or not message_id:
            message_id = str(message_id) if message_id is not None else ""
            if not message_id and index in batch.faults:
                # The same one for each retry: a new one would make a new row of each.
                message_id = hashlib.blake2b(batch.raw(index), digest_size=16).hexdigest()
            message_id = message_id or self._new_id()
        user_id = _id(wire.user_id, "/userId", problems)
        anonymous_id = _id(wire.anonymous_id, "/anonymousId", problems)
        if not user_id and not anonymous_id and not problems:
            problems.append(Violation("missing", "/userId", "userId or anonymousId"))
        previous_id = group_id = ""
        if kind == "track":
            event = wire.event or ""
            if not event:
                if not any(problem.pointer == "/event" for problem in problems):
                    problems.append(Violation("missing", "/event", "the event's name"))
            elif len(event) > MAX_NAME_CHARS:
                problems.append(_size("/event", MAX_NAME_CHARS, "characters", len(event)))
            payload = bytes(wire.properties)
        else:
            event = _EVENT_OF.get(kind, "")
            payload = bytes(wire.traits if kind in ("identify", "group") else wire.properties)
            if kind == "alias":
                previous_id = _id(wire.previous_id, "/previousId", problems)
                if not previous_id and not problems:
                    problems.append(Violation("missing", "/previousId", "the id of before"))
                payload = b"{}"
            elif kind == "group":
                group_id = _id(wire.group_id, "/groupId", problems)
                if not group_id and not problems:
                    problems.append(Violation("missing", "/groupId", "the group's id"))
            elif kind in ("page", "screen") and (wire.name or wire.category):
                payload = self._named(payload, wire)
        if len(message_id) > MAX_ID_CHARS:
            problems.append(_size("/messageId", MAX_ID_CHARS, "characters", len(message_id)))
            message_id = message_id[:MAX_ID_CHARS]

        context = self._context(bytes(wire.context) or sender.context, sender)
        problems.extend(context.problems)
        if payload in (b"", b"null"):
            # RudderStack's clients put an identify's traits into the context.
            payload = context.traits if kind == "identify" and context.traits else b"{}"
        self._check_limits(payload, context.size, kind, problems)

        original_ms = self._client_time(wire, received_ms, problems)
        sent_ms = sender.sent_ms if wire.sent_at is None else to_ms(wire.sent_at)
        timestamp_ms = original_ms + self._skew_ms(sent_ms, received_ms)
        if not _MIN_MS <= timestamp_ms <= _MAX_MS:
            timestamp_ms = original_ms

        checker = context.checker or sender.checker
        verdict: Verdict | None = None
        if not _unsafe(problems):
            try:
                verdict = checker.validator.check(
                    kind or "track",  # type: ignore[arg-type]
                    event,
                    payload,
                    context.raw,
                )
            except _BROKEN as error:
                problems.append(Violation("malformed", "", "valid JSON", str(error)))
            else:
                if context.has_traits:
                    kept = checker.personal.context(verdict.context)
                    verdict = msgspec.structs.replace(verdict, context=kept)
                if not problems and verdict.decision == "accept":
                    return EventRow(
                        message_id,
                        kind,
                        event,
                        user_id,
                        anonymous_id,
                        previous_id,
                        group_id,
                        context.session_id,
                        timestamp_ms,
                        original_ms,
                        sent_ms,
                        received_ms,
                        source.name,
                        checker.name,
                        checker.version,
                        msgspec.Raw(verdict.payload),
                        msgspec.Raw(verdict.context),
                        verdict.violations,
                    )
                problems.extend(verdict.violations)
        return QuarantineRow(
            message_id,
            kind or (wire.type or "")[:MAX_NAME_CHARS],
            event[:MAX_NAME_CHARS],
            user_id,
            anonymous_id,
            received_ms,
            sent_ms,
            source.name,
            checker.name,
            checker.version,
            tuple(checker.personal.masked(problems)),
            self._kept(batch.raw(index), kind, message_id, verdict, checker),
        )

    def _context(self, raw: bytes, sender: _Sender) -> _Context:
        found = sender.contexts.get(raw)
        if found is not None:
            return found
        size = len(raw)
        kept = b"{}" if raw in (b"", b"null") else raw
        session_id, checker, traits, has_traits = "", None, b"", False
        problems: tuple[Violation, ...] = ()
        deep = scan(kept, max_depth=self._settings.max_depth)
        if deep is not None:
            problems = (Violation(deep.code, "/context", deep.expected, deep.found),)
        else:
            kept = self._enrich(kept, sender.source)
            try:
                fields = self._context_fields(kept)
            except _BROKEN:
                # Not an object, or fields of another type: the validator says so.
                has_traits = True
            else:
                if fields.session_id is not None:
                    session_id = str(fields.session_id)[:MAX_ID_CHARS]
                if fields.plan is not None:
                    checker = self._named_plan(fields.plan)
                traits = bytes(fields.traits)
                has_traits = traits not in (b"", b"null")
        context = _Context(kept, size, session_id, checker, traits, has_traits, problems)
        if size <= _MAX_CACHED_CONTEXT_BYTES:
            if len(sender.contexts) >= _MAX_CACHED_CONTEXTS:
                sender.contexts.clear()
            sender.contexts[raw] = context
        return context

    def _named_plan(self, reference: _PlanRef | str) -> Checker:
        if isinstance(reference, str):
            name, _, version = reference.partition("@")
        else:
            name, version = reference.name, reference.version
        return self._plans.named(name, version)

    def _named(self, payload: bytes, wire: Wire) -> bytes:
        """A page's properties with the call's name and category, so that they can be asked for."""
        try:
            fields = self._object(payload) if payload not in (b"", b"null") else {}
        except _BROKEN:
            return payload
        for key, value in (("name", wire.name), ("category", wire.category)):
            if value is not None and key not in fields:
                fields[key] = msgspec.Raw(self._encode_rows(value))
        return self._encode_rows(fields)

    def _check_limits(
        self, payload: bytes, context_bytes: int, kind: str, problems: list[Violation]
    ) -> None:
        limits = self._settings
        place = "/traits" if kind in ("identify", "group") else "/properties"
        size = len(payload) + context_bytes
        if size > limits.max_event_bytes:
            problems.append(_size("", limits.max_event_bytes, "bytes", size))
        # A property has a colon at least: with fewer of them nothing needs to be counted exactly.
        if payload.count(b":") > limits.max_properties:
            try:
                count = len(self._object(payload))
            except _BROKEN:
                count = 0
            if count > limits.max_properties:
                problems.append(_size(place, limits.max_properties, "properties", count))
        deep = scan(payload, max_depth=limits.max_depth)
        if deep is not None:
            problems.append(Violation(deep.code, place, deep.expected, deep.found))

    def _client_time(self, wire: Wire, received_ms: int, problems: list[Violation]) -> int:
        moment = wire.timestamp or wire.original_timestamp
        if moment is None:
            return received_ms
        found = to_ms(moment)
        if not _MIN_MS <= found <= _MAX_MS:
            problems.append(
                Violation("range", "/timestamp", "a year from 1900 to 2299", str(moment))
            )
            return received_ms
        return found

    def _skew_ms(self, sent_ms: int, received_ms: int) -> int:
        """How far a client's clock is behind; 0 where that may just be the network."""
        skew_ms = received_ms - sent_ms
        return skew_ms if abs(skew_ms) >= self._settings.clock_skew_min_s * 1000 else 0

    def _kept(
        self, raw: bytes, kind: str, message_id: str, verdict: Verdict | None, checker: Checker
    ) -> str:
        """The event as it came in, with what the plan calls personal already hashed or dropped."""
        part = "traits" if kind in ("identify", "group") else "properties"
        try:
            fields = self._object(raw)
            judged = () if verdict is None else (part, "context")
            fields = checker.personal.envelope(fields, kind, judged)
            if verdict is not None:
                fields[part] = msgspec.Raw(verdict.payload)
                fields["context"] = msgspec.Raw(verdict.context)
            fields["messageId"] = msgspec.Raw(self._encode_rows(message_id))
            if kind:
                fields["type"] = msgspec.Raw(self._encode_rows(kind))
            return self._encode_rows(fields).decode()
        except _BROKEN:
            # Not JSON: kept as text, so that somebody can look at it.
            return self._encode_rows(checker.personal.text(raw)).decode()


_EVENT_OF: Final[dict[str, str]] = {
    **dict.fromkeys(KINDS, ""),
    "page": PAGE_EVENT,
    "screen": SCREEN_EVENT,
}


def _id(value: str | int | None, pointer: str, problems: list[Violation]) -> str:
    if value is None or value == "":
        return ""
    found = value if isinstance(value, str) else str(value)
    if len(found) <= 36 and found.lower() in PLACEHOLDERS:
        problems.append(Violation("placeholder", pointer, "an id of one person", found))
    elif len(found) > MAX_ID_CHARS:
        problems.append(_size(pointer, MAX_ID_CHARS, "characters", len(found)))
        return found[:MAX_ID_CHARS]
    return found


def _kind_violation(found: str | None) -> Violation:
    if not found:
        return Violation("missing", "/type", " | ".join(KINDS))
    return Violation("enum", "/type", " | ".join(KINDS), found[:200])


def _size(pointer: str, limit: int, unit: str, found: int) -> Violation:
    return Violation("size", pointer, f"at most {limit} {unit}", str(found))


def _unsafe(problems: Sequence[Violation]) -> bool:
    """Whether decoding the event's inside is out of the question."""
    return any(problem.code in ("depth", "malformed") for problem in problems)

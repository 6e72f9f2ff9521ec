"""One call becomes one record: who, what, when and where as JSON, checked, or a reason why not.

All in the caller's thread, so every line here is paid by the app: constant parts are encoded
once, and the rarer features (super properties, consent, sampling, a hook) are looked at only
where they are used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import msgspec

from desirepath import _ids, _values
from desirepath._ledger import Ledger
from desirepath._sessions import Sessions
from desirepath._settings import Settings
from desirepath._version import VERSION
from desirepath.context import CURRENT, Scope
from desirepath.errors import ViolationError
from desirepath.event import PAGE_EVENT, SCREEN_EVENT, Kind, isoformat
from desirepath.privacy import Consent, check_rates, keeps

if TYPE_CHECKING:
    from desirepath.plan import Plan, Verdict, Violation

    _Check = Callable[..., Verdict]

__all__ = ["BeforeSend", "Recorder"]

BeforeSend = Callable[[dict[str, Any]], dict[str, Any] | None]
"""Sees each message before it is kept; returns it, changed or not, or None to discard it."""

_MAX_CACHED_NAMES: Final = 1_000
_WITH_TRAITS: Final = ("identify", "group")
_WITH_PROPERTIES: Final = ("track", "page", "screen")

_encode_text: Final = msgspec.json.Encoder().encode


def _number(text: str) -> float | Decimal:
    """A float where it says the same number, so that a hook can reckon with it."""
    value = float(text)
    exact = Decimal(text)
    return value if exact == Decimal(repr(value)) else exact


_decode: Final = msgspec.json.Decoder(dict[str, Any], float_hook=_number).decode


class Recorder:
    """Makes records from the tracker's calls.

    Parameters
    ----------
    settings, plan, ledger, consent
        Of the tracker.
    installation
        Gives the anonymous id for events that name nobody.
    before_send, sampling, pii_key, app_context
        As `Tracker` documents them.
    """

    def __init__(
        self,
        settings: Settings,
        plan: Plan | None,
        ledger: Ledger,
        consent: Consent,
        *,
        installation: Callable[[], str],
        before_send: BeforeSend | None,
        sampling: Mapping[str, float],
        pii_key: bytes | None,
        app_context: Mapping[str, Any],
    ) -> None:
        check_rates(sampling)
        self._ledger = ledger
        self._consent = consent
        self._installation = installation
        self._before_send = before_send
        self._sampling = dict(sampling)
        self._enabled = settings.enabled
        self._raises = settings.on_violation == "raise"
        self._max_event_bytes = settings.max_event_bytes
        self._check: _Check | None = None
        self._untold: dict[str, frozenset[str]] = {}
        if plan is not None:
            validator = _undropping(plan).compile(pii_key=pii_key)
            self._check = validator.check
            self._untold = {
                "page": _personal_fields(plan, PAGE_EVENT),
                "screen": _personal_fields(plan, SCREEN_EVENT),
            }
            if validator.needs_pii_key:
                ledger.say(
                    ("pii_key",),
                    "warning",
                    "personal values (`pii: hash` in the plan) are redacted to "
                    '"[pii]", because no pii_key (DESIREPATH_PII_KEY) is set: set it here '
                    "and in the collector to the same secret of at least 16 bytes",
                )
        self._sessions = (
            None if settings.session_timeout_s is None else Sessions(settings.session_timeout_s)
        )
        library = {"name": "desirepath-python", "version": VERSION}
        self._base_context: dict[str, Any] = {**app_context, "library": library}
        if plan is not None:
            self._base_context["plan"] = f"{plan.name}@{plan.version}"
        self._protect_traits(self._base_context)
        self._context_bytes = _values.encode(self._base_context, "/context")[0]
        self._prefixes: dict[tuple[str, str], bytes] = {}
        self._super: dict[str, Any] = {}
        self._guarded = False
        self.guard()

    def after_fork(self) -> None:
        """In a forked child: a thread of the parent may have held a lock."""
        self._consent.after_fork()
        if self._sessions is not None:
            self._sessions.after_fork()

    def guard(self) -> None:
        """Note whether any of the rarer features asks for a look at each event."""
        self._guarded = bool(
            self._consent.limited or self._sampling or self._super or not self._enabled
        )

    def register(self, properties: Mapping[str, Any]) -> None:
        """Add super properties."""
        self._super = {**self._super, **properties}
        self.guard()

    def unregister(self, names: tuple[str, ...]) -> None:
        """Take super properties away; all of them where none is named."""
        left = {key: value for key, value in self._super.items() if names and key not in names}
        self._super = left
        self.guard()

    def record(
        self,
        kind: Kind,
        event: str,
        payload: Mapping[str, Any] | None,
        user_id: str | None,
        anonymous_id: str | None,
        timestamp: datetime | str | None,
        context: Mapping[str, Any] | None,
        message_id: str | None,
        extra: tuple[tuple[str, str], ...] = (),
    ) -> bytes | None:
        """The record to keep, or None where there is nothing to keep.

        Raises
        ------
        ViolationError
            If the event breaks its plan and the app asked for it.
        """
        scope = CURRENT.get()
        violations: tuple[Violation, ...] = ()
        context_bytes = self._context_bytes
        traits = kind in _WITH_TRAITS
        if type(payload) is not dict and payload is not None and not isinstance(payload, Mapping):
            root = "/traits" if traits else "/properties"
            body, violations = _values.encode(payload, root)
            payload = _decode(body)
        if context is not None and not isinstance(context, Mapping):
            violations += (_odd("/context", "an object", context),)
            context = None
        if scope is not None:
            user_id = scope.user_id if user_id is None else user_id
            anonymous_id = scope.anonymous_id if anonymous_id is None else anonymous_id
        guarded = self._guarded or scope is not None
        # First of all: who said no gets no lasting id.
        if guarded and self._refuses(kind, event, scope):
            return None
        if user_id is None and anonymous_id is None:
            anonymous_id = self._installation()
        if guarded:
            if self._samples_out(kind, event, user_id, anonymous_id):
                return None
            if kind in _WITH_PROPERTIES:
                shared = scope.properties if scope is not None else {}
                payload = {**self._super, **shared, **(payload or {})}
        if context is not None or scope is not None or self._sessions is not None:
            merged = self._merged(scope, context, user_id, anonymous_id)
            self._protect_traits(merged)
            context_bytes, found = _values.encode(merged, "/context")
            violations += found
        body = b"{}"
        if payload:
            body, found = _values.encode(payload, "/traits" if traits else "/properties")
            violations += found
        if self._check is not None:
            verdict = self._check(kind, event, body, context_bytes)
            violations += verdict.violations
            body, context_bytes = verdict.payload, verdict.context
        new_id, moment = _ids.stamp()
        if timestamp is not None:
            moment, found = _moment(timestamp, moment)
            violations += found
        if violations:
            self._ledger.report(event or kind, violations)
            if self._raises:
                raise ViolationError(event or kind, violations)
        if message_id is not None:
            new_id = _text(message_id)[1:-1]
        who = b""
        if user_id is not None:
            plain = type(user_id) is str and user_id.isascii()
            who = b',"userId":' + (_encode_text(user_id) if plain else _text(user_id))
        if anonymous_id is not None:
            who += b',"anonymousId":' + _text(anonymous_id)
        untold = self._untold.get(kind, ())
        for key, value in extra:
            if key in untold:
                continue
            who += b',"%b":%b' % (key.encode(), _text(value))
        record: bytes | None = b'%b%b","timestamp":"%b"%b,"%b":%b,"context":%b}' % (
            self._prefixes.get((kind, event)) or self._prefix(kind, event),
            new_id,
            moment,
            who,
            b"traits" if traits else b"properties",
            body,
            context_bytes,
        )
        if self._before_send is not None and record is not None:
            record = self._hooked(_decode(record))
        if record is not None and len(record) > self._max_event_bytes:
            self._ledger.refuse("too_large", f"{event or kind!r} has {len(record):,} bytes")
            return None
        return record

    def _prefix(self, kind: Kind, event: str) -> bytes:
        if len(self._prefixes) >= _MAX_CACHED_NAMES:
            self._prefixes.clear()
        named = b',"event":' + _text(event) if kind == "track" else b""
        prefix = b'{"type":"%s"%s,"messageId":"' % (kind.encode(), named)
        self._prefixes[kind, event] = prefix
        return prefix

    def _merged(
        self,
        scope: Scope | None,
        context: Mapping[str, Any] | None,
        user_id: str | None,
        anonymous_id: str | None,
    ) -> dict[str, Any]:
        merged = dict(self._base_context)
        session_id = None
        if scope is not None:
            merged.update(scope.context)
            session_id = scope.session_id
        if context is not None:
            merged.update(context)
        if session_id is None and self._sessions is not None:
            session_id = self._sessions.of(str(user_id or anonymous_id))
        if session_id is not None:
            merged.setdefault("sessionId", session_id)
        return merged

    def _refuses(self, kind: Kind, event: str, scope: Scope | None) -> bool:
        if not self._enabled or self._consent.opted_out:
            self._ledger.discard("opt_out")
        elif self._consent.refuses(event or kind, scope.consent if scope is not None else None):
            self._ledger.discard("consent")
        else:
            return False
        return True

    def _samples_out(
        self, kind: Kind, event: str, user_id: str | None, anonymous_id: str | None
    ) -> bool:
        rate = self._sampling.get(event or kind, 1.0)
        person = str(anonymous_id if user_id is None else user_id)
        if kind not in _WITH_PROPERTIES or keeps(person, rate):
            return False
        self._ledger.discard("sampling")
        return True

    def _hooked(self, message: dict[str, Any]) -> bytes | None:
        try:
            changed = self._before_send(message) if self._before_send is not None else message
            if changed is not None and not isinstance(changed, Mapping):
                raise TypeError(f"it returned a {type(changed).__name__}, not a dict")
            if changed is not None and self._check is not None:
                # It may have put personal values in again.
                changed = self._protected(self._check, changed)
        except Exception as error:
            # What the hook was to take out must not leave because the hook is broken.
            self._ledger.refuse("error", f"before_send failed: {error!r}")
            return None
        if changed is None:
            self._ledger.discard("before_send")
            return None
        return _values.encode(changed, "")[0]

    def _protected(self, check: _Check, message: dict[str, Any]) -> dict[str, Any]:
        """A message with its personal values treated."""
        kind = message["type"]
        root = "traits" if kind in _WITH_TRAITS else "properties"
        context = dict(message.get("context") or {})
        self._protect_traits(context)
        verdict = check(
            kind,
            message.get("event") or "",
            _values.encode(message.get(root) or {}, "")[0],
            _values.encode(context, "")[0],
        )
        return {**message, root: _exact(verdict.payload), "context": _exact(verdict.context)}

    def _protect_traits(self, context: dict[str, Any]) -> None:
        """Treat the traits that some clients put into the context as those of an identify."""
        if self._check is None or context.get("traits") is None:
            return
        body = _values.encode(context["traits"], "")[0]
        if body.startswith(b"{"):
            context["traits"] = _exact(self._check("identify", "", body).payload)
        else:
            context["traits"] = "[pii]"


def _exact(raw: bytes) -> Any:
    """JSON as it is, whatever its numbers."""
    from desirepath.plan.wire import decode

    return decode(raw).value


def _undropping(plan: Plan) -> Plan:
    """The plan with policies that take nothing out: what breaks it is for the collector to see.

    What is found does not depend on the policies, and what is personal is treated all the same.
    """
    replace = msgspec.structs.replace
    accepting: dict[str, Any] = {"on_violation": "accept", "unplanned_properties": "accept"}
    return replace(
        plan,
        defaults=replace(plan.defaults, unplanned_events="accept", **accepting),
        events={name: replace(event, **accepting) for name, event in plan.events.items()},
    )


def _personal_fields(plan: Plan, event: str) -> frozenset[str]:
    """Which of `name` and `category` the plan of a page calls personal."""
    planned = plan.events[event].properties if event in plan.events else {}
    found = {name: planned[name].pii for name in ("name", "category") if name in planned}
    return frozenset(name for name, pii in found.items() if pii in ("hash", "drop"))


def _text(value: object) -> bytes:
    """A JSON string of an id or a name, whatever was given as one."""
    text = value if type(value) is str else str(value)
    try:
        return _encode_text(text)
    except UnicodeEncodeError:
        return _encode_text(text.encode("utf-8", "replace").decode())


def _odd(pointer: str, expected: str, found: object) -> Violation:
    from desirepath.plan import Violation

    return Violation("type", pointer, expected, type(found).__name__)


def _moment(timestamp: object, now: bytes) -> tuple[bytes, tuple[Violation, ...]]:
    if isinstance(timestamp, str):
        return _text(timestamp)[1:-1], ()
    if not isinstance(timestamp, datetime) or timestamp != timestamp:  # pandas' NaT is a datetime
        return now, (_odd("/timestamp", "a time with its zone", timestamp),)
    if timestamp.tzinfo is None:
        from desirepath.plan import Violation

        found = Violation("format", "/timestamp", "a time with its zone", "none")
        return isoformat(timestamp.replace(tzinfo=UTC)).encode(), (found,)
    return isoformat(timestamp).encode(), ()

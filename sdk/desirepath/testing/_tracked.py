"""What a test has tracked: events to assert on, and what was wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

import msgspec

from desirepath import _values
from desirepath.event import PAGE_EVENT, SCREEN_EVENT, Kind
from desirepath.plan import Violation

if TYPE_CHECKING:
    from desirepath.plan import Plan, Validator

__all__ = ["Tracked", "TrackedEvent"]

_MAX_LISTED: Final = 20
_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode
_encode: Final = msgspec.json.Encoder().encode
_SEEN: Final = {"page": PAGE_EVENT, "screen": SCREEN_EVENT}


class TrackedEvent(msgspec.Struct, frozen=True):
    """One event as it would have been sent.

    Parameters
    ----------
    kind
        `track`, `identify`, `page`, `screen`, `group` or `alias`.
    name
        The event's name; `Page Viewed` of a page, `Screen Viewed` of a screen, else the kind.
    properties, traits, context
        As JSON has them: a datetime is a string.
    user_id, anonymous_id, session_id
        None where the event has none.
    violations
        In which ways it breaks its plan.
    message
        All of it, as in Segment's specification.
    """

    kind: Kind
    name: str
    properties: dict[str, Any]
    traits: dict[str, Any]
    context: dict[str, Any]
    user_id: str | None
    anonymous_id: str | None
    session_id: str | None
    violations: tuple[Violation, ...]
    message: dict[str, Any]

    def __str__(self) -> str:
        who = f"user {self.user_id}" if self.user_id is not None else "nobody known"
        return f"{self.name} {self.traits or self.properties} by {who}"


class _Expected(msgspec.Struct):
    """Violations that a test wants."""

    event: str | None
    code: str | None
    pointer: str | None
    met: bool = False

    def covers(self, event: str, violation: Violation) -> bool:
        return (
            self.event in (None, event)
            and self.code in (None, violation.code)
            and self.pointer in (None, violation.pointer)
        )

    def __str__(self) -> str:
        parts = (("event", self.event), ("code", self.code), ("pointer", self.pointer))
        return ", ".join(f"{name}={value!r}" for name, value in parts if value) or "any"


class Tracked:
    """The events of a test, in their order; the fixture `tracked`.

    Parameters
    ----------
    plan
        Checks the events of trackers that have no plan of their own.
    """

    captures = True

    def __init__(self, plan: Plan | None = None) -> None:
        self._validator: Validator | None = None if plan is None else plan.compile()
        self._events: list[TrackedEvent] = []
        self._expected: list[_Expected] = []
        self._losses: list[tuple[str, str]] = []
        self._expected_losses: set[str] = set()

    # -- what there is ---------------------------------------------------------------------------

    @property
    def names(self) -> list[str]:
        """The names of all events, in their order."""
        return [event.name for event in self._events]

    def events(
        self,
        name: str | type | None = None,
        properties: Mapping[str, Any] | None = None,
        *,
        user_id: str | None = None,
        anonymous_id: str | None = None,
    ) -> list[TrackedEvent]:
        """The events that fit, in their order.

        Parameters
        ----------
        name
            The event's name, or its class from `plan codegen`; also `identify`, `group`, `alias`.
        properties
            Properties (traits, for identify and group) that it has, among others. Values compare
            as they are sent: a datetime equals its text, and `pytest.approx` works.
        user_id, anonymous_id
            Whose.
        """
        wanted = _name(name)
        return [
            event
            for event in self._events
            if wanted in (None, event.name)
            and user_id in (None, event.user_id)
            and anonymous_id in (None, event.anonymous_id)
            and not _differences(event, properties)
        ]

    def only(
        self,
        name: str | type,
        properties: Mapping[str, Any] | None = None,
        *,
        user_id: str | None = None,
        anonymous_id: str | None = None,
    ) -> TrackedEvent:
        """The one event of that name, which is as given.

        Raises
        ------
        AssertionError
            If there is none, or several, or it is otherwise.
        """
        __tracebackhide__ = True
        named = self.events(name)
        if len(named) > 1:
            # Several of that name are fine where what is given tells one from the others.
            named = self.events(name, properties, user_id=user_id, anonymous_id=anonymous_id)
        wanted = _name(name)
        if not named:
            raise AssertionError(self._absent(str(wanted)))
        if len(named) > 1:
            raise AssertionError(
                f"{wanted!r} was tracked {len(named)} times, not once:\n{_listed(named)}"
            )
        (event,) = named
        wrong = _differences(event, properties)
        for what, expected, found in (
            ("user_id", user_id, event.user_id),
            ("anonymous_id", anonymous_id, event.anonymous_id),
        ):
            if expected not in (None, found):
                wrong.append(f"{what}: expected {expected!r}, found {found!r}")
        if wrong:
            lines = "\n".join(f"  {line}" for line in wrong)
            raise AssertionError(f"{wanted!r} was tracked otherwise:\n{lines}\nit is: {event}")
        return event

    def none(
        self,
        name: str | type | None = None,
        properties: Mapping[str, Any] | None = None,
        *,
        user_id: str | None = None,
        anonymous_id: str | None = None,
    ) -> None:
        """No event fits.

        Raises
        ------
        AssertionError
            If one does.
        """
        __tracebackhide__ = True
        found = self.events(name, properties, user_id=user_id, anonymous_id=anonymous_id)
        if found:
            raise AssertionError(f"tracked, but should not have been:\n{_listed(found)}")

    def clear(self) -> None:
        """Forget the events so far; what was wrong with them is told first.

        Raises
        ------
        AssertionError
            If an event broke its plan, or was lost, and was not expected to.
        """
        __tracebackhide__ = True
        problem = self.problem()
        self._events.clear()
        self._losses.clear()
        self._expected.clear()
        self._expected_losses.clear()
        if problem is not None:
            raise AssertionError(problem)

    # -- what is wrong with it -------------------------------------------------------------------

    @property
    def violations(self) -> list[tuple[str, Violation]]:
        """The violations of all events, each with its event's name."""
        return [(event.name, each) for event in self._events for each in event.violations]

    def expect_violation(
        self, event: str | type | None = None, code: str | None = None, pointer: str | None = None
    ) -> None:
        """Let the test pass with these violations, and fail without any of them.

        Parameters
        ----------
        event, code, pointer
            The event's name, and of the violation e.g. `missing` and `/properties/total`; what is
            left out may be any.
        """
        self._expected.append(_Expected(_name(event), code, pointer))

    def expect_loss(self, reason: str) -> None:
        """Let the test pass though events are lost: `error`, `too_large`, `closed`, ..."""
        self._expected_losses.add(reason)

    def problem(self) -> str | None:
        """What fails the test at its end, in words."""
        lines = []
        for name, violation in self.violations:
            covering = [each for each in self._expected if each.covers(name, violation)]
            for each in covering:
                each.met = True
            if not covering:
                lines.append(f"{name!r} breaks its plan: {violation}")
        lines += [
            f"a violation was expected and not found: {each}"
            for each in self._expected
            if not each.met
        ]
        lines += [
            f"an event was lost ({reason}): {why}"
            for reason, why in self._losses
            if reason not in self._expected_losses
        ]
        return "\n".join(lines) or None

    # -- the listener ----------------------------------------------------------------------------

    def saw(self, record: bytes, plan: Plan | None, violations: tuple[Violation, ...]) -> None:
        """Take a finished record."""
        message = _decode(record)
        kind: Kind = message["type"]
        if plan is None and self._validator is not None:
            violations += _check(self._validator, kind, message)
        context = message.get("context", {})
        self._events.append(
            TrackedEvent(
                kind=kind,
                name=message.get("event") or _SEEN.get(kind, kind),
                properties=message.get("properties", {}),
                traits=message.get("traits", {}),
                context=context,
                user_id=message.get("userId"),
                anonymous_id=message.get("anonymousId"),
                session_id=context.get("sessionId"),
                violations=violations,
                message=message,
            )
        )

    def lost(self, reason: str, why: str) -> None:
        """Note a loss."""
        self._losses.append((reason, why))

    def __repr__(self) -> str:
        return f"<Tracked: {len(self._events)} events\n{_listed(self._events)}>"

    # -- private ---------------------------------------------------------------------------------

    def _absent(self, name: str) -> str:
        if not self._events:
            return f"{name!r} was not tracked, nor was anything else"
        close = get_close_matches(name, set(self.names), n=1)
        hint = f"; did you mean {close[0]!r}?" if close else "."
        return f"{name!r} was not tracked{hint} There is:\n{_listed(self._events)}"


def _name(name: str | type | None) -> str | None:
    if name is None or isinstance(name, str):
        return name
    found: str = getattr(name, "__event__", name.__name__)
    return found


def _check(validator: Validator, kind: Kind, message: dict[str, Any]) -> tuple[Violation, ...]:
    payload = message.get("traits" if kind in ("identify", "group") else "properties", {})
    context = _encode(message.get("context", {}))
    name = message.get("event", "")
    return validator.check(kind, name, _encode(payload), context=context).violations


def _differences(event: TrackedEvent, properties: Mapping[str, Any] | None) -> list[str]:
    """In which ways an event's properties are not the given ones."""
    have = event.traits if event.kind in ("identify", "group") else event.properties
    wrong = []
    for key, expected in (properties or {}).items():
        if key not in have:
            close = get_close_matches(key, have, n=1)
            hint = f" (there is {close[0]!r})" if close else ""
            wrong.append(f"{key}: expected {expected!r}, but it has none{hint}")
        elif not _same(expected, have[key]):
            wrong.append(f"{key}: expected {expected!r}, found {have[key]!r}")
    return wrong


def _same(expected: Any, found: Any) -> bool:
    if expected == found:
        return True
    encoded, violations = _values.encode({"value": expected}, "")
    return not violations and bool(_decode(encoded)["value"] == found)


def _listed(events: list[TrackedEvent]) -> str:
    lines = [f"  {number}. {event}" for number, event in enumerate(events[:_MAX_LISTED], 1)]
    if len(events) > _MAX_LISTED:
        lines.append(f"  ... and {len(events) - _MAX_LISTED} more")
    return "\n".join(lines)

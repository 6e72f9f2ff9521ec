"""A plan made executable: bytes in, a verdict with every violation out.

Never raises for any bytes. What is not understood is quarantined (it fails closed), numbers keep
their exact value, and personal values are hashed or gone in everything that comes out.
"""

from __future__ import annotations

from functools import partial
from typing import Final, Literal

import msgspec

from desirepath.event import PAGE_EVENT, SCREEN_EVENT, Kind
from desirepath.plan import pii
from desirepath.plan.fastpath import FAILURES
from desirepath.plan.model import Plan
from desirepath.plan.rule import Rule
from desirepath.plan.unplanned import CONTEXT_FIELDS, PAGE_FIELDS, Unplanned, fold
from desirepath.plan.violations import Violation
from desirepath.plan.wire import decode, encode, show

__all__ = ["Validator", "Verdict"]

MAX_CONTEXTS: Final = 1024
"""How many distinct contexts are remembered: one app or server sends the same again and again."""

MAX_CONTEXT_BYTES: Final = 2048

_NOT_USUAL: Final = (KeyError, *FAILURES)


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """What becomes of one event.

    Parameters
    ----------
    decision
        `accept` (also with violations, where the plan's policy says so) or `quarantine`.
    violations
        Every violation, in the order of the plan.
    payload, context
        Compact JSON: duplicates and white space gone, exact numbers, pii applied, dropped
        properties gone. Of a payload that cannot be kept as it came (not JSON, duplicate keys,
        NaN, lone surrogates, too deep), what is readable, marked with the key `$unfit`.
    """

    decision: Literal["accept", "quarantine"]
    violations: tuple[Violation, ...]
    payload: bytes
    context: bytes


class Validator:
    """Checks events against one plan; safe to share between threads."""

    __slots__ = (
        "_context",
        "_contexts",
        "_events",
        "_is_personal",
        "_kinds",
        "_pii_key",
        "_spellings",
        "_unplanned",
        "plan",
    )

    def __init__(self, plan: Plan, *, pii_key: bytes | None = None) -> None:
        pii.check_key(pii_key)
        self.plan = plan
        self._pii_key = pii_key
        defaults = plan.defaults
        names = Unplanned.names_of(plan)
        personal, on_pages = Unplanned(names), Unplanned(names, PAGE_FIELDS)
        make = partial(Rule, key=pii_key, personal=personal)
        by_default = partial(
            make, on_violation=defaults.on_violation, unplanned=defaults.unplanned_properties
        )
        open_rule = partial(make, properties={}, on_violation="accept", quiet=True)
        self._events = {
            name: make(
                "/properties",
                properties=event.properties,
                on_violation=event.on_violation,
                unplanned=event.unplanned_properties,
                personal=on_pages if name in (PAGE_EVENT, SCREEN_EVENT) else personal,
            )
            for name, event in plan.events.items()
        }
        page = open_rule("/properties", unplanned="accept", personal=on_pages)
        self._kinds = {
            "identify": by_default("/traits", properties=plan.traits),
            "group": by_default("/traits", properties=plan.groups),
            "page": self._events.get(PAGE_EVENT, page),
            "screen": self._events.get(SCREEN_EVENT, page),
            "alias": open_rule("/properties", unplanned="accept"),
        }
        self._unplanned = open_rule("/properties", unplanned=defaults.unplanned_events)
        self._context = by_default(
            "/context",
            properties=plan.context,
            unplanned="accept",
            quiet=True,
            personal=Unplanned(names, CONTEXT_FIELDS),
        )
        self._is_personal = bool(names) or self._context.is_personal
        self._contexts: dict[bytes, bytes] = {}
        self._spellings = {fold(name): name for name in plan.events}

    @property
    def needs_pii_key(self) -> bool:
        """The plan has `pii: hash` and there is no key: these values become `"[pii]"`."""
        rules = [*self._events.values(), *self._kinds.values(), self._context]
        return self._pii_key is None and any(rule.has_hashes for rule in rules)

    def check(self, kind: Kind, event: str, payload: bytes, context: bytes = b"{}") -> Verdict:
        """The verdict on one event.

        Parameters
        ----------
        kind
            The call it came by.
        event
            The event's name; empty for the calls that have none.
        payload
            The JSON object of its properties (track, page, screen, alias) or traits (identify,
            group).
        context
            The JSON object of its context.
        """
        # Written for what is usual, a planned event that is valid: no call that is not needed.
        kept_context = self._contexts.get(context)
        if kept_context is not None:
            try:
                rule = self._events[event] if kind == "track" else self._kinds[kind]
                run = rule.run
                kept = run(payload)
                if kept is not None:
                    return Verdict("accept", (), kept, kept_context)
            except _NOT_USUAL:
                pass
        known = self._events.get(event) if kind == "track" else self._kinds[kind]
        return self._judge(known, event, payload, context)

    def _judge(self, rule: Rule | None, event: str, payload: bytes, context: bytes) -> Verdict:
        out: list[Violation] = []
        rejected = False
        if rule is None:
            rule = self._unplanned
            rejected = self.plan.defaults.unplanned_events == "reject"
            known = self._spellings.get(fold(event))
            expected = f"a planned event, such as {known!r}" if known else "a planned event"
            out.append(Violation("unplanned_event", "/event", expected, show(event)))
        kept = rule.accept(payload)
        if kept is None:
            kept, bad = rule.judge(payload, out)
            rejected |= bad
        kept_context = self._contexts.get(context)
        if kept_context is None:
            before = len(out)
            kept_context = self._context.accept(context)
            if kept_context is None:
                kept_context, bad = self._context.judge(context, out)
                rejected |= bad
            # Of a context with something personal in it nothing stays in memory.
            if (
                len(out) == before
                and len(context) <= MAX_CONTEXT_BYTES
                and (
                    kept_context == context
                    or not self._is_personal
                    or kept_context == encode(decode(context).value)
                )
            ):
                if len(self._contexts) >= MAX_CONTEXTS:
                    self._contexts.clear()
                self._contexts[context] = kept_context
        return Verdict("quarantine" if rejected else "accept", tuple(out), kept, kept_context)

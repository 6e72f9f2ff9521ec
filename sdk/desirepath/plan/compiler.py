"""A plan made executable: bytes in, a verdict with every violation out.

Never raises for any bytes. What is not understood is quarantined (it fails closed), numbers keep
their exact value, and personal values are hashed or gone in everything that comes out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from desirepath.event import PAGE_EVENT, SCREEN_EVENT, Kind
from desirepath.plan import pii
from desirepath.plan.model import Plan, Policy, Property
from desirepath.plan.violations import Violation
from desirepath.plan.walker import Check, compile_schema
from desirepath.plan.wire import Reading, decode, encode, escape, show

__all__ = ["UNFIT", "Validator", "Verdict"]

UNFIT: Final = "$unfit"
"""The key that marks a payload that could not be kept as it came; it never passes a check."""


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


class _Rule(msgspec.Struct):
    """How one kind of payload is checked."""

    root: str
    properties: dict[str, tuple[Check | None, Property, pii.Treatment | None]]
    on_violation: Policy
    unplanned: Policy


class Validator:
    """Checks events against one plan; immutable in effect, safe to share between threads."""

    def __init__(self, plan: Plan, *, pii_key: bytes | None = None) -> None:
        pii.check_key(pii_key)
        self.plan = plan
        self._key = pii_key
        defaults = plan.defaults
        self._events = {
            name: _rule(
                "/properties", event.properties, event.on_violation, event.unplanned_properties
            )
            for name, event in plan.events.items()
        }
        self._kinds: dict[str, _Rule] = {
            "identify": _rule(
                "/traits", plan.traits, defaults.on_violation, defaults.unplanned_properties
            ),
            "group": _rule(
                "/traits", plan.groups, defaults.on_violation, defaults.unplanned_properties
            ),
        }
        for kind, name in (("page", PAGE_EVENT), ("screen", SCREEN_EVENT)):
            self._kinds[kind] = self._events.get(name) or _rule(
                "/properties", {}, "accept", "accept"
            )
        self._kinds["alias"] = _rule("/properties", {}, "accept", "accept")
        self._unplanned_event = _rule("/properties", {}, "accept", defaults.unplanned_events)
        self._context = _rule("/context", plan.context, defaults.on_violation, "accept")

    def check(self, kind: Kind, event: str, payload: bytes, context: bytes = b"{}") -> Verdict:
        """The verdict on one event.

        Parameters
        ----------
        kind
            The call it came by.
        event
            The event's name; empty for the calls that have none.
        payload
            The JSON object of its properties (track, page, screen) or traits (identify, group).
        context
            The JSON object of its context.
        """
        out: list[Violation] = []
        rule = self._events.get(event) if kind == "track" else self._kinds[kind]
        rejected = False
        if rule is None:
            rule = self._unplanned_event
            out.append(Violation("unplanned_event", "/event", "a planned event", show(event)))
            rejected = rule.unplanned == "reject"
        known = len(out)
        payload, bad = self._part(rule, payload, out)
        if known and len(out) > known:
            # Only the event itself is unplanned, not each of its properties.
            out[known:] = [one for one in out[known:] if one.code != "unplanned_property"]
        context, bad_context = self._part(self._context, context, out)
        rejected = rejected or bad or bad_context
        return Verdict("quarantine" if rejected else "accept", tuple(out), payload, context)

    def _part(self, rule: _Rule, raw: bytes, out: list[Violation]) -> tuple[bytes, bool]:
        reading: Reading = decode(raw)
        value = reading.value
        if type(value) is not dict:
            out.append(Violation("type", rule.root, "object", show(value)))
            return encode({UNFIT: "type"}), True
        out.extend(
            Violation(one.code, rule.root + one.pointer, one.expected, one.found)
            for one in reading.violations
        )
        rejected = bool(reading.violations) or UNFIT in value
        dropped: list[str] = []
        for name, (check, prop, treatment) in rule.properties.items():
            where = f"{rule.root}/{escape(name)}"
            before = len(out)
            if name not in value:
                if prop.required:
                    out.append(Violation("missing", where, "a value"))
            elif check is not None and not (prop.pii == "hash" and pii.is_protected(value[name])):
                check(value[name], where, out)
                if treatment is not None:
                    out[before:] = [
                        Violation(one.code, one.pointer, one.expected, one.found and pii.REDACTED)
                        for one in out[before:]
                    ]
                if len(out) > before and rule.on_violation == "drop":
                    dropped.append(name)
            if len(out) > before and rule.on_violation == "reject":
                rejected = True
        if rule.unplanned != "accept" or rule.root != "/context":
            for name in value.keys() - rule.properties.keys():
                if rule.root == "/context" or rule.on_violation == "accept" == rule.unplanned:
                    continue
                where = f"{rule.root}/{escape(name)}"
                out.append(Violation("unplanned_property", where, "", show(value[name])))
                if rule.unplanned == "reject":
                    rejected = True
                elif rule.unplanned == "drop":
                    dropped.append(name)
        for name, (_, _, treatment) in rule.properties.items():
            if treatment is not None and name in value:
                treatment.apply(value, name, self._key)
        if not rejected:
            for name in dropped:
                value.pop(name, None)
        elif reading.violations:
            value = {UNFIT: reading.violations[0].code, **value}
        return encode(value), rejected


def _rule(
    root: str, properties: Mapping[str, Property], on_violation: Policy, unplanned: Policy
) -> _Rule:
    table: dict[str, Any] = {
        name: (
            compile_schema(prop.schema) if prop.schema else None,
            prop,
            pii.Treatment.of(prop.schema, prop.pii),
        )
        for name, prop in properties.items()
    }
    return _Rule(root, table, on_violation, unplanned)

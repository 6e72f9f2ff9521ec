"""How one kind of payload is judged: the properties of an event, the traits, or the context.

The fast path sees every payload first; what it does not accept is read exactly and walked here,
which finds every violation, applies the policies and treats what is personal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET

from desirepath.plan import pii
from desirepath.plan.fastpath import FastPath
from desirepath.plan.model import Policy, Property
from desirepath.plan.unplanned import Unplanned, fold
from desirepath.plan.violations import MAX_VIOLATIONS, Violation
from desirepath.plan.walker import Check, compile_schema
from desirepath.plan.wire import decode, encode, escape, show

__all__ = ["UNFIT", "Rule"]

UNFIT: Final = "$unfit"
"""The key that marks a payload that could not be kept as it came; it never passes a check."""


class _Planned(msgspec.Struct, frozen=True):
    """One planned property: its check, what is personal in it, its JSON pointer."""

    check: Check
    treatment: pii.Treatment | None
    pointer: str
    required: bool
    hashed: bool


class Rule(FastPath):
    """Judges payloads of one kind: what the fast path does not accept, it decides.

    Parameters
    ----------
    root
        The JSON pointer of the payload in its event.
    quiet
        Unplanned properties are no violation of their own: of the context, of an event that is
        unplanned itself, of calls that a plan says nothing about.
    personal
        What is personal by its name where it is unplanned.
    """

    __slots__ = (
        "_is_quiet",
        "_names",
        "_on_violation",
        "_personal",
        "_planned",
        "_root",
        "_unplanned",
        "has_hashes",
        "is_personal",
    )

    def __init__(
        self,
        root: str,
        properties: Mapping[str, Property],
        *,
        on_violation: Policy,
        unplanned: Policy,
        personal: Unplanned,
        key: bytes | None,
        quiet: bool = False,
    ) -> None:
        treatments = {
            name: pii.Treatment.of(prop.schema, prop.pii) for name, prop in properties.items()
        }
        treated = [name for name, treatment in treatments.items() if treatment is not None]
        is_open = quiet and unplanned != "drop"
        others = frozenset((UNFIT, *treated)).isdisjoint

        def as_it_is(value: Mapping[str, Any]) -> bool:
            return others(value) and not personal.has(value)

        super().__init__(properties, key, as_it_is if is_open else None)
        self._root = root
        self._on_violation = on_violation
        self._unplanned = unplanned
        self._is_quiet = quiet
        self._personal = personal
        self.is_personal = bool(treated)
        """Whether anything that is planned here is personal."""
        self.has_hashes = any(one is not None and one.has_hashes for one in treatments.values())
        """Whether anything that is planned here is to be hashed."""
        self._planned: dict[str, _Planned] | None = None
        self._names = {fold(name): name for name in properties}

    def judge(self, raw: bytes, out: list[Violation]) -> tuple[bytes, bool]:
        """What to keep of a payload, and whether it is rejected; appends every violation."""
        reading = decode(raw)
        value = reading.value
        unfit = [self._mark(one) for one in reading.violations]
        if type(value) is not dict:
            if not unfit:
                unfit.append(Violation("type", self._root, "object", self._show(value)))
            out.extend(unfit)
            return encode({UNFIT: unfit[0].code}), True
        if UNFIT in value:
            where = f"{self._root}/{UNFIT}"
            found = self._show(value[UNFIT])
            unfit.append(Violation("unfit", where, "an event as it was sent", found))
        out.extend(unfit)
        wrong: list[str] = []
        rejected = self._check_planned(value, out, wrong)
        dropped = [*wrong] if self._on_violation == "drop" else []
        rejected |= self._check_unplanned(value, out, dropped)
        if len(out) > MAX_VIOLATIONS:
            out[MAX_VIOLATIONS:] = [Violation("more", self._root, f"{MAX_VIOLATIONS:,} at most")]
        if self.is_personal or self._personal:
            self._treat(value, frozenset(wrong))
        if unfit:
            return encode({UNFIT: unfit[0].code, **value}), True
        if not rejected:
            for name in dropped:
                value.pop(name, None)
        return encode(value), rejected

    def _check_planned(self, value: dict[str, Any], out: list[Violation], wrong: list[str]) -> bool:
        before = len(out)
        for name, planned in self._plan().items():
            found = len(out)
            if name not in value:
                if planned.required:
                    out.append(Violation("missing", planned.pointer, "a value"))
                continue
            item = value[name]
            if planned.hashed and pii.is_protected(item):
                continue
            planned.check(item, planned.pointer, out)
            if len(out) > found:
                wrong.append(name)
                if planned.treatment is not None or self._personal.is_inside(item):
                    out[found:] = map(_masked, out[found:])
        return len(out) > before and self._on_violation == "reject"

    def _check_unplanned(
        self, value: dict[str, Any], out: list[Violation], dropped: list[str]
    ) -> bool:
        if self._is_quiet and self._unplanned != "drop":
            return False
        unplanned = [name for name in value if name not in self._properties and name != UNFIT]
        if self._unplanned == "drop":
            dropped.extend(unplanned)
        if self._is_quiet:
            return False
        for name in unplanned[: MAX_VIOLATIONS + 1]:
            known = self._names.get(fold(name))
            expected = f"a planned property, such as {known!r}" if known else "a planned property"
            is_personal = self._personal.is_in(name, value[name])
            found = pii.REDACTED if is_personal else show(value[name])
            where = f"{self._root}/{escape(name)}"
            out.append(Violation("unplanned_property", where, expected, found))
        return bool(unplanned) and self._unplanned == "reject"

    def _treat(self, value: dict[str, Any], wrong: frozenset[str]) -> None:
        plan = self._plan()
        for name in [*value]:
            planned = plan.get(name)
            if planned is None:
                kept = self._personal.treat(name, value[name], self._key)
            elif planned.treatment is None:
                kept = value[name]
            else:
                kept = planned.treatment.apply(value[name], self._key)
            if kept is UNSET:
                del value[name]
                continue
            value[name] = kept
            if name in wrong:  # not what was planned, so the plan's own names do not tell it all
                self._personal.treat_inside(kept, self._key)

    def _plan(self) -> Mapping[str, _Planned]:
        # Made when the first event fails: most events of most plans never do.
        if self._planned is None:
            self._planned = {
                name: _Planned(
                    check=compile_schema(prop.schema),
                    treatment=pii.Treatment.of(prop.schema, prop.pii),
                    pointer=f"{self._root}/{escape(name)}",
                    required=prop.required,
                    hashed=prop.pii == "hash",
                )
                for name, prop in self._properties.items()
            }
        return self._planned

    def _mark(self, one: Violation) -> Violation:
        # Where the number stood is not known, so it may have been personal.
        is_hidden = one.code == "number" and (self.is_personal or self._personal)
        found = pii.REDACTED if is_hidden else one.found
        return Violation(one.code, self._root + one.pointer, one.expected, found)

    def _show(self, value: Any) -> str:
        return pii.REDACTED if self.is_personal or self._personal else show(value)


def _masked(one: Violation) -> Violation:
    return Violation(one.code, one.pointer, one.expected, one.found and pii.REDACTED)

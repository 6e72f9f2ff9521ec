"""Every change between two plans, with what it does to producers and takes from readers.

`desirepath.plan.diff` tells what the levels mean. What readers lose is gathered under what they
name: an event, or a property, trait or context value, so that each section can be asked for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Final, Literal

import msgspec

from desirepath.event import PAGE_EVENT, SCREEN_EVENT
from desirepath.plan.compare import Delta, Effect, compare
from desirepath.plan.flat import flat
from desirepath.plan.model import Event, Plan, Policy, Property, Section
from desirepath.plan.uses import CONSUMERS

__all__ = ["LEVELS", "Change", "Level", "Loss", "Losses", "changes"]

Level = Literal["breaking", "risky", "compatible", "note"]

LEVELS: Final[tuple[Level, ...]] = ("breaking", "risky", "compatible", "note")
"""From worst to harmless."""

_STRICTNESS: Final[Mapping[Policy, int]] = {"accept": 0, "drop": 1, "reject": 2}
_PROSE: Final = frozenset({"description", "title", "owner", "goal", "unit", "label"})
_DESCRIBING: Final = ("title", "examples", "default", "$comment", "deprecated")
_OPEN_EVENTS: Final = (PAGE_EVENT, SCREEN_EVENT)
"""Pages and screens come in freely as long as no plan plans them."""
_UNREAD: Final = "who reads it may find something else there"
_VIEW: Final = "the view keeps both columns"


class Change(msgspec.Struct, frozen=True):
    """One change.

    Parameters
    ----------
    subject
        What changed, in words: `event 'Order Completed'`, `Order Completed.total`.
    pointer
        Where in the plan: a JSON pointer.
    text, why
        What changed, and what that does to producers or readers (empty: nothing).
    """

    level: Level
    subject: str
    pointer: str
    text: str
    why: str = ""


class Loss(msgspec.Struct, frozen=True):
    """Something readers lose; `certain`: it is gone, not merely less or doubtful."""

    text: str
    certain: bool


Losses = Mapping[tuple[str, str, str], list[Loss]]
"""By kind (`event`, `property`, `trait`, `context`), event and name."""


def changes(old: Plan, new: Plan) -> tuple[list[Change], Losses]:
    """Every change, worst first, and what readers lose by them."""
    comparison = _Comparison(old, new)
    comparison.run()
    found = sorted(comparison.changes, key=lambda change: LEVELS.index(change.level))
    return found, comparison.losses


class _Comparison:
    """Collects changes, and what each of them takes from readers."""

    def __init__(self, old: Plan, new: Plan) -> None:
        self.old = old
        self.new = new
        self.changes: list[Change] = []
        self.losses: dict[tuple[str, str, str], list[Loss]] = {}

    def run(self) -> None:
        self._head()
        for name in _both(self.old.events, self.new.events):
            self._event(name)
        defaults = (self.old.defaults, self.new.defaults)
        for kind, section, open_ in (
            ("trait", "traits", False),
            ("group", "groups", False),
            ("context", "context", True),
        ):
            self._properties(
                _Holder(
                    kind=kind,
                    event="",
                    pointer=f"/{section}",
                    on_violation=defaults[1].on_violation,
                    unplanned_before="accept" if open_ else defaults[0].unplanned_properties,
                    unplanned_after="accept" if open_ else defaults[1].unplanned_properties,
                ),
                getattr(self.old, section),
                getattr(self.new, section),
            )
        for kind in CONSUMERS:
            self._sections(kind)

    def _add(self, level: Level, subject: str, pointer: str, text: str, why: str = "") -> None:
        self.changes.append(Change(level, subject, pointer, text, why))

    def _lose(self, kind: str, event: str, name: str, loss: Loss) -> None:
        self.losses.setdefault((kind, event, name), []).append(loss)

    def _head(self) -> None:
        old, new = self.old, self.new
        if old.name != new.name:
            text = f"{old.name} -> {new.name}"
            self._add("risky", "the plan's name", "/plan", text, "events name the plan they follow")
        for key in ("description", "owner"):
            if getattr(old, key) != getattr(new, key):
                self._add("note", f"the plan's {key}", f"/{key}", "changed")
        for key in ("on_violation", "unplanned_events", "unplanned_properties"):
            before, after = getattr(old.defaults, key), getattr(new.defaults, key)
            if before != after:
                self._policy(f"the default `{key}`", f"/defaults/{key}", key, before, after)

    def _policy(self, subject: str, pointer: str, key: str, before: Policy, after: Policy) -> None:
        text = f"{before} -> {after}"
        if _STRICTNESS[after] < _STRICTNESS[before]:
            if key == "on_violation":
                self._add("risky", subject, pointer, text, "readers meet values outside the plan")
            else:
                self._add("compatible", subject, pointer, text)
        elif after == "reject":
            why = "events that came in with a violation are refused from now on"
            self._add("breaking", subject, pointer, text, why)
        else:
            self._add("risky", subject, pointer, text, "what was kept is removed from now on")

    def _event(self, name: str) -> None:
        old, new = self.old.events.get(name), self.new.events.get(name)
        subject, pointer = f"event {name!r}", f"/events/{_escape(name)}"
        if new is None:
            refused = self.new.defaults.unplanned_events == "reject" and name not in _OPEN_EVENTS
            why = "apps that send it are refused, " if refused else "nothing checks it any more, "
            text = f"removed{_renamed(name, self.old.events, self.new.events)}"
            self._add("breaking", subject, pointer, text, why + "its view goes away")
            self._lose("event", "", name, Loss(f"the event {name!r} is gone", certain=True))
        elif old is None:
            is_page = name in _OPEN_EVENTS
            needs = any(prop.required for prop in new.properties.values())
            if self.old.defaults.unplanned_events == "reject" and not is_page:
                self._add("compatible", subject, pointer, "added")
            elif is_page and new.unplanned_properties == "reject":
                why = "apps whose calls have a property that is not planned are refused"
                self._add("breaking", subject, pointer, "added", why)
            elif is_page and needs and new.on_violation == "reject":
                why = "apps whose calls do not have what is required are refused"
                self._add("breaking", subject, pointer, "added", why)
            else:
                why = "apps that sent it unplanned are checked from now on"
                self._add("risky", subject, pointer, "added", why)
        else:
            self._event_head(old, new, subject, pointer)
            holder = _Holder(
                kind="property",
                event=name,
                pointer=f"{pointer}/properties",
                on_violation=new.on_violation,
                unplanned_before=old.unplanned_properties,
                unplanned_after=new.unplanned_properties,
            )
            self._properties(holder, old.properties, new.properties)

    def _event_head(self, old: Event, new: Event, subject: str, pointer: str) -> None:
        for key in ("description", "owner"):
            if getattr(old, key) != getattr(new, key):
                self._add("note", subject, f"{pointer}/{key}", f"{key} changed")
        if old.status != new.status:
            text = f"{old.status} -> {new.status}"
            self._add("compatible", subject, f"{pointer}/status", text)
            if new.status != "live":
                loss = Loss(f"the event {new.name!r} is {new.status} now", certain=False)
                self._lose("event", "", new.name, loss)
        for key in ("on_violation", "unplanned_properties"):
            before, after = getattr(old, key), getattr(new, key)
            defaults = (getattr(self.old.defaults, key), getattr(self.new.defaults, key))
            # What only follows the default was told once, there.
            if before != after and (before, after) != defaults:
                self._policy(f"`{key}` of {subject}", f"{pointer}/{key}", key, before, after)

    def _properties(
        self, holder: _Holder, old: Mapping[str, Property], new: Mapping[str, Property]
    ) -> None:
        for name in _both(old, new):
            before, after = old.get(name), new.get(name)
            if before is None and after is not None:
                self._added(holder, after)
            elif before is not None and after is None:
                self._removed(holder, before, _renamed(name, old, new))
            elif before is not None and after is not None:
                self._changed(holder, before, after)

    def _added(self, holder: _Holder, prop: Property) -> None:
        subject, pointer = holder.at(prop.name)
        if prop.required:
            level = self._refused(holder, f"{subject} is required now")
            self._add(level, subject, pointer, "added, required", holder.refusal("do not send it"))
        elif holder.unplanned_before != "reject" and prop.schema:
            why = "apps that sent it unplanned are checked from now on"
            self._add("risky", subject, pointer, "added", why)
        else:
            self._add("compatible", subject, pointer, "added")
        for where, (pii, _) in _marks(prop).items():
            self._new_pii(holder, prop.name, where, pii, holder.unplanned_before == "accept")

    def _removed(self, holder: _Holder, prop: Property, hint: str) -> None:
        subject, pointer = holder.at(prop.name)
        why = {
            "reject": "apps that send it are refused, ",
            "drop": "its values are removed, ",
            "accept": "nothing checks it any more, ",
        }[holder.unplanned_after]
        why += "its column leaves the view"
        self._add("breaking", subject, pointer, f"removed{hint}", why)
        self._lose(holder.kind, holder.event, prop.name, Loss(f"{subject} is gone", certain=True))

    def _changed(self, holder: _Holder, old: Property, new: Property) -> None:
        subject, pointer = holder.at(new.name)
        if new.required and not old.required:
            level = self._refused(holder, f"{subject} is required now")
            why = holder.refusal("do not send it")
            self._add(level, subject, f"{pointer}/required", "required now", why)
        elif old.required and not new.required:
            self._add("compatible", subject, f"{pointer}/required", "no longer required")
            loss = Loss(f"{subject} may be missing now", certain=False)
            self._lose(holder.kind, holder.event, new.name, loss)
        for delta in compare(old.schema, new.schema, pointer):
            self._delta(holder, old, new, delta)
        marks = _marks(old)
        self._marks(holder, new.name, pointer, marks, _marks(new))
        for where, (pii, _) in _marks(new).items():
            if where not in marks:
                self._new_pii(holder, new.name, where, pii, _admits(old.schema, where))
        if old.description != new.description:
            self._add("note", subject, f"{pointer}/description", "description changed")
        if any(old.schema.get(key) != new.schema.get(key) for key in _DESCRIBING):
            self._add("note", subject, pointer, "described differently")

    def _delta(self, holder: _Holder, old: Property, new: Property, delta: Delta) -> None:
        subject = holder.inside(new.name, delta.pointer)
        text, why = delta.text, ""
        level: Level = "compatible"
        if delta.effect in (Effect.NARROWER, Effect.CHANGED):
            level = self._refused(holder, f"{subject}: {delta.text}")
            why = holder.refusal("still send the old form")
        elif delta.effect is Effect.UNCLEAR:
            level, why = "risky", "whether old values still pass depends on the values"
        retyped = delta.keyword == "type" and _columns(old.schema) != _columns(new.schema)
        if retyped and delta.pointer == holder.at(new.name)[1]:
            why = f"{why}; {_VIEW}" if why else _VIEW
            level = "risky" if level == "compatible" else level
            certain = delta.effect is not Effect.WIDER
            loss = Loss(f"{subject}: {delta.text}; {_VIEW}", certain=certain)
            self._lose(holder.kind, holder.event, new.name, loss)
        self._add(level, subject, delta.pointer, text, why)

    def _refused(self, holder: _Holder, text: str) -> Level:
        """Producers are refused: readers of the event get fewer of them."""
        if holder.on_violation != "reject":
            return "risky"
        if holder.event:
            loss = Loss(f"events of apps in the field are refused ({text})", certain=False)
            self._lose("event", "", holder.event, loss)
        return "breaking"

    def _marks(
        self,
        holder: _Holder,
        name: str,
        pointer: str,
        old: Mapping[str, tuple[Any, Any]],
        new: Mapping[str, tuple[Any, Any]],
    ) -> None:
        for where in old:
            if where not in new:
                subject = holder.inside(name, pointer + where)
                self._add("risky", subject, pointer + where, "no longer described", _UNREAD)
                loss = Loss(f"{subject} is no longer described", certain=False)
                inner = subject.removeprefix(holder.at("")[0])
                self._lose(holder.kind, holder.event, inner, loss)
                continue
            (pii_before, unit_before), (pii_after, unit_after) = old[where], new[where]
            subject, at = holder.inside(name, pointer + where), pointer + where
            if pii_before != pii_after:
                self._pii(holder, name, subject, at, pii_before or "keep", pii_after or "keep")
            if unit_before != unit_after:
                text = f"unit {unit_before or 'none'} -> {unit_after or 'none'}"
                if unit_before is None:
                    self._add("compatible", subject, f"{at}/unit", text)
                    continue
                why = "the same numbers mean something else now"
                self._add("breaking", subject, f"{at}/unit", text, why)
                loss = Loss(f"{subject}: {text}", certain=True)
                self._lose(holder.kind, holder.event, name, loss)

    def _pii(
        self, holder: _Holder, name: str, subject: str, at: str, before: str, after: str
    ) -> None:
        text = f"pii {before} -> {after}"
        if before == after:
            return
        stored = (
            "hashes are stored" if after == "hash" else "personal values are stored as they are"
        )
        if after == "drop":
            why = "its values are removed from now on"
        elif before == "drop":
            self._add("risky", subject, f"{at}/pii", text, f"{stored} from now on")
            return
        else:
            why = f"{stored} from now on, which equal none of the values stored before"
        self._add("breaking", subject, f"{at}/pii", text, why)
        loss = Loss(f"{subject}: {why}", certain=True)
        self._lose(holder.kind, holder.event, name, loss)

    def _new_pii(
        self, holder: _Holder, name: str, where: str, pii: str | None, was_admitted: bool
    ) -> None:
        """What was not described before and is personal now."""
        if pii not in ("hash", "drop"):
            return
        at = holder.at(name)[1] + where
        subject = holder.inside(name, at)
        what = "removed" if pii == "drop" else "hashed"
        if not was_admitted:
            why = f"where it comes in unplanned its values are {what} from now on"
            self._add("risky", subject, f"{at}/pii", f"pii {pii}", why)
            return
        why = f"values that were stored as they came are {what} from now on"
        self._add("breaking", subject, f"{at}/pii", f"pii {pii}", why)
        self._lose(holder.kind, holder.event, name, Loss(f"{subject}: {why}", certain=True))

    def _sections(self, kind: str) -> None:
        old: Mapping[str, Section] = getattr(self.old, kind)
        new: Mapping[str, Section] = getattr(self.new, kind)
        for name in _both(old, new):
            subject = f"{kind.removesuffix('s')} {name!r}"
            pointer = f"/{kind}/{_escape(name)}"
            if name not in new:
                self._add("breaking", subject, pointer, "removed", "who asks for it gets nothing")
            elif name not in old:
                self._add("compatible", subject, pointer, "added")
            elif old[name].spec != new[name].spec:
                keys = _both(old[name].spec, new[name].spec)
                differ = [k for k in keys if old[name].spec.get(k) != new[name].spec.get(k)]
                text = f"{', '.join(differ)} changed"
                if _PROSE.issuperset(differ):
                    self._add("note", subject, pointer, text)
                else:
                    why = "its numbers do not compare with earlier ones"
                    self._add("risky", subject, pointer, text, why)


class _Holder(msgspec.Struct, frozen=True):
    """What holds properties: an event, or the plan's traits, groups or context."""

    kind: str
    event: str
    pointer: str
    on_violation: Policy
    unplanned_before: Policy
    unplanned_after: Policy

    def at(self, name: str) -> tuple[str, str]:
        """A property's subject and pointer."""
        return f"{self.event or self.kind}.{name}", f"{self.pointer}/{_escape(name)}"

    def inside(self, name: str, pointer: str) -> str:
        """The subject of something inside a property's value."""
        subject, start = self.at(name)
        inner = pointer[len(start) :].strip("/").replace("~1", "/").replace("~0", "~")
        return f"{subject}.{inner.replace('/', '.')}" if inner else subject

    def refusal(self, what: str) -> str:
        """What a stricter rule does to producers."""
        return {
            "reject": f"apps that {what} are refused",
            "drop": f"the values of apps that {what} are removed",
            "accept": f"apps that {what} are kept, with a violation",
        }[self.on_violation]


def _both(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return [*old, *(name for name in new if name not in old)]


def _renamed(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The name that a removed one may have got: a rename is a removal to all who use the name."""
    added = {re.sub(r"[\W_]+", "", other).lower(): other for other in new if other not in old}
    plain = re.sub(r"[\W_]+", "", name).lower()
    close = get_close_matches(plain, added, n=1, cutoff=0.75)
    return f" (renamed to {added[close[0]]!r}?)" if close else ""


def _columns(schema: Mapping[str, Any]) -> frozenset[str]:
    types = flat(schema).get("type", ())
    return frozenset([types] if isinstance(types, str) else types) - {"null"}


def _marks(prop: Property) -> dict[str, tuple[Any, Any]]:
    """`pii` and `unit` of a property and of everything inside it, by JSON pointer."""
    found = {"": (prop.pii, prop.unit)}
    stack: list[tuple[str, Mapping[str, Any]]] = [("", prop.schema)]
    while stack:
        at, schema = stack.pop()
        schema = flat(schema)
        inner = {f"{at}/{_escape(key)}": one for key, one in schema.get("properties", {}).items()}
        if isinstance(schema.get("items"), Mapping):
            inner[f"{at}/*"] = schema["items"]
        for where, one in inner.items():
            if isinstance(one, Mapping):
                found[where] = (one.get("pii"), one.get("unit"))
                stack.append((where, one))
    return found


def _admits(schema: Mapping[str, Any], where: str) -> bool:
    """Whether a value of this schema may have something there; where in doubt, it may."""
    for token in where.split("/")[1:]:
        schema = flat(schema)
        is_item = token == "*" and "properties" not in schema  # noqa: S105
        if _columns(schema) and ("array" if is_item else "object") not in _columns(schema):
            return False
        name = token.replace("~1", "/").replace("~0", "~")
        named = {} if is_item else schema.get("properties", {})
        rest = schema.get("items" if is_item else "additionalProperties", {})
        schema = named.get(name, rest)
        if schema == {"not": {}}:
            return False
    return True


def _escape(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")

"""What a plan calls personal, treated where none of its rules reaches.

The validator treats what an event's own kind plans. What is left are the traits that RudderStack's
clients put into the context, and, of an event that goes to quarantine, the parts that nobody
judged: of another kind, too deep, not JSON. There a name that the plan marks anywhere is personal
at every depth, and what cannot be read is replaced by a note with its size and SHA-256: nobody
can tell what is in it. Where the plan marks nothing, everything is kept as it came.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET

from desirepath.plan import Plan, Violation
from desirepath.plan.pii import REDACTED, Treatment
from desirepath.plan.rule import UNFIT
from desirepath.plan.wire import decode, encode

__all__ = ["Personal"]

_PARTS: Final = frozenset({"properties", "traits", "context", "integrations"})
_TEXTS: Final = frozenset(
    {"type", "messageId", "userId", "anonymousId", "previousId", "groupId", "event", "name"}
    | {"category", "timestamp", "originalTimestamp", "sentAt", "version", "channel"}
)
_OF_PAGES: Final = ("name", "category")

_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_BROKEN: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Personal:
    """The treatments of one plan.

    Parameters
    ----------
    plan
        The plan; None marks nothing.
    key
        The key that `pii: hash` hashes with.
    """

    def __init__(self, plan: Plan | None = None, key: bytes | None = None) -> None:
        self.plan = plan
        self._key = key
        self._names: dict[str, Treatment] = {}
        self._traits: dict[str, Treatment | None] = {}
        if plan is None:
            return
        groups = [plan.traits, plan.groups, plan.context]
        for properties in [*groups, *(event.properties for event in plan.events.values())]:
            for name, prop in properties.items():
                for inner, pii in [(name, prop.pii), *_marked(prop.schema)]:
                    if pii == "drop" or (pii == "hash" and inner not in self._names):
                        self._names[inner] = Treatment(pii)
        self._traits = {
            name: Treatment.of(prop.schema, prop.pii) for name, prop in plan.traits.items()
        }

    @property
    def is_marked(self) -> bool:
        """Whether the plan marks anything at all."""
        return bool(self._names)

    def context(self, raw: bytes) -> bytes:
        """A judged context whose `traits` are treated as those of an identify are."""
        if not self._names:
            return raw
        value = decode(raw).value
        if type(value) is not dict or value.get("traits") is None:
            return raw
        traits = value["traits"]
        value["traits"] = self._swept(traits, self._traits) if type(traits) is dict else REDACTED
        return encode(value)

    def envelope(
        self, fields: dict[str, msgspec.Raw], kind: str, judged: Collection[str] = ()
    ) -> dict[str, msgspec.Raw]:
        """An event as it came, fit to be kept.

        Parameters
        ----------
        fields
            Its fields.
        kind
            What it is, where that is known.
        judged
            Fields that the validator has treated.
        """
        if not self._names:
            return fields
        kept = dict(fields)
        for name, raw in fields.items():
            if name in judged:
                continue
            if name in _PARTS:
                kept[name] = msgspec.Raw(self._part(bytes(raw)))
            elif (
                name not in _TEXTS
                or bytes(raw).lstrip()[:1] in (b"{", b"[")
                or (name in _OF_PAGES and name in self._names and kind not in ("page", "screen"))
            ):
                kept[name] = msgspec.Raw(encode(None if name in _OF_PAGES else REDACTED))
        return kept

    def text(self, raw: bytes) -> str:
        """What to keep of bytes that are no JSON object."""
        return _note(raw) if self._names else raw.decode("utf-8", "replace")

    def masked(self, violations: Sequence[Violation]) -> Sequence[Violation]:
        """Violations that show no whole part of an event, of which any may be personal."""
        if not self._names:
            return violations
        return [
            Violation(one.code, one.pointer, one.expected, REDACTED)
            if one.pointer.count("/") < 2
            and (one.found[:1] in ("{", "[") or (one.code == "type" and one.found[:1] == '"'))
            else one
            for one in violations
        ]

    def _part(self, raw: bytes) -> bytes:
        reading = decode(raw)
        if not reading.violations:
            value = reading.value
            if type(value) is dict:
                return encode(self._swept(value))
            return encode(None if value is None else REDACTED)
        try:
            members = _OBJECT.decode(raw)
        except _BROKEN:
            return encode({UNFIT: _note(raw)})
        # The mark keeps a replay from taking the notes for values.
        kept: dict[str, Any] = {UNFIT: reading.violations[0].code}
        for name, member in members.items():
            found = decode(bytes(member))
            kept |= {name: _note(member)} if found.violations else self._swept({name: found.value})
        return encode(kept)

    def _swept(
        self, value: dict[str, Any], planned: Mapping[str, Treatment | None] | None = None
    ) -> dict[str, Any]:
        """An object with every personal name in it treated, those of `planned` as planned."""
        kept: dict[str, Any] = {}
        for name, item in value.items():
            if planned is not None and name in planned:
                treatment = planned[name]
                found = item if treatment is None else treatment.apply(item, self._key)
            elif name in self._names:
                found = self._names[name].apply(item, self._key)
            else:
                found = self._inner(item)
            if found is not UNSET:
                kept[name] = found
        return kept

    def _inner(self, value: Any) -> Any:
        if type(value) is dict:
            return self._swept(value)
        return [self._inner(item) for item in value] if type(value) is list else value


def _marked(schema: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """Names within a schema with their `pii`."""
    for name, child in schema.get("properties", {}).items():
        yield name, child.get("pii")
        yield from _marked(child)
    if "items" in schema:
        yield from _marked(schema["items"])


def _note(raw: bytes) -> str:
    digest = hashlib.sha256(raw).hexdigest()
    return (
        "not kept: the plan marks personal data and this cannot be read as JSON "
        f"({len(raw)} bytes, SHA-256 {digest})"
    )

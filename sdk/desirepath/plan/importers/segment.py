"""Segment Protocols tracking plans.

Three forms are in use and all are taken: the Public API's (`rules` is a list of `{type, key,
version, jsonSchema}`, also as `{"data": {"rules": [...]}}`), the older Config API's (`rules` has
`events`, `identify`, `group`, `global`), and the plan.json that Typewriter keeps in a repository
(as the Public API's, but each schema describes the properties directly).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from desirepath.event import PAGE_EVENT, SCREEN_EVENT
from desirepath.plan.emit import nameable
from desirepath.plan.importers.translate import Imported, Translator, slug

__all__ = ["convert", "recognise"]

_ENVELOPE: Final = frozenset(
    {"properties", "traits", "context", "anonymousId", "userId", "groupId", "event", "type"}
    | {"messageId", "timestamp", "integrations", "sentAt", "receivedAt", "originalTimestamp"}
)
_NEVER: Final = "0001-01-01"
"""How Segment's API writes "no date"."""


def recognise(document: Mapping[str, Any]) -> bool:
    """Whether a JSON document is such a plan."""
    rules = _body(document).get("rules")
    if isinstance(rules, Mapping):
        return "events" in rules
    return isinstance(rules, list) and all(isinstance(r, Mapping) and "type" in r for r in rules)


def convert(documents: Sequence[tuple[str, Any]], name: str | None = None) -> Imported:
    """Convert the plans of these documents, taken together."""
    conversion = _Conversion()
    title = name
    for path, document in documents:
        body = _body(document) if isinstance(document, Mapping) else {}
        if not recognise(body):
            conversion.translator.note(path, "not a Segment tracking plan, left out")
            continue
        title = title or str(body.get("display_name") or body.get("name") or "segment")
        for rule in conversion.newest(_rules(body)):
            conversion.add(rule)
    return conversion.finish(slug(title or "segment"))


def _body(document: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = document.get("data")
    if isinstance(inner, Mapping):
        inner = inner.get("trackingPlan", inner)
    return inner if isinstance(inner, Mapping) else document


def _rules(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every form of rules as the Public API writes them."""
    rules = body["rules"]
    if isinstance(rules, list):
        return [dict(rule) for rule in rules]
    found = [
        {
            "type": "TRACK",
            "key": event.get("name"),
            "description": event.get("description"),
            "version": event.get("version"),
            "labels": event.get("labels"),
            "jsonSchema": event.get("rules") or {},
        }
        for event in rules.get("events") or ()
        if isinstance(event, Mapping)
    ]
    for part, kind in (("identify", "IDENTIFY"), ("group", "GROUP"), ("global", "COMMON")):
        if isinstance(rules.get(part), Mapping):
            found.append({"type": kind, "key": "", "jsonSchema": rules[part]})
    return found


class _Conversion:
    def __init__(self) -> None:
        self.translator = Translator()
        self.events: dict[str, Any] = {}
        self.sections: dict[str, dict[str, Any]] = {"context": {}, "traits": {}, "groups": {}}
        self.common: dict[str, Any] = {}
        """The properties of every event."""

    def newest(self, rules: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The newest rule of each event; of two of the same version the last."""
        newest: dict[tuple[str, str], dict[str, Any]] = {}
        for rule in rules:
            kind = str(rule.get("type")).upper()
            key = (kind, str(rule.get("key") or ""))
            known = newest.get(key)
            if known is None or _version(rule) >= _version(known):
                newest[key] = rule
            if known is not None:
                older = min(rule, known, key=_version)
                self.translator.note(key[1] or kind, f"its older rule, version {_version(older)}")
        return list(newest.values())

    def add(self, rule: Mapping[str, Any]) -> None:
        kind = str(rule.get("type", "TRACK")).upper()
        schema = rule.get("jsonSchema")
        if not isinstance(schema, Mapping):
            schema = {}
        key = str(rule.get("key") or "")
        if kind in ("IDENTIFY", "GROUP"):
            section = "traits" if kind == "IDENTIFY" else "groups"
            self._section(section, _part(schema, "traits"), schema)
        elif kind == "COMMON":
            for section, part in (("context", "context"), ("traits", "traits")):
                self._section(section, _part(schema, part), schema)
            if _wraps(schema):
                found, _ = self.translator.properties(
                    _part(schema, "properties"), "every event", schema
                )
                self.common.update(found)
        elif kind in ("TRACK", "PAGE", "SCREEN"):
            name = {"PAGE": PAGE_EVENT, "SCREEN": SCREEN_EVENT}.get(kind, key)
            if not nameable(name):
                self.translator.note(f"a track rule {name!r}", "it has no name a plan can hold")
                return
            self._event(name, rule, schema)
        else:
            self.translator.note(key or kind, f"rules of the type {kind}")

    def _event(self, name: str, rule: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
        part = _part(schema, "properties")
        labels = rule.get("labels") or schema.get("labels")
        if labels:
            shown = json.dumps(labels, ensure_ascii=False)
            self.translator.note(name, f"its labels {shown}, which no plan has")
        event: dict[str, Any] = {}
        description = rule.get("description") or schema.get("description")
        if isinstance(description, str) and description.strip():
            event["description"] = description.strip()
        retired = str(rule.get("deprecatedAt") or _NEVER)
        if not retired.startswith(_NEVER):
            event["status"] = "deprecated"
        properties, closed = self.translator.properties(part, name, schema)
        if closed:
            event["unplanned_properties"] = "reject"
        if properties:
            event["properties"] = properties
        for other in ("context", "traits"):
            if _wraps(schema) and _part(schema, other).get("properties"):
                self.translator.note(name, f"rules on `{other}` for this event alone")
        self.events[name] = event

    def _section(self, section: str, part: Mapping[str, Any], root: Mapping[str, Any]) -> None:
        found, _ = self.translator.properties(part, section, root)
        self.sections[section].update(found)

    def _with_common(self, name: str, event: dict[str, Any]) -> None:
        own = event.get("properties", {})
        for prop, schema in self.common.items():
            if event.get("unplanned_properties") == "reject" and prop not in own:
                self.translator.note(
                    name, f"{prop!r} of every event, which its rule does not allow"
                )
            elif prop not in own:
                own = event["properties"] = {**own, prop: schema}
            elif own[prop] != schema:
                self.translator.note(name, f"what is asked of {prop!r} of every event")

    def finish(self, name: str) -> Imported:
        plan: dict[str, Any] = {"plan": name, "version": "1.0.0"}
        # Segment admits properties that no rule names, unless a rule closes its object.
        plan["defaults"] = {"unplanned_properties": "accept"}
        if self.translator.types:
            plan["types"] = self.translator.types
        plan.update({key: value for key, value in self.sections.items() if value})
        for event_name, event in self.events.items():
            self._with_common(event_name, event)
        plan["events"] = self.events
        return Imported(plan, tuple(self.translator.notes))


def _version(rule: Mapping[str, Any]) -> int:
    version = rule.get("version")
    return version if isinstance(version, int) else 1


def _wraps(schema: Mapping[str, Any]) -> bool:
    """Whether a rule's schema describes the whole call, not its properties alone."""
    inner = schema.get("properties")
    return (
        isinstance(inner, Mapping)
        and bool(inner.keys() & {"properties", "traits", "context"})
        and inner.keys() <= _ENVELOPE
        and "eventMetadata" not in schema
    )


def _part(schema: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    if _wraps(schema):
        inner = schema["properties"].get(part)
        return inner if isinstance(inner, Mapping) else {}
    # Typewriter's form has only the part that the kind of call is about.
    return schema if part != "context" else {}

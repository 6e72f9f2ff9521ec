"""RudderStack tracking plans: the YAML files of a rudder-cli project, or the API's JSON.

A project spreads over files of the kinds `events`, `properties`, `custom-types` and `tp` (or
`tracking-plan`), which refer to each other by id: `#/properties/GROUP/ID` in `rudder/0.1`,
`#property:ID` in `rudder/v1`. All files of the project are handed in together. Custom types
become types of the plan.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from desirepath.errors import InputError
from desirepath.event import PAGE_EVENT, SCREEN_EVENT
from desirepath.plan.emit import nameable
from desirepath.plan.importers.translate import Imported, Translator, required, slug

__all__ = ["convert", "recognise"]

_KINDS: Final = {
    "events": "events",
    "properties": "properties",
    "custom-types": "types",
    "tp": "plans",
    "tracking-plan": "plans",
}
_PAGES: Final = {"page": PAGE_EVENT, "screen": SCREEN_EVENT}


def recognise(document: Mapping[str, Any]) -> bool:
    """Whether a document is a file of such a project, or a plan of the API."""
    if str(document.get("version", "")).startswith("rudder/"):
        return True
    events = document.get("events")
    return isinstance(events, list) and any(
        isinstance(event, Mapping) and "eventType" in event for event in events
    )


def convert(documents: Sequence[tuple[str, Any]], name: str | None = None) -> Imported:
    """Convert the project that these documents make."""
    conversion = _Conversion()
    plans = []
    for path, document in documents:
        if not isinstance(document, Mapping) or not recognise(document):
            conversion.translator.note(path, "not a RudderStack file, left out")
        elif "kind" not in document:
            conversion.api_plan(document)
            name = name or str(document.get("name") or "rudderstack")
        elif _KINDS.get(str(document["kind"])) == "plans":
            plans.append(_spec(document))
        else:
            conversion.catalog(str(document["kind"]), document)
    for plan in plans:
        name = name or str(plan.get("id") or plan.get("display_name") or "rudderstack")
        for rule in _list(plan.get("rules")):
            conversion.rule(rule)
    if not plans and not conversion.events and not conversion.sections["traits"]:
        raise InputError(
            f"{documents[0][0]}: no RudderStack tracking plan (`kind: tp`) among these files",
            hint="Hand in the whole project: all its files, or its folder.",
        )
    return conversion.finish(slug(name or "rudderstack"))


class _Conversion:
    def __init__(self) -> None:
        self.translator = Translator()
        self.known: dict[str, dict[str, Mapping[str, Any]]] = {
            "events": {}, "properties": {}, "types": {}
        }  # fmt: skip
        self.events: dict[str, Any] = {}
        self.sections: dict[str, dict[str, Any]] = {"context": {}, "traits": {}, "groups": {}}
        self._open: list[str] = []

    def catalog(self, kind: str, document: Mapping[str, Any]) -> None:
        """Keep what a catalog file defines, by id."""
        section = _KINDS.get(kind)
        if section is None or section == "plans":
            return  # categories group events for display; nothing is checked by them
        for item in _list(_spec(document).get(section)):
            if isinstance(item.get("id"), str):
                self.known[section][item["id"]] = item

    def rule(self, rule: Mapping[str, Any]) -> None:
        """One rule of a tracking plan: an event and its properties."""
        reference = rule.get("event")
        extra = rule
        if isinstance(reference, Mapping):
            extra = {**rule, **reference}
            reference = reference.get("$ref")
        event = self.known["events"].get(_id(reference))
        where = str(rule.get("id") or reference)
        if event is None:
            self.translator.note(where, f"its event {reference!r}, which is in none of the files")
            return
        name = str(event.get("name") or event.get("id"))
        properties = self._fields(_list(rule.get("properties")), name)
        for variant in _list(rule.get("variants")):
            self._variant(variant, properties, name)
        closed = not extra.get("allow_unplanned", extra.get("additional_properties", False))
        self._place(
            kind=str(event.get("event_type") or "track"),
            name=name,
            description=event.get("description"),
            properties=properties,
            closed=closed,
            section=rule.get("identity_section"),
        )

    def api_plan(self, document: Mapping[str, Any]) -> None:
        """A whole plan as the API answers it: JSON Schema for each event."""
        for event in _list(document.get("events")):
            rules = _mapping(event.get("rules"))
            section = str(event.get("identitySection") or "")
            part = rules
            for key in section.split(".") if section else ("properties",):
                part = _mapping(_mapping(part.get("properties")).get(key))
            name = str(event.get("name") or event.get("eventType") or "")
            properties, closed = self.translator.properties(part, name, rules)
            self._place(
                kind=str(event.get("eventType") or "track"),
                name=name,
                description=event.get("description"),
                properties=properties,
                closed=closed,
                section=section,
            )

    def _place(
        self,
        *,
        kind: str,
        name: str,
        description: Any,
        properties: dict[str, Any],
        closed: bool,
        section: Any,
    ) -> None:
        if kind in ("identify", "group"):
            target = "traits" if kind == "identify" else "groups"
            self.sections[target].update(properties)
            return
        if isinstance(section, str) and section.endswith("traits"):
            self.translator.note(name, "rules on traits for this event alone")
            return
        name = _PAGES.get(kind, name)
        if not nameable(name):
            self.translator.note(f"the event {name!r}", "it has no name a plan can hold")
            return
        event: dict[str, Any] = {}
        if isinstance(description, str) and description.strip():
            event["description"] = description.strip()
        if not closed:
            event["unplanned_properties"] = "accept"
        if properties:
            event["properties"] = properties
        self.events[name] = event

    def _fields(self, fields: Sequence[Mapping[str, Any]], where: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for field in fields:
            reference = field.get("$ref") or field.get("property")
            known = self.known["properties"].get(_id(reference))
            if known is None:
                self.translator.note(where, f"the property {reference!r}, in none of the files")
                continue
            name = str(known.get("name") or known["id"])
            if not nameable(name, top=True):
                self.translator.note(where, f"the property {name!r}, which no plan can name")
                continue
            schema = self._property(known, f"{where}.{name}")
            nested = self._fields(_list(field.get("properties")), f"{where}.{name}")
            if nested:
                schema["properties"] = nested
                if field.get("additionalProperties") is False:
                    schema["additionalProperties"] = False
            if field.get("required") is True:
                schema = required(schema)
            found[name] = schema
        return found

    def _property(self, known: Mapping[str, Any], where: str) -> dict[str, Any]:
        config = {
            re.sub(r"_([a-z])", lambda match: match.group(1).upper(), str(key)): value
            for key, value in _mapping(known.get("propConfig") or known.get("config")).items()
        }
        for key in ("item_type", "item_types", "itemTypes"):
            if key in known:
                config["itemTypes"] = known[key]
        items = config.pop("itemTypes", None)
        schema: dict[str, Any] = {}
        types = known.get("types") or known.get("type")
        names = types if isinstance(types, list) else re.split(r"\s*,\s*", str(types or ""))
        if len(names) == 1 and _is_reference(names[0]):
            schema["$ref"] = self._type(names[0], where)
            if schema["$ref"] is None:
                del schema["$ref"]
        elif names != [""]:
            schema["type"] = names[0] if len(names) == 1 else list(names)
        translated = self.translator.schema({**config, **_text(known)}, where, {})
        schema.update(translated if isinstance(translated, dict) else {})
        if items:
            schema["items"] = self._items(items if isinstance(items, list) else [items], where)
        return schema

    def _items(self, items: list[Any], where: str) -> Any:
        if len(items) == 1 and _is_reference(items[0]):
            name = self._type(items[0], where)
            return {"$ref": name} if name else {}
        return {"type": items[0] if len(items) == 1 else items}

    def _type(self, reference: str, where: str) -> str | None:
        key = _id(reference)
        known = self.known["types"].get(key)
        if known is None:
            self.translator.note(where, f"the type {reference!r}, in none of the files")
            return None
        if key in self._open:
            self.translator.note(where, f"the type {reference!r}, which contains itself")
            return None
        self._open.append(key)
        schema = self._property(known, key)
        properties = self._fields(_list(known.get("properties")), key)
        for variant in _list(known.get("variants")):
            self._variant(variant, properties, key)
        if properties:
            schema["properties"] = properties
        self._open.pop()
        return self.translator.add_type(slug(str(known.get("name") or key)), schema)

    def _variant(self, variant: Mapping[str, Any], properties: dict[str, Any], where: str) -> None:
        """The properties of all cases become optional ones: the plan admits more."""
        cases = [_list(_mapping(case).get("properties")) for case in _list(variant.get("cases"))]
        cases.append(_list(variant.get("default")))
        for fields in cases:
            for name, schema in self._fields(fields, where).items():
                schema.pop("required", None)
                properties.setdefault(name, schema)
        self.translator.note(where, f"which case of {variant.get('discriminator')} needs what")

    def finish(self, name: str) -> Imported:
        plan: dict[str, Any] = {"plan": name, "version": "1.0.0"}
        if self.translator.types:
            plan["types"] = self.translator.types
        plan.update({key: value for key, value in self.sections.items() if value})
        plan["events"] = self.events
        return Imported(plan, tuple(self.translator.notes))


def _text(known: Mapping[str, Any]) -> dict[str, Any]:
    text = known.get("description")
    return {"description": text} if isinstance(text, str) and text.strip() else {}


def _id(reference: Any) -> str:
    return re.split(r"[/:]", str(reference))[-1]


def _is_reference(text: Any) -> bool:
    return isinstance(text, str) and text.startswith("#")


def _spec(document: Mapping[str, Any]) -> Mapping[str, Any]:
    return _mapping(document.get("spec"))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []

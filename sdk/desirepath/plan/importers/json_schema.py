"""Plain JSON Schema files: one file an event.

The event is named by the file's `title`, else by the file's own name. A schema of a whole Segment
call (`event` with a `const`, `properties` inside `properties`) is taken as such.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from desirepath.plan.emit import nameable
from desirepath.plan.importers.translate import Imported, Translator, slug

__all__ = ["convert", "recognise"]


def recognise(document: Mapping[str, Any]) -> bool:
    """Whether a document is the JSON Schema of an object."""
    if "json-schema.org" in str(document.get("$schema", "")):
        return True
    return document.get("type") == "object" and isinstance(document.get("properties"), Mapping)


def convert(documents: Sequence[tuple[str, Any]], name: str | None = None) -> Imported:
    """Convert these files, each to one event."""
    translator = Translator()
    events: dict[str, Any] = {}
    for path, document in documents:
        if not isinstance(document, Mapping) or not recognise(document):
            translator.note(path, "not the JSON Schema of an object, left out")
            continue
        title, schema = _subject(path, document)
        if not nameable(title):
            translator.note(path, f"the event {title!r} has no name a plan can hold")
            continue
        if title in events:
            translator.note(path, f"the event {title!r} again; the first file counts")
            continue
        event: dict[str, Any] = {}
        description = document.get("description")
        if isinstance(description, str) and description.strip():
            event["description"] = description.strip()
        if document.get("deprecated") is True:
            event["status"] = "deprecated"
        properties, closed = translator.properties(schema, title, document)
        if not closed:
            event["unplanned_properties"] = "accept"
        if properties:
            event["properties"] = properties
        events[title] = event
    plan: dict[str, Any] = {"plan": slug(name or _common(documents)), "version": "1.0.0"}
    if translator.types:
        plan["types"] = translator.types
    plan["events"] = events
    return Imported(plan, tuple(translator.notes))


def _subject(path: str, document: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    inner = document.get("properties")
    title = document.get("title")
    if isinstance(inner, Mapping) and isinstance(inner.get("properties"), Mapping):
        event = inner.get("event")
        if isinstance(event, Mapping):
            named = event.get("const") or next(iter(event.get("enum") or ()), None)
            if isinstance(named, str):
                return named, inner["properties"]
    if isinstance(title, str) and title.strip():
        return title.strip(), document
    stem = re.sub(r"\.schema$|\.v?\d+$", "", Path(path).stem)
    return " ".join(re.split(r"[_\-\s]+", stem)).strip().title() or stem, document


def _common(documents: Sequence[tuple[str, Any]]) -> str:
    if len(documents) == 1:
        return Path(documents[0][0]).name.partition(".")[0]
    return Path(documents[0][0]).resolve().parent.name or "imported"

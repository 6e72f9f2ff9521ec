"""JSON Schema of any draft to the constraints of a plan.

Keywords that mean the same are taken as they are, older spellings are rewritten (tuple `items`,
boolean `exclusiveMinimum`, `dependencies`, `definitions`), and what a plan cannot say is left out
with a note. Leaving a keyword out only ever admits more; a keyword is never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from desirepath.plan.regex import PatternError, compile_pattern

__all__ = ["Imported", "Translator", "required", "slug"]

_SAME: Final = frozenset(
    {"type", "enum", "const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
    | {"multipleOf", "minLength", "maxLength", "pattern", "format", "minItems", "maxItems"}
    | {"uniqueItems", "required", "minProperties", "maxProperties", "dependentRequired"}
)
_SCHEMAS: Final = frozenset({"not", "if", "then", "else", "additionalProperties", "items"})
_LISTS: Final = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_SILENT: Final = frozenset(
    {"$schema", "$id", "id", "$comment", "title", "description", "default", "examples", "labels"}
    | {"definitions", "$defs", "eventMetadata", "readOnly", "writeOnly", "deprecated", "tags"}
)
"""Annotations; nothing is lost to a check without them."""
_FORMATS: Final = frozenset({"date-time", "date", "time", "email", "uri", "uuid", "ipv4", "ipv6"})
_REF: Final = re.compile(r"#/(?:definitions|\$defs)/([^/]+)")


class Imported(msgspec.Struct, frozen=True):
    """An imported plan as plain data, and a line for everything that could not come along."""

    plan: dict[str, Any]
    notes: tuple[str, ...]


def slug(text: str) -> str:
    """A plan or type name out of any text."""
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    return name if name and name[0].isalpha() else f"plan_{name}".rstrip("_")


def required(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a property that must be there, in the order people write it."""
    first: dict[str, Any] = {key: schema[key] for key in ("type", "$ref") if key in schema}
    return {**first, "required": True, **schema}


class Translator:
    """Translates the schemas of one imported plan, collecting its types and notes."""

    def __init__(self) -> None:
        self.types: dict[str, Any] = {}
        self.notes: list[str] = []
        self._open: list[str] = []

    def note(self, where: str, text: str) -> None:
        """Tell that something did not come along."""
        line = f"{where}: {text}"
        if line not in self.notes:
            self.notes.append(line)

    def properties(
        self, schema: Mapping[str, Any], where: str, root: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The properties of an object schema, each with `required: true` where it is.

        Parameters
        ----------
        schema
            An object schema: `properties`, `required`.
        where
            What to call it in notes.
        root
            The document in which `$ref` is looked up.
        """
        found = self._properties(schema, where, root)
        for keyword in schema:
            if keyword not in ("type", "properties", "required", "additionalProperties", *_SILENT):
                self.note(where, f"`{keyword}` over several properties")
        return found

    def _properties(
        self, schema: Mapping[str, Any], where: str, root: Mapping[str, Any]
    ) -> dict[str, Any]:
        listed = schema.get("required")
        names = dict.fromkeys(listed) if isinstance(listed, list) else {}
        found: dict[str, Any] = {}
        for name, inner in _mapping(schema.get("properties")).items():
            translated = self.schema(inner, f"{where}.{name}", root)
            if isinstance(translated, dict) and name in names:
                translated = required(translated)
            found[name] = translated
            if isinstance(translated, dict) and _short(translated):
                found[name] = translated["type"]
        for name in names:
            found.setdefault(name, {"required": True})
        return found

    def schema(self, schema: Any, where: str, root: Mapping[str, Any]) -> dict[str, Any] | bool:
        """One schema, at any depth."""
        if not isinstance(schema, Mapping):
            return schema is not False and {}
        if "$ref" in schema:
            return self._reference(schema, where, root)
        found: dict[str, Any] = {}
        for keyword, value in schema.items():
            self._keyword(found, keyword, value, schema, where, root)
        text = schema.get("description") or schema.get("title")
        if isinstance(text, str) and text.strip():
            found["description"] = text.strip()
        return found

    def _keyword(
        self,
        found: dict[str, Any],
        keyword: str,
        value: Any,
        schema: Mapping[str, Any],
        where: str,
        root: Mapping[str, Any],
    ) -> None:
        if keyword in ("exclusiveMinimum", "exclusiveMaximum") and isinstance(value, bool):
            # Draft 4: a flag beside `minimum`, which then is the bound itself.
            bound = schema.get("minimum" if keyword == "exclusiveMinimum" else "maximum")
            if value and bound is not None:
                found[keyword] = bound
        elif keyword == "type" and (value == "any" or value == []):
            pass
        elif keyword == "format" and value not in _FORMATS:
            self.note(where, f"the format {value!r}")
        elif keyword == "pattern" and not _compiles(value):
            self.note(where, f"the pattern {value!r}")
        elif keyword == "required" and schema.get("properties"):
            pass
        elif keyword in _SAME:
            if value != [] and not (keyword == "uniqueItems" and value is False):
                found[keyword] = value
        elif keyword == "items" and isinstance(value, list):
            found["prefixItems"] = [self.schema(item, where, root) for item in value]
        elif keyword == "additionalItems":
            if isinstance(schema.get("items"), list):
                found["items"] = self.schema(value, where, root)
        elif keyword in _SCHEMAS:
            found[keyword] = self.schema(value, f"{where}.{keyword}", root)
        elif keyword in _LISTS and isinstance(value, list) and value:
            found[keyword] = [self.schema(item, f"{where}.{keyword}", root) for item in value]
        elif keyword == "properties" and isinstance(value, Mapping):
            # `required` goes to the properties themselves: the key is taken by the property's own.
            if value:
                found["properties"] = self._properties(schema, where, root)
        elif keyword == "dependencies" and isinstance(value, Mapping):
            lists = {name: names for name, names in value.items() if isinstance(names, list)}
            if lists:
                found["dependentRequired"] = lists
            if len(lists) < len(value):
                self.note(where, "`dependencies` on schemas")
        elif keyword not in _SILENT:
            self.note(where, f"`{keyword}`")

    def _reference(
        self, schema: Mapping[str, Any], where: str, root: Mapping[str, Any]
    ) -> dict[str, Any]:
        reference = str(schema["$ref"])
        match = _REF.fullmatch(reference)
        key = match.group(1).replace("~1", "/").replace("~0", "~") if match else ""
        target = _mapping(root.get("definitions")).get(key, _mapping(root.get("$defs")).get(key))
        if target is None:
            self.note(where, f"the reference {reference!r}, which is not in the file")
            return {}
        name = slug(key)
        if name in self._open:
            self.note(where, f"the reference {reference!r} to itself")
            return {}
        self._open.append(name)
        translated = self.schema(target, key, root)
        self._open.pop()
        found: dict[str, Any] = {"$ref": self.add_type(name, translated)}
        if isinstance(schema.get("description"), str):
            found["description"] = schema["description"]
        beside = schema.keys() - _SILENT - {"$ref"}
        if beside:
            # Before 2019-09 these had no meaning beside a reference.
            self.note(where, f"{', '.join(sorted(beside))} beside a reference")
        return found

    def add_type(self, name: str, schema: Any) -> str:
        """Keep a named type; its name, changed where another type has it already."""
        wanted, number = name, 1
        while name in self.types and self.types[name] != schema:
            number += 1
            name = f"{wanted}_{number}"
        self.types[name] = schema if isinstance(schema, dict) else {"not": {}}
        return name


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _short(schema: Mapping[str, Any]) -> bool:
    return list(schema) == ["type"] and isinstance(schema["type"], str)


def _compiles(pattern: Any) -> bool:
    try:
        compile_pattern(pattern)
    except (PatternError, TypeError):
        return False
    return True

"""JSON Schema of any draft to the constraints of a plan.

Keywords that mean the same are taken as they are, older spellings are rewritten (tuple `items`,
boolean `exclusiveMinimum`, `dependencies`, `definitions`), and what a plan cannot say is left out
with a note. The result admits whatever the original does: leaving something out admits more,
except below `not`, `if` and `oneOf` and beside `additionalProperties`, where it would admit less;
there the whole keyword goes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from desirepath.plan.emit import nameable
from desirepath.plan.formats import FORMATS
from desirepath.plan.keywords import TYPES
from desirepath.plan.regex import PatternError, compile_pattern

__all__ = ["Imported", "Translator", "required", "slug"]

_SAME: Final = frozenset(
    {"enum", "const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "format"}
    | {"multipleOf", "minLength", "maxLength", "pattern", "minItems", "maxItems", "uniqueItems"}
    | {"required", "minProperties", "maxProperties", "dependentRequired"}
)
_LISTS: Final = frozenset({"anyOf", "allOf", "prefixItems"})
_SILENT: Final = frozenset(
    {"$schema", "$id", "id", "$comment", "title", "description", "default", "examples", "labels"}
    | {"definitions", "$defs", "eventMetadata", "readOnly", "writeOnly", "deprecated", "tags"}
)
"""Annotations; nothing is lost to a check without them."""
_HANDLED: Final = frozenset(
    {"type", "nullable", "properties", "additionalProperties", "dependencies", "items"}
    | {"additionalItems", "oneOf", "not", "if", "then", "else", *_LISTS}
)
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
        self._losses = 0
        self._open: list[tuple[int, str]] = []
        self._done: dict[tuple[int, str], tuple[str, bool]] = {}

    def note(self, where: str, text: str) -> None:
        """Tell that something did not come along."""
        self._losses += 1
        line = f"{where}: {text}"
        if line not in self.notes:
            self.notes.append(line)

    def properties(
        self, schema: Mapping[str, Any], where: str, root: Mapping[str, Any]
    ) -> tuple[dict[str, Any], bool]:
        """The properties of an object schema, and whether it admits no others.

        Each is marked `required: true` where it is.

        Parameters
        ----------
        schema
            An object schema: `properties`, `required`, `additionalProperties`.
        where
            What to call it in notes.
        root
            The document in which `$ref` is looked up.
        """
        closed = schema.get("additionalProperties") is False
        found = {}
        for name, translated in self._properties(schema, where, root).items():
            if nameable(name, top=True):
                found[name] = translated
            else:
                self.note(where, f"the property {name!r}, which no plan can name")
                closed = False
        for keyword, value in schema.items():
            if keyword in ("type", "properties", "required", *_SILENT):
                continue
            if keyword != "additionalProperties" or not isinstance(value, bool):
                self.note(where, f"`{keyword}` over several properties")
        return found, closed and "patternProperties" not in schema

    def _properties(
        self, schema: Mapping[str, Any], where: str, root: Mapping[str, Any]
    ) -> dict[str, Any]:
        declared = _mapping(schema.get("properties"))
        listed = schema.get("required")
        names = listed if isinstance(listed, list) else []
        found: dict[str, Any] = {}
        for name, inner in declared.items():
            # Draft 3 said `required: true` on the property, as a plan does.
            flagged = isinstance(inner, Mapping) and inner.get("required") is True
            translated = self.schema(inner, f"{where}.{name}", root)
            found[name] = _marked(translated, name in names or flagged)
        for name in names:
            if name not in declared:
                rest = schema.get("additionalProperties", True)
                rest = True if "patternProperties" in schema else rest
                found[name] = _marked(self.schema(rest, f"{where}.{name}", root), True)
        return found

    def schema(self, schema: Any, where: str, root: Mapping[str, Any]) -> dict[str, Any] | bool:
        """One schema, at any depth."""
        if not isinstance(schema, Mapping):
            return schema is not False and {}
        if "$ref" in schema:
            return self._reference(schema, where, root)
        found: dict[str, Any] = {}
        self._type(found, schema, where)
        self._object(found, schema, where, root)
        self._array(found, schema, where, root)
        self._logic(found, schema, where, root)
        for keyword, value in schema.items():
            if keyword in _SAME:
                self._same(found, keyword, value, schema, where)
            elif keyword not in _HANDLED and keyword not in _SILENT:
                self.note(where, f"`{keyword}`")
        text = schema.get("description") or schema.get("title")
        if isinstance(text, str) and text.strip():
            found["description"] = text.strip()
        return found

    def _type(self, found: dict[str, Any], schema: Mapping[str, Any], where: str) -> None:
        given = schema.get("type")
        if given is None or given in ("any", []):
            return
        types = [given] if isinstance(given, str) else given
        if not isinstance(types, list) or not all(one in TYPES for one in types):
            self.note(where, f"the type {given!r}")
            return
        if schema.get("nullable") is True and "null" not in types:  # OpenAPI's way to say it
            types = [*types, "null"]
        types = list(dict.fromkeys(types))
        found["type"] = types[0] if len(types) == 1 else types

    def _same(
        self, found: dict[str, Any], keyword: str, value: Any, schema: Mapping[str, Any], where: str
    ) -> None:
        if keyword in ("exclusiveMinimum", "exclusiveMaximum") and isinstance(value, bool):
            # Draft 4: a flag beside `minimum`, which then is the bound itself.
            bound = schema.get("minimum" if keyword == "exclusiveMinimum" else "maximum")
            if value and bound is not None:
                found[keyword] = bound
        elif keyword == "format" and value not in FORMATS:
            self.note(where, f"the format {value!r}")
        elif keyword == "pattern" and not _compiles(value):
            self.note(where, f"the pattern {value!r}")
        elif keyword == "required" and ("properties" in found or not isinstance(value, list)):
            pass  # it went to the properties themselves
        elif value != [] and not (keyword == "uniqueItems" and value is False):
            found[keyword] = value

    def _object(
        self, found: dict[str, Any], schema: Mapping[str, Any], where: str, root: Mapping[str, Any]
    ) -> None:
        lost = False
        if schema.get("properties"):
            found["properties"] = {}
            for name, translated in self._properties(schema, where, root).items():
                if nameable(name):
                    found["properties"][name] = translated
                else:
                    self.note(where, f"the property {name!r}, which no plan can name")
                    lost = True
        if "additionalProperties" in schema:
            if lost or "patternProperties" in schema:
                self.note(where, "`additionalProperties`")
            else:
                rest = schema["additionalProperties"]
                found["additionalProperties"] = self.schema(rest, f"{where}.*", root)
        dependencies = _mapping(schema.get("dependencies"))
        lists = {name: names for name, names in dependencies.items() if isinstance(names, list)}
        if lists:
            found["dependentRequired"] = lists
        if len(lists) < len(dependencies):
            self.note(where, "`dependencies` on schemas")

    def _array(
        self, found: dict[str, Any], schema: Mapping[str, Any], where: str, root: Mapping[str, Any]
    ) -> None:
        items = schema.get("items")
        if isinstance(items, list):
            if items:
                found["prefixItems"] = [self.schema(item, where, root) for item in items]
            if "additionalItems" in schema:
                found["items"] = self.schema(schema["additionalItems"], f"{where}[]", root)
        elif items is not None:
            found["items"] = self.schema(items, f"{where}[]", root)

    def _logic(
        self, found: dict[str, Any], schema: Mapping[str, Any], where: str, root: Mapping[str, Any]
    ) -> None:
        for keyword in _LISTS & schema.keys():
            branches = schema[keyword]
            if isinstance(branches, list) and branches:
                found[keyword] = [self.schema(one, where, root) for one in branches]
        before = self._losses
        if isinstance(schema.get("oneOf"), list) and schema["oneOf"]:
            branches = [self.schema(one, where, root) for one in schema["oneOf"]]
            # Of branches that admit more, two may hold at once: then one of them is enough.
            keyword = "oneOf" if self._losses == before else "anyOf"
            if keyword in found:
                self.note(where, "`oneOf`")
            else:
                found[keyword] = branches
        for keyword, others in (("not", ()), ("if", ("then", "else"))):
            if keyword not in schema:
                continue
            before = self._losses
            condition = self.schema(schema[keyword], where, root)
            if self._losses > before:
                self.note(where, f"`{keyword}`")
                continue
            found[keyword] = condition
            for other in others:
                if other in schema:
                    found[other] = self.schema(schema[other], where, root)

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
        identity = (id(root), key)
        if identity in self._open:
            self.note(where, f"the reference {reference!r} to itself")
            return {}
        if identity not in self._done:
            self._open.append(identity)
            before = self._losses
            name = self.add_type(slug(key), self.schema(target, key, root))
            self._done[identity] = (name, self._losses > before)
            self._open.pop()
        name, lossy = self._done[identity]
        self._losses += lossy
        found: dict[str, Any] = {"$ref": name}
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


def _marked(schema: dict[str, Any] | bool, needed: bool) -> Any:
    """A property as it is written: required where it is, its type alone where that is all."""
    if needed:
        return required(schema if isinstance(schema, dict) else {"not": {}})
    if isinstance(schema, dict) and list(schema) == ["type"] and isinstance(schema["type"], str):
        return schema["type"]
    return schema


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _compiles(pattern: Any) -> bool:
    try:
        compile_pattern(pattern)
    except (PatternError, TypeError):
        return False
    return True

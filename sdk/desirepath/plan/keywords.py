"""The constraint keywords a plan may use, and how a property's YAML becomes plain JSON Schema.

Everything unknown is refused here, at load, by name, so that the compiler and the walker can
rely on a schema being well formed. `$ref` names one of the plan's `types` and is replaced by it;
a type may therefore not contain itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Final

from desirepath.plan import formats, regex
from desirepath.plan.model import PII, Place, Property
from desirepath.plan.reader import MAX_DEPTH, Node, fail

__all__ = [
    "ANNOTATIONS",
    "KEYWORDS",
    "MAX_COUNT",
    "OURS",
    "TYPES",
    "UNSUPPORTED",
    "Types",
    "check_name",
    "closest",
]

TYPES: Final = ("string", "number", "integer", "boolean", "object", "array", "null")

OURS: Final = ("required", "pii", "unit", "$ref")
"""What a plan adds to JSON Schema, or means differently (`required: true`, `$ref` to a type)."""

ANNOTATIONS: Final = (
    "$comment", "default", "deprecated", "description", "examples", "readOnly", "title",
    "writeOnly",
)  # fmt: skip
"""Keywords that constrain nothing, in JSON Schema as here."""

UNSUPPORTED: Final[Mapping[str, str]] = {
    "$anchor": "name the type under `types` and refer to it with `$ref: NAME`",
    "$defs": "put shared types under `types`",
    "$dynamicAnchor": "",
    "$dynamicRef": "",
    "$id": "",
    "$schema": "a plan is always JSON Schema 2020-12",
    "$vocabulary": "",
    "additionalItems": "2020-12 writes `items` after `prefixItems`",
    "contains": "",
    "contentEncoding": "",
    "contentMediaType": "",
    "contentSchema": "",
    "definitions": "put shared types under `types`",
    "dependencies": "2020-12 writes `dependentRequired`",
    "dependentSchemas": "write `if`/`then`",
    "id": "",
    "maxContains": "",
    "minContains": "",
    "nullable": "write `type: [string, 'null']`",
    "patternProperties": "name the properties, or use `additionalProperties`",
    "propertyNames": "",
    "unevaluatedItems": "use `items: false`",
    "unevaluatedProperties": "use `additionalProperties: false`",
}
"""What JSON Schema has and a plan has not, with what to write instead."""

MAX_SCHEMA_NODES: Final = 5_000
"""How many subschemas one property may have once its types are put in."""

MAX_NAME: Final = 200
"""How many characters a name may have."""

MAX_COUNT: Final = 2**53
"""The largest length or number of items that a plan may name."""

_DEPENDENT: Final = frozenset(
    ("properties", "additionalProperties", "items", "prefixItems", "if", "then", "else")
)


def closest(word: str, known: Any) -> str | None:
    """A hint naming the closest known word, None if nothing is close."""
    lower = {str(name).lower(): str(name) for name in known}
    match = get_close_matches(word.lower(), lower, n=1, cutoff=0.6)
    return f"did you mean {lower[match[0]]!r}?" if match else None


class Types:
    """The plan's named types, resolved on first use, and the reader of everything of that form."""

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        self._nodes = nodes
        self._resolved: dict[str, dict[str, Any]] = {}
        self._measures: dict[int, tuple[int, int, Any]] = {}
        self._open: list[str] = []
        self._depth = 0
        self.uses = dict.fromkeys(nodes, 0)

    def resolve_all(self) -> dict[str, dict[str, Any]]:
        """Every type, also those that nothing refers to."""
        return {name: self._resolve(name) for name in self._nodes}

    def property(self, name: str, node: Node, place: Place) -> Property:
        """One property, trait or context key."""
        required = False
        if isinstance(node.value, dict) and "required" in node.value:
            flag = node.value["required"]
            if isinstance(flag.value, bool):
                required = flag.value
        schema = dict(self.schema(node, is_property=True))
        self._bound(repr(name), schema, place)
        if _has_lost_pii(schema, is_property=True):
            fail(
                place,
                f"{name!r} has a personal value inside alternatives or items",
                "`pii` belongs on a property, of the event or of an object or list in it",
            )
        pii = schema.pop("pii", None)
        unit = schema.pop("unit", None)
        description = schema.pop("description", "")
        if required and pii == "drop":
            fail(place, f"{name!r} is required, but `pii: drop` removes it", "drop `required`")
        return Property(name, schema, required, pii, unit, description, place)

    def schema(self, node: Node, *, is_property: bool = False) -> dict[str, Any]:
        """The plain JSON Schema of a node; `required: true` is left to the caller."""
        value = node.value
        if isinstance(value, bool):
            return {} if value else {"not": {}}
        if isinstance(value, str):
            if value in TYPES:
                return {"type": value}
            if value in self._nodes:
                return self._use(value, node.place)
            hint = closest(value, [*TYPES, *self._nodes])
            fail(node.place, f"unknown type {value!r}", hint or f"types are {', '.join(TYPES)}")
        if value is None:
            fail(node.place, "no type", "write one, as in `price: number`; `true` allows anything")
        if not isinstance(value, dict):
            fail(node.place, "expected a type or a mapping of constraints")
        if self._depth > MAX_DEPTH:
            fail(node.place, f"types that nest deeper than {MAX_DEPTH} levels")
        self._depth += 1
        schema: dict[str, Any] = {}
        for key, child in value.items():
            self._keyword(schema, key, child, node.keys[key], is_property)
        if "$ref" in value:
            schema = self._merge(self._ref(value["$ref"]), schema)
        self._depth -= 1
        for name in schema.get("required", ()):
            if schema.get("properties", {}).get(name, {}).get("pii") == "drop":
                fail(node.place, f"{name!r} is required, but `pii: drop` removes it")
        return schema

    def _keyword(
        self, schema: dict[str, Any], key: str, child: Node, place: Place, is_property: bool
    ) -> None:
        if key == "$ref":
            return
        if key == "required" and isinstance(child.value, bool):
            if not is_property:
                fail(place, "`required: true` belongs on a property", "or give a list of names")
            return
        if key in ANNOTATIONS:
            if key in ("description", "title") and not isinstance(child.value, str):
                fail(child.place, f"`{key}` must be text")
            schema[key] = child.plain()
            return
        parse = KEYWORDS.get(key)
        if parse is None:
            if key in UNSUPPORTED:
                fail(place, f"the keyword `{key}` is not supported", UNSUPPORTED[key] or None)
            fail(place, f"unknown keyword {key!r}", closest(key, [*KEYWORDS, *OURS, *ANNOTATIONS]))
        if key == "pii" and not is_property:
            fail(place, "`pii` belongs on a property", "move it out of the alternatives or items")
        parsed = parse(self, child)
        if key == "properties":
            named = [
                name
                for name, sub in child.value.items()
                if isinstance(sub.value, dict)
                and "required" in sub.value
                and sub.value["required"].value is True
            ]
            if named:
                schema["required"] = [*schema.get("required", []), *named]
        if key == "required":
            parsed = [*schema.get("required", []), *parsed]
        schema[key] = parsed

    def _merge(self, base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
        """`$ref` beside other keywords: both hold."""
        ours = {key: own.pop(key) for key in [*own] if key in ("pii", "unit", *ANNOTATIONS)}
        clash = base.keys() & own.keys() or (base.keys() & _DEPENDENT and own.keys() & _DEPENDENT)
        if clash:
            inherited: dict[str, Any] = {
                key: base[key] for key in ("pii", "unit", "description") if key in base
            }
            plain = {key: value for key, value in base.items() if key not in inherited}
            return {**inherited, "allOf": [plain, own], **ours}
        return {**base, **own, **ours}

    def _ref(self, node: Node) -> dict[str, Any]:
        name = node.value
        if not isinstance(name, str) or name not in self._nodes:
            if isinstance(name, str) and name.startswith("#"):
                name = name.rpartition("/")[2]
                fail(node.place, "`$ref` takes the bare name of a type", f"write `$ref: {name}`")
            hint = closest(str(name), self._nodes) or "it must be one of the plan's `types`"
            fail(node.place, f"`$ref` to the unknown type {name!r}", hint)
        return self._use(name, node.place)

    def _use(self, name: str, place: Place) -> dict[str, Any]:
        if name in self._open:
            chain = " -> ".join([*self._open[self._open.index(name) :], name])
            fail(place, f"the type {name!r} contains itself ({chain})")
        if len(self._open) > MAX_DEPTH:
            fail(place, f"types that refer to each other more than {MAX_DEPTH} levels deep")
        self.uses[name] += 1
        return self._resolve(name)

    def _resolve(self, name: str) -> dict[str, Any]:
        if name not in self._resolved:
            node = self._nodes[name]
            if isinstance(node.value, dict) and "required" in node.value:
                flag = node.value["required"]
                if isinstance(flag.value, bool):
                    fail(flag.place, "`required: true` belongs on a property, not on a type")
            self._open.append(name)
            self._resolved[name] = self.schema(node, is_property=True)
            self._open.pop()
            self._bound(f"the type {name!r}", self._resolved[name], node.place)
        return self._resolved[name]

    def _bound(self, what: str, schema: dict[str, Any], place: Place) -> None:
        """Refuse what would unfold to more than anybody can have meant."""
        size, depth = self._measure(schema)
        if size > MAX_SCHEMA_NODES:
            fail(place, f"{what} unfolds to more than {MAX_SCHEMA_NODES:,} subschemas")
        if depth > MAX_DEPTH:
            fail(place, f"{what} nests deeper than {MAX_DEPTH} levels")

    def _measure(self, schema: Any) -> tuple[int, int]:
        """How many subschemas, shared ones counted each time, and how deep they nest.

        Memoised: types are measured when they are resolved, so it is linear in what was written.
        """
        if not isinstance(schema, dict):
            return 0, 0
        if id(schema) not in self._measures:
            size, depth = 1, 0
            for child in _children(schema):
                more, deeper = self._measure(child)
                size, depth = size + more, max(depth, deeper)
            # The schema is kept with its measures, so that the id stays its own.
            self._measures[id(schema)] = (size, depth + 1, schema)
        return self._measures[id(schema)][:2]


def _children(schema: Mapping[str, Any]) -> Iterator[Any]:
    for key, value in schema.items():
        if key == "properties":
            yield from value.values()
        elif key in _WITH_ONE:
            yield value
        elif key in _WITH_SEVERAL:
            yield from value


_WITH_ONE: Final = ("additionalProperties", "items", "not", "if", "then", "else")
_WITH_SEVERAL: Final = ("allOf", "anyOf", "oneOf", "prefixItems")


def _has_lost_pii(schema: Mapping[str, Any], *, is_property: bool, reached: bool = True) -> bool:
    """Whether a `pii` stands where no treatment would reach it."""
    if "pii" in schema and not (is_property and reached):
        return True
    named = schema.get("properties", {}).values()
    if any(_has_lost_pii(child, is_property=True, reached=reached) for child in named):
        return True
    items = [schema["items"]] if "items" in schema else []
    if any(_has_lost_pii(child, is_property=False, reached=reached) for child in items):
        return True
    others = {key: schema[key] for key in schema.keys() - {"properties", "items"}}
    return any(
        _has_lost_pii(child, is_property=False, reached=False) for child in _children(others)
    )


def _subschema(types: Types, node: Node) -> Any:
    return types.schema(node)


def _subschemas(types: Types, node: Node) -> Any:
    return [types.schema(child) for child in _list(node)]


def _properties(types: Types, node: Node) -> Any:
    if not isinstance(node.value, dict):
        fail(node.place, "expected a mapping of property names")
    for name in node.value:
        check_name(name, node.keys[name])
    return {name: types.schema(child, is_property=True) for name, child in node.value.items()}


def check_name(name: str, place: Place) -> None:
    """Refuse names that cannot be written as they are in JSON, SQL and a column's name."""
    if not name or len(name) > MAX_NAME or name != name.strip():
        fail(place, f"the name {name[:60]!r} is empty, longer than {MAX_NAME} or padded with space")
    if any(char < " " or char in '"\\\x7f' for char in name):
        fail(place, f"the name {name!r} has a quote, backslash or control character in it")


def _list(node: Node) -> list[Node]:
    if not isinstance(node.value, list) or not node.value:
        fail(node.place, "expected a list with at least one entry")
    return node.value


def _type_names(_: Types, node: Node) -> Any:
    several = isinstance(node.value, list)
    children = _list(node) if several else [node]
    for child in children:
        if child.value is None:
            fail(child.place, "`null` without quotes is no type's name", "write 'null'")
        if child.value not in TYPES:
            hint = closest(str(child.value), TYPES) or f"types are {', '.join(TYPES)}"
            fail(child.place, f"unknown type {child.value!r}", hint)
    names = [child.value for child in children]
    if len(set(names)) < len(names):
        fail(node.place, "a type is listed twice")
    return names if several else names[0]


def _enum(_: Types, node: Node) -> Any:
    return [child.plain() for child in _list(node)]


def _const(_: Types, node: Node) -> Any:
    return node.plain()


def _number(_: Types, node: Node) -> Any:
    if type(node.value) not in (int, float):
        fail(node.place, "expected a number")
    return node.value


def _multiple_of(types: Types, node: Node) -> Any:
    if _number(types, node) <= 0:
        fail(node.place, "`multipleOf` must be greater than 0")
    return node.value


def _count(types: Types, node: Node) -> Any:
    number = _number(types, node)
    if number < 0 or number != int(number):
        fail(node.place, "expected a whole number that is not negative")
    if number > MAX_COUNT:
        fail(node.place, "expected a whole number of at most 2^53")
    return int(number)


def _pattern(_: Types, node: Node) -> Any:
    if not isinstance(node.value, str):
        fail(node.place, "expected a regular expression as text", "quote it with single quotes")
    try:
        regex.compile_pattern(node.value)
    except regex.PatternError as error:
        fail(node.place, f"the pattern {node.value!r}: {error}")
    return node.value


def _format(_: Types, node: Node) -> Any:
    if node.value not in formats.FORMATS:
        hint = (
            closest(str(node.value), formats.FORMATS) or f"formats are {', '.join(formats.FORMATS)}"
        )
        fail(node.place, f"unknown format {node.value!r}", hint)
    return node.value


def _flag(_: Types, node: Node) -> Any:
    if not isinstance(node.value, bool):
        fail(node.place, "expected true or false")
    return node.value


def _names(_: Types, node: Node) -> Any:
    if not isinstance(node.value, list):
        fail(node.place, "expected a list of property names")
    for child in node.value:
        if not isinstance(child.value, str):
            fail(child.place, "expected a property name", "quote it")
    names = [child.value for child in node.value]
    if len(set(names)) < len(names):
        fail(node.place, "a name is listed twice")
    return names


def _required(types: Types, node: Node) -> Any:
    if not isinstance(node.value, list):
        fail(node.place, "`required` takes true, false or a list of property names")
    return _names(types, node)


def _dependent_required(types: Types, node: Node) -> Any:
    if not isinstance(node.value, dict):
        fail(node.place, "expected a mapping of names to lists of names")
    return {name: _names(types, child) for name, child in node.value.items()}


def _pii(_: Types, node: Node) -> Any:
    if node.value not in PII:
        fail(node.place, f"`pii` is one of {', '.join(PII)}", closest(str(node.value), PII))
    return node.value


def _unit(_: Types, node: Node) -> Any:
    if not isinstance(node.value, str) or not node.value:
        fail(node.place, "`unit` is text, as in `unit: EUR`")
    return node.value


KEYWORDS: Final[Mapping[str, Callable[[Types, Node], Any]]] = {
    "additionalProperties": _subschema,
    "allOf": _subschemas,
    "anyOf": _subschemas,
    "const": _const,
    "dependentRequired": _dependent_required,
    "else": _subschema,
    "enum": _enum,
    "exclusiveMaximum": _number,
    "exclusiveMinimum": _number,
    "format": _format,
    "if": _subschema,
    "items": _subschema,
    "maxItems": _count,
    "maxLength": _count,
    "maxProperties": _count,
    "maximum": _number,
    "minItems": _count,
    "minLength": _count,
    "minProperties": _count,
    "minimum": _number,
    "multipleOf": _multiple_of,
    "not": _subschema,
    "oneOf": _subschemas,
    "pattern": _pattern,
    "pii": _pii,
    "prefixItems": _subschemas,
    "properties": _properties,
    "required": _required,
    "then": _subschema,
    "type": _type_names,
    "uniqueItems": _flag,
    "unit": _unit,
}
"""Each keyword and the function that checks its value and makes it plain."""

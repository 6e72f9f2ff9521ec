"""The fast path: msgspec types generated from a plan, which check and decode in one pass in C.

What it accepts is valid, always; what it does not accept may still be valid, and the walker
decides. So each keyword is either put into the type exactly, or into a test that runs on the
decoded value, or the whole value is left to the walker's function. A payload passes when it
decodes, its tests hold, and encoding it again gives the very bytes that came: that equality
proves in one comparison that no key was there twice, no number changed and no escape was odd.

A struct encodes its fields in its own order, so the order in which an app writes its properties
is learned: a payload in another order costs one more pass and rebuilds the struct, a few times.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, Union, cast

import msgspec
from msgspec import UNSET, Meta, UnsetType

from desirepath.plan import pii
from desirepath.plan.formats import FORMATS
from desirepath.plan.keywords import ANNOTATIONS
from desirepath.plan.model import Property
from desirepath.plan.regex import compile_pattern
from desirepath.plan.violations import Violation
from desirepath.plan.walker import compile_schema
from desirepath.plan.wire import compact, decode_any, encode, fits, scan

__all__ = ["FAILURES", "FastPath"]

Test = Callable[[Any], object]

MAX_ORDERS: Final = 8
"""How often an event's struct is rebuilt in the order in which an app writes its properties."""

MAX_SEEN: Final = 256
"""How many texts that passed are remembered for one pattern or format; then it has too many."""

MAX_SEEN_LENGTH: Final = 64

_MAX_EXACT: Final = 2**53
_INT64: Final = (-(2**63), 2**63 - 1)
FAILURES: Final = (msgspec.MsgspecError, ValueError, RecursionError)
"""What decoding may raise; none of it leaves the validator."""


class _Type(msgspec.Struct, frozen=True):
    """A msgspec type and what it leaves to be tested; `texts` remember what passed the test."""

    type: Any
    test: Test | None = None
    texts: _Texts | None = None
    bounded: bool = True


class _Texts:
    """The test of a pattern or a format, and the short texts that have passed it."""

    __slots__ = ("are_many", "holds", "seen")

    def __init__(self, holds: Callable[[str], object]) -> None:
        self.holds = holds
        self.seen: set[Any] = set()
        self.are_many = False
        """These are ids and the like: looking them up costs more than it saves."""

    def test(self, value: str) -> bool:
        if not self.holds(value):
            return False
        if not self.are_many and len(value) <= MAX_SEEN_LENGTH:
            self.seen.add(value)
            if len(self.seen) > MAX_SEEN:
                self.are_many = True
                self.seen.clear()
        return True


class FastPath:
    """Accepts payloads of one event, or answers None for the walker to decide."""

    # Slots: of a large plan each byte that a check touches may have left the processor's caches.
    __slots__ = ("_key", "_orders", "_properties", "run")

    def __init__(
        self,
        properties: Mapping[str, Property],
        key: bytes | None,
        others: Callable[[Mapping[str, Any]], bool] | None = None,
    ) -> None:
        self._properties = properties
        self._key = key
        self._orders = 0
        self.run = self._build(None) if others is None else self._build_open(others)
        """The payload as it is to be kept, None if this path cannot tell that it is valid.

        Raises one of `FAILURES` where msgspec already sees that it is not.
        """

    def accept(self, raw: bytes) -> bytes | None:
        """As `run`, without exceptions."""
        try:
            return self.run(raw)
        except FAILURES:
            return None

    def _build(self, sample: Any) -> Callable[[bytes], bytes | None]:
        """The function that accepts payloads; its structs have the order of `sample`."""
        treated = {
            name: treatment
            for name, prop in self._properties.items()
            if (treatment := pii.Treatment.of(prop.schema, prop.pii)) is not None
        }
        types = {
            name: _of_property(prop, treated.get(name), _member(sample, name))
            for name, prop in self._properties.items()
        }
        required = [name for name, prop in self._properties.items() if prop.required]
        struct, attributes = _struct(types, required, sample)
        lines, scope = _tests(types, required, attributes)
        for name, one in types.items():
            if one.test is not None and one.texts is not None:
                scope[f"test_{attributes[name]}"] = self._learning(one.test, one.texts, sample)
        scope["decode"] = msgspec.json.Decoder(struct).decode
        scope["encode"] = encode
        scope["settle"] = self._settle
        # Another order, white space and all that is odd are for `settle` to decide.
        lines = ["s = decode(raw)", *lines, "out = encode(s)"]
        if not all(one.bounded for one in types.values()):
            scope["scan"] = scan
            lines.insert(0, "if scan(raw) is not None: return None")
        lines += ["if out != raw:", "    out = settle(raw, out)"]
        if treated:
            lines.append("    if out is None: return None")
            for name, treatment in treated.items():
                field = attributes[name]
                scope[f"treat_{field}"] = treatment.with_key(self._key)
                lines.append(f"if s.{field} is not UNSET: s.{field} = treat_{field}(s.{field})")
            lines.append("out = encode(s)")
        run: Callable[[bytes], bytes | None] = _function("raw", [*lines, "return out"], scope)
        return run

    def _build_open(
        self, others: Callable[[Mapping[str, Any]], bool]
    ) -> Callable[[bytes], bytes | None]:
        """The function of payloads whose other properties are nobody's concern.

        `others` tells of a decoded payload whether they may all stay as they are.
        """
        tests = [
            (name, _checked(prop.schema), prop.required) for name, prop in self._properties.items()
        ]

        def run(raw: bytes) -> bytes | None:
            if scan(raw) is not None:
                return None
            value = decode_any(raw)
            out = encode(value)
            if (out != raw and out != compact(raw)) or type(value) is not dict:
                return None
            if not fits(value) or not others(value):
                return None
            for name, test, required in tests:
                if name in value:
                    if not test(value[name]):
                        return None
                elif required:
                    return None
            return out

        return run

    def _learning(self, test: Test, texts: _Texts, sample: Any) -> Test:
        """The test of texts that were not seen, until they are too many to remember."""

        def learning(value: Any) -> object:
            if texts.are_many:  # from now on the pattern alone is asked
                self.run = self._build(sample)
            return test(value)

        return learning

    def _settle(self, raw: bytes, out: bytes) -> bytes | None:
        """What to keep of a payload that is valid but not written as its struct writes it."""
        text = compact(raw)
        if out == text:
            return out
        value = decode_any(text)
        if encode(value) != text:
            return None
        if self._orders < MAX_ORDERS:
            self._orders += 1
            self.run = self._build(_shape(value))
        return text


def _shape(value: Any) -> Any:
    """The names in a payload, in their order; nothing of anybody's values stays in memory."""
    if isinstance(value, dict):
        return {name: _shape(item) for name, item in value.items()}
    return [_shape(value[0])] if isinstance(value, list) and value else None


def _member(sample: Any, name: str) -> Any:
    return sample.get(name) if isinstance(sample, dict) else None


def _of_property(prop: Property, treatment: pii.Treatment | None, sample: Any) -> _Type:
    if prop.pii == "hash":
        # What the SDK has hashed already no longer has the property's own form.
        check = _checked(prop.schema)
        is_text = prop.schema.get("type") == "string"
        return _Type(
            str if is_text else Any,
            lambda value: pii.is_protected(value) or check(value),
            bounded=is_text,
        )
    if treatment is not None and treatment.is_nested:
        return _Type(Any, _checked(prop.schema), bounded=False)
    # What is personal is not to stay in memory, as the values that passed a pattern do.
    return _fallback(prop.schema) if prop.pii else _type(prop.schema, sample)


def _checked(schema: Mapping[str, Any]) -> Test:
    """The walker's answer as a test."""
    check = compile_schema(schema)

    def test(value: Any) -> bool:
        out: list[Violation] = []
        check(value, "", out)
        return not out and fits(value)

    return test


def _type(schema: Mapping[str, Any], sample: Any = None) -> _Type:
    keys = schema.keys() - _NO_CONSTRAINT
    kind = schema.get("type")
    if keys & {"enum", "const"}:
        return (_literal(schema) if keys <= _LITERALS else None) or _fallback(schema)
    if isinstance(kind, list):
        if len(kind) == 2 and "null" in kind:
            other = kind[kind[0] == "null"]
            if keys <= _BUILDERS[other][1]:  # none of which says anything about null
                return _or_null(_type({**schema, "type": other}, sample))
        return _fallback(schema)
    if kind not in _BUILDERS:
        return _fallback(schema)
    build, understood = _BUILDERS[kind]
    return (build(schema, sample) if keys <= understood else None) or _fallback(schema)


def _fallback(schema: Mapping[str, Any]) -> _Type:
    """The walker's function on the decoded value; a scalar's type keeps the depth bounded."""
    kind = schema.get("type")
    base = _SCALARS.get(kind) if isinstance(kind, str) else None
    return _Type(Any if base is None else base, _checked(schema), bounded=base is not None)


def _or_null(inner: _Type) -> _Type:
    test = inner.test
    return _Type(
        inner.type if inner.type is Any else Union[inner.type, None],  # noqa: UP007
        None if test is None else lambda value: value is None or test(value),
        inner.texts,
        inner.bounded,
    )


def _literal(schema: Mapping[str, Any]) -> _Type | None:
    """`enum` and `const` of strings, or of whole numbers; a 1.0 for a 1 is left to the walker."""
    allowed = [schema["const"]] if "const" in schema else schema["enum"]
    if "const" in schema and "enum" in schema:
        return None
    kinds = {type(value) for value in allowed}
    if kinds == {str} and schema.get("type", "string") == "string":
        return _Type(Literal[tuple(allowed)])
    is_number = schema.get("type", "number") in ("number", "integer")
    if kinds == {int} and is_number and all(_INT64[0] <= value <= _INT64[1] for value in allowed):
        return _Type(Literal[tuple(allowed)])
    return None


def _string(schema: Mapping[str, Any], _: Any) -> _Type:
    meta = {
        ours: schema[theirs]
        for ours, theirs in (("min_length", "minLength"), ("max_length", "maxLength"))
        if theirs in schema
    }
    base = Annotated[str, Meta(**meta)] if meta else str
    if "pattern" not in schema and "format" not in schema:
        return _Type(base)
    texts = _texts(schema.get("pattern"), schema.get("format"))
    return _Type(base, texts.holds) if texts.are_many else _Type(base, texts.test, texts)


@lru_cache(maxsize=4096)
def _texts(pattern: str | None, format_name: str | None) -> _Texts:
    if pattern is None:
        return _Texts(FORMATS[cast("str", format_name)])
    matches = compile_pattern(pattern).matcher
    if format_name is None:
        return _Texts(matches)
    has_form = FORMATS[format_name]
    return _Texts(lambda value: matches(value) and has_form(value))


def _integer_bounds(schema: Mapping[str, Any]) -> tuple[int, int]:
    low, high = _INT64
    if "minimum" in schema:
        low = max(low, math.ceil(schema["minimum"]))
    if "exclusiveMinimum" in schema:
        low = max(low, math.floor(schema["exclusiveMinimum"]) + 1)
    if "maximum" in schema:
        high = min(high, math.floor(schema["maximum"]))
    if "exclusiveMaximum" in schema:
        high = min(high, math.ceil(schema["exclusiveMaximum"]) - 1)
    return low, high


def _integer(schema: Mapping[str, Any], _: Any) -> _Type | None:
    low, high = _integer_bounds(schema)
    return _Type(Annotated[int, Meta(ge=low, le=high)]) if low <= high else None


def _number(schema: Mapping[str, Any], _: Any) -> _Type | None:
    low, high = _integer_bounds(schema)
    bounds: dict[str, Any] = {}
    for ours, theirs in _FLOAT_BOUNDS:
        if theirs in schema:
            if abs(schema[theirs]) > _MAX_EXACT:
                return None
            bounds[ours] = float(schema[theirs])
    if low > high or {"ge", "gt"} <= bounds.keys() or {"le", "lt"} <= bounds.keys():
        return None
    real = Annotated[float, Meta(**bounds)] if bounds else float
    return _Type(Union[Annotated[int, Meta(ge=low, le=high)], real])  # noqa: UP007


def _array(schema: Mapping[str, Any], sample: Any) -> _Type | None:
    if "items" not in schema or schema["items"] == {"not": {}}:
        return None
    first = sample[0] if isinstance(sample, list) and sample else None
    item = _type(schema["items"], first)
    meta = {
        ours: schema[theirs]
        for ours, theirs in (("min_length", "minItems"), ("max_length", "maxItems"))
        if theirs in schema
    }
    several = list[item.type]  # type: ignore[name-defined]
    test = item.test
    return _Type(
        Annotated[several, Meta(**meta)] if meta else several,
        None if test is None else lambda values: all(map(test, values)),
        bounded=item.bounded,
    )


def _object(schema: Mapping[str, Any], sample: Any) -> _Type | None:
    """A struct of the named properties. Others are left to the walker, if they are allowed."""
    named = schema.get("properties", {})
    required = schema.get("required", [])
    if not named or not named.keys() >= set(required):
        return None
    types = {name: _type(child, _member(sample, name)) for name, child in named.items()}
    struct, attributes = _struct(types, required, sample)
    lines, scope = _tests(types, required, attributes, fail="False")
    test = _function("s", [*lines, "return True"], scope) if lines else None
    return _Type(struct, test, bounded=all(one.bounded for one in types.values()))


def _struct(
    types: Mapping[str, _Type], required: Collection[str], sample: Any
) -> tuple[type[msgspec.Struct], dict[str, str]]:
    """The struct, and each property's attribute in it: names of ours, whatever theirs are."""
    first = [name for name in sample if name in types] if isinstance(sample, dict) else []
    order = [*first, *(name for name in types if name not in set(first))]
    attributes = {name: f"f{index}" for index, name in enumerate(order)}
    fields: list[Any] = []
    for name, field in attributes.items():
        kind = types[name].type
        if name in required:
            fields.append((field, kind))
        else:
            kind = kind if kind is Any else Union[kind, UnsetType]  # noqa: UP007
            fields.append((field, kind, UNSET))
    # Interned: the types of many events share the names, and with them what is in the caches.
    struct = msgspec.defstruct(
        "Payload",
        fields,
        kw_only=True,
        forbid_unknown_fields=True,
        omit_defaults=True,
        gc=False,
        rename={field: sys.intern(name) for name, field in attributes.items()},
    )
    return struct, attributes


def _tests(
    types: Mapping[str, _Type],
    required: Collection[str],
    attributes: Mapping[str, str],
    fail: str = "None",
) -> tuple[list[str], dict[str, Any]]:
    """The lines that test a struct's fields where their types do not say it all."""
    lines: list[str] = []
    scope: dict[str, Any] = {"UNSET": UNSET}
    for name, one in types.items():
        if one.test is None:
            continue
        field = attributes[name]
        scope[f"test_{field}"] = one.test
        doubts = [] if name in required else ["v is not UNSET"]
        if one.texts is not None:
            scope[f"seen_{field}"] = one.texts.seen
            doubts.insert(0, f"v not in seen_{field}")
        doubts.append(f"not test_{field}(v)")
        lines += [f"v = s.{field}", f"if {' and '.join(doubts)}: return {fail}"]
    return lines, scope


def _function(argument: str, lines: list[str], scope: dict[str, Any]) -> Any:
    # Written out and compiled, as dataclasses do: a loop over closures takes three times as long.
    # Nothing of the plan is in the text, only the names that `_struct` made.
    body = "\n".join(f"    {line}" for line in lines)
    # Names as defaults lie side by side and are found without a look-up; one call, many names.
    names = "".join(f", {name}={name}" for name in scope)
    exec(f"def made({argument}{names}):\n{body}", scope)  # noqa: S102
    return scope["made"]


_NO_CONSTRAINT: Final = frozenset((*ANNOTATIONS, "pii", "unit"))
_LITERALS: Final = frozenset(("enum", "const", "type"))
_FLOAT_BOUNDS: Final = (
    ("ge", "minimum"),
    ("gt", "exclusiveMinimum"),
    ("le", "maximum"),
    ("lt", "exclusiveMaximum"),
)
_BOUNDS: Final = frozenset(theirs for _, theirs in _FLOAT_BOUNDS)
_INTEGER: Final = Annotated[int, Meta(ge=_INT64[0], le=_INT64[1])]
_SCALARS: Final[Mapping[str, Any]] = {
    "boolean": bool,
    "integer": _INTEGER,
    "null": None,
    "number": Union[_INTEGER, float],  # noqa: UP007
    "string": str,
}
_BUILDERS: Final[
    Mapping[Any, tuple[Callable[[Mapping[str, Any], Any], _Type | None], frozenset[str]]]
] = {
    "array": (_array, frozenset(("type", "items", "minItems", "maxItems"))),
    "boolean": (lambda schema, _: _Type(bool), frozenset(("type",))),
    "integer": (_integer, _BOUNDS | {"type"}),
    "null": (lambda schema, _: _Type(None), frozenset(("type",))),
    "number": (_number, _BOUNDS | {"type"}),
    "object": (_object, frozenset(("type", "properties", "required", "additionalProperties"))),
    "string": (_string, frozenset(("type", "minLength", "maxLength", "pattern", "format"))),
}
"""Each type's builder, and the keywords that it understands; others are for the fallback."""

"""How the values that one schema admits differ from those of another.

Keyword by keyword, at every depth. The answer is sound: whenever some value is admitted by the
old schema and not by the new one, a difference says so (`NARROWER` or `UNCLEAR`), and the same
for values newly admitted. Where deciding would need a theorem prover (patterns, conditions,
overlapping alternatives) the difference is `UNCLEAR`, never silence. What only describes
(descriptions, examples) is no difference of values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from fractions import Fraction
from typing import Any, Final

import msgspec

from desirepath.plan.flat import flat

__all__ = ["Delta", "Effect", "compare", "show"]

Schema = Mapping[str, Any]


class Effect(Enum):
    """What a difference does to the set of admitted values."""

    NARROWER = "narrower"
    WIDER = "wider"
    CHANGED = "changed"
    """Some values are refused now, and others admitted."""
    UNCLEAR = "unclear"


class Delta(msgspec.Struct, frozen=True):
    """One difference.

    Parameters
    ----------
    pointer
        Where in the value: a JSON pointer, with `*` for every item of an array or every other
        key of an object. Empty: the value itself.
    keyword
        The keyword that differs.
    """

    pointer: str
    keyword: str
    effect: Effect
    text: str


_ATOMS: Final = frozenset(("string", "boolean", "null", "object", "array", "integer", "fraction"))
_BOUNDS: Final = (
    ("minimum", "exclusiveMinimum", 1, "the smallest value"),
    ("maximum", "exclusiveMaximum", -1, "the largest value"),
)
_COUNTS: Final = (
    ("minLength", 1, "string"),
    ("maxLength", -1, "string"),
    ("minItems", 1, "array"),
    ("maxItems", -1, "array"),
    ("minProperties", 1, "object"),
    ("maxProperties", -1, "object"),
)
_OPAQUE: Final = ("pattern", "format")
_NEVER: Final[Schema] = {"not": {}}


def compare(old: Schema, new: Schema, pointer: str = "") -> list[Delta]:
    """Every difference between two plain JSON Schemas (`$ref`s resolved)."""
    return list(_compare(old, new, pointer))


def show(value: Any) -> str:
    """A JSON value in a message, cut where it is long."""
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 80 else text[:77] + "..."


def _compare(old: Schema, new: Schema, at: str) -> Iterator[Delta]:
    if _same(old, new):
        return
    old, new = flat(old), flat(new)
    if _never(old) or _never(new):
        if _never(old) != _never(new):
            effect = Effect.WIDER if _never(old) else Effect.NARROWER
            yield Delta(at, "not", effect, "allowed now" if _never(old) else "no longer allowed")
        return
    for part in _PARTS:
        yield from part(old, new, at)


def _type(old: Schema, new: Schema, at: str) -> Iterator[Delta]:
    before, after = _atoms(old), _atoms(new)
    effect = _sets(before, after)
    if effect is not None:
        text = f"type {_type_text(old)} -> {_type_text(new)}"
        yield Delta(at, "type", effect, text)


def _values(old: Schema, new: Schema, at: str) -> Iterator[Delta]:
    before, after = _enum(old), _enum(new)
    if before is None and after is None:
        return
    if before is None or after is None:
        effect = Effect.WIDER if after is None else Effect.NARROWER
        values = before if after is None else after
        text = "any value, not only" if after is None else "only"
        yield Delta(at, "enum", effect, f"{text} {', '.join(map(show, (values or {}).values()))}")
        return
    gone = [before[key] for key in before if key not in after]
    added = [after[key] for key in after if key not in before]
    if gone or added:
        effect = Effect.CHANGED if gone and added else Effect.NARROWER if gone else Effect.WIDER
        texts = []
        if gone:
            texts.append(f"no longer {', '.join(map(show, gone))}")
        if added:
            texts.append(f"now also {', '.join(map(show, added))}")
        yield Delta(at, "enum", effect, "; ".join(texts))


def _bounds(old: Schema, new: Schema, at: str) -> Iterator[Delta]:
    if not _concerns(old, new, "integer", "fraction"):
        return
    for inclusive, exclusive, sign, what in _BOUNDS:
        before, after = (_bound(s, inclusive, exclusive, sign) for s in (old, new))
        if before != after:
            effect = Effect.NARROWER if after > before else Effect.WIDER
            texts = (_bound_text(bound, sign) for bound in (before, after))
            yield Delta(at, inclusive, effect, f"{what}: {' -> '.join(texts)}")


def _counts(old: Schema, new: Schema, at: str) -> Iterator[Delta]:
    for keyword, sign, kind in _COUNTS:
        default = 0 if sign > 0 else math.inf
        before, after = old.get(keyword, default), new.get(keyword, default)
        if before != after and _concerns(old, new, kind):
            effect = Effect.NARROWER if sign * (after - before) > 0 else Effect.WIDER
            texts = ("none" if keyword not in s else str(s[keyword]) for s in (old, new))
            yield Delta(at, keyword, effect, f"{keyword}: {' -> '.join(texts)}")


def _multiples(old: Schema, new: Schema, at: str) -> Iterator[Delta]:
    before, after = old.get("multipleOf"), new.get("multipleOf")
    if before == after or not _concerns(old, new, "integer", "fraction"):
        return
    if before is None or after is None:
        effect = Effect.NARROWER if before is None else Effect.WIDER
    else:
        ratio = Fraction(str(after)) / Fraction(str(before))
        if ratio.denominator == 1:
            effect = Effect.NARROWER
        else:
            effect = Effect.WIDER if ratio.numerator == 1 else Effect.CHANGED
    yield Delta(at, "multipleOf", effect, f"multipleOf: {show(before)} -> {show(after)}")


def _opaque(old: Schema, new: Schema, at: str) -> Iterator[Delta]:
    if not _concerns(old, new, "string"):
        return
    for keyword in _OPAQUE:
        before, after = old.get(keyword), new.get(keyword)
        if before != after:
            effect = Effect.UNCLEAR
            if before is None or after is None:
                effect = Effect.NARROWER if before is None else Effect.WIDER
            texts = ("none" if value is None else str(value) for value in (before, after))
            yield Delta(at, keyword, effect, f"{keyword}: {' -> '.join(texts)}")


def _unique(old: Schema, new: Schema, at: str) -> Iterator[Delta]:
    before, after = bool(old.get("uniqueItems")), bool(new.get("uniqueItems"))
    if before != after and _concerns(old, new, "array"):
        effect = Effect.NARROWER if after else Effect.WIDER
        yield Delta(at, "uniqueItems", effect, "items must differ" if after else "items may repeat")


def _required(old: Schema, new: Schema, at: str) -> Iterator[Delta]:
    if not _concerns(old, new, "object"):
        return
    before, after = set(old.get("required", ())), set(new.get("required", ()))
    for name in sorted(after - before):
        yield Delta(_child(at, name), "required", Effect.NARROWER, "required now")
    for name in sorted(before - after):
        yield Delta(_child(at, name), "required", Effect.WIDER, "no longer required")
    before_if, after_if = old.get("dependentRequired", {}), new.get("dependentRequired", {})
    pairs = [{(k, v) for k, vs in each.items() for v in vs} for each in (before_if, after_if)]
    for cause, name in sorted(pairs[1] - pairs[0]):
        text = f"required where {cause!r} is there"
        yield Delta(_child(at, name), "dependentRequired", Effect.NARROWER, text)
    for cause, name in sorted(pairs[0] - pairs[1]):
        text = f"no longer required where {cause!r} is there"
        yield Delta(_child(at, name), "dependentRequired", Effect.WIDER, text)


def _properties(old: Schema, new: Schema, at: str) -> Iterator[Delta]:
    if not _concerns(old, new, "object"):
        return
    before, after = old.get("properties", {}), new.get("properties", {})
    rest_before, rest_after = _rest(old, "additionalProperties"), _rest(new, "additionalProperties")
    for name in [*before, *(name for name in after if name not in before)]:
        deltas = _compare(
            _plain(before.get(name, rest_before)),
            _plain(after.get(name, rest_after)),
            _child(at, name),
        )
        for delta in deltas:
            if name not in before and delta.effect is Effect.NARROWER and not _never(rest_before):
                # Free before, declared now: only who sent it in another form is refused.
                yield msgspec.structs.replace(delta, effect=Effect.UNCLEAR)
            else:
                yield delta
    yield from _compare(rest_before, rest_after, f"{at}/*")


def _items(old: Schema, new: Schema, at: str) -> Iterator[Delta]:
    if not _concerns(old, new, "array"):
        return
    before, after = old.get("prefixItems", ()), new.get("prefixItems", ())
    rest_before, rest_after = _rest(old, "items"), _rest(new, "items")
    for index in range(max(len(before), len(after))):
        yield from _compare(
            _plain(before[index]) if index < len(before) else rest_before,
            _plain(after[index]) if index < len(after) else rest_after,
            f"{at}/{index}",
        )
    yield from _compare(rest_before, rest_after, f"{at}/*")


def _alternatives(old: Schema, new: Schema, at: str) -> Iterator[Delta]:
    for keyword in ("anyOf", "oneOf", "allOf"):
        before, after = old.get(keyword), new.get(keyword)
        if _same(before, after):
            continue
        text = f"`{keyword}` changed"
        if before is None or after is None:
            effect = Effect.NARROWER if before is None else Effect.WIDER
            yield Delta(at, keyword, effect, f"`{keyword}` {'added' if before is None else 'gone'}")
            continue
        gone = [branch for branch in before if not any(_same(branch, one) for one in after)]
        added = [branch for branch in after if not any(_same(branch, one) for one in before)]
        if keyword == "allOf" and len(before) == len(after):
            for left, right in zip(before, after, strict=True):
                yield from _compare(_plain(left), _plain(right), at)
        elif keyword == "oneOf" or (gone and added):
            yield Delta(at, keyword, Effect.UNCLEAR, text)
        elif gone or added:
            more = bool(added) == (keyword == "anyOf")
            count = len(gone or added)
            verb = "added" if added else "gone"
            text = f"`{keyword}`: {count} alternative{'s' * (count > 1)} {verb}"
            yield Delta(at, keyword, Effect.WIDER if more else Effect.NARROWER, text)


def _conditions(old: Schema, new: Schema, at: str) -> Iterator[Delta]:
    before = {key: old[key] for key in ("if", "then", "else") if key in old}
    after = {key: new[key] for key in ("if", "then", "else") if key in new}
    for keyword, was, now in (
        ("not", old.get("not"), new.get("not")),
        ("if", before or None, after or None),
    ):
        if _same(was, now):
            continue
        effect = Effect.UNCLEAR
        if was is None or now is None:
            effect = Effect.NARROWER if was is None else Effect.WIDER
        verb = "added" if was is None else "gone" if now is None else "changed"
        yield Delta(at, keyword, effect, f"`{keyword}` {verb}")


_Part = Callable[[Schema, Schema, str], Iterator[Delta]]
_PARTS: Final[tuple[_Part, ...]] = (
    _type,
    _values,
    _bounds,
    _counts,
    _multiples,
    _opaque,
    _unique,
    _required,
    _properties,
    _items,
    _alternatives,
    _conditions,
)


def _plain(schema: Any) -> Schema:
    if schema is True:
        return {}
    return _NEVER if schema is False else schema


def _rest(schema: Schema, keyword: str) -> Schema:
    return _plain(schema.get(keyword, True))


def _never(schema: Schema) -> bool:
    return schema.get("not") == {} or schema.get("not") is True


def _atoms(schema: Schema) -> frozenset[str]:
    """The types a schema admits, with `number` split into integers and fractions."""
    types = schema.get("type")
    if types is None:
        return _ATOMS
    names = {types} if isinstance(types, str) else set(types)
    if "number" in names:
        names = names - {"number"} | {"integer", "fraction"}
    return frozenset(names)


def _concerns(old: Schema, new: Schema, *kinds: str) -> bool:
    """Whether a keyword about these types can matter: both schemas admit one of them."""
    return bool(_atoms(old) & _atoms(new) & set(kinds))


def _type_text(schema: Schema) -> str:
    types = schema.get("type", "anything")
    return types if isinstance(types, str) else " or ".join(types)


def _enum(schema: Schema) -> dict[bytes, Any] | None:
    """The values of `enum` and `const`, by what makes them equal in JSON."""
    lists: list[Sequence[Any]] = []
    if "enum" in schema:
        lists.append(schema["enum"])
    if "const" in schema:
        lists.append([schema["const"]])
    if not lists:
        return None
    found = [{_identity(value): value for value in values} for values in lists]
    return {key: value for key, value in found[0].items() if all(key in each for each in found)}


def _same(left: Any, right: Any) -> bool:
    # Python's == alone would take `const: 1` and `const: true` for the same.
    return bool(left == right) and _identity(left) == _identity(right)


def _identity(value: Any) -> bytes:
    return msgspec.json.encode(_canonical(value), order="sorted")


def _canonical(value: Any) -> Any:
    """1.0 is 1 in JSON Schema; true is not."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {key: _canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    return value


def _bound(schema: Schema, inclusive: str, exclusive: str, sign: int) -> tuple[Any, bool]:
    """A bound that compares as larger the stricter it is."""
    bounds = [
        (sign * schema[key], key == exclusive) for key in (inclusive, exclusive) if key in schema
    ]
    return max(bounds, default=(-math.inf, False))


def _bound_text(bound: tuple[Any, bool], sign: int) -> str:
    value, exclusive = bound
    if value == -math.inf:
        return "none"
    return f"{'beyond ' if exclusive else ''}{show(sign * value)}"


def _sets(before: frozenset[str], after: frozenset[str]) -> Effect | None:
    if before == after:
        return None
    if before - after and after - before:
        return Effect.CHANGED
    return Effect.NARROWER if before - after else Effect.WIDER


def _child(at: str, name: str) -> str:
    return f"{at}/{name.replace('~', '~0').replace('/', '~1')}"

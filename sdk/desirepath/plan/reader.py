"""Strict YAML, with the place of every value.

It reads the part of YAML that all readers agree on, as JSON values, and refuses by name what
differs between YAML 1.1 and 1.2 or surprises people: aliases and anchors, tags, merge keys,
duplicate keys, tabs as indentation, byte order marks, several documents, unquoted `no`, `12:30`,
`0123` or `1_000`. It is iterative and bounded in size and depth, so no file can exhaust it.
"""

from __future__ import annotations

import re
import sys
from decimal import Decimal
from typing import Any, Final, NoReturn

import msgspec
import yaml

from desirepath.errors import PlanError
from desirepath.plan.model import Place

__all__ = ["MAX_BYTES", "MAX_DEPTH", "Node", "fail", "read"]

MAX_BYTES: Final = 1024 * 1024
MAX_DEPTH: Final = 64

# libyaml is ten times faster than PyYAML's own parser; both give the same events.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_OTHER_BOOL = re.compile(r"yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF")
_SEXAGESIMAL = re.compile(r"[-+]?[0-9]+(?::[0-5]?[0-9])+(?:\.[0-9]*)?")
_OTHER_NUMBER = re.compile(
    r"[-+]?(?:0[0-9_]+|0[xob][0-9a-fA-F_]+|[0-9][0-9_]*_[0-9_]*(?:\.[0-9_]*)?|0[0-9]+\.[0-9]*)"
)
_CONSTANTS: Final = {
    "true": True, "True": True, "TRUE": True,
    "false": False, "False": False, "FALSE": False,
    "null": None, "Null": None, "NULL": None, "~": None, "": None,
}  # fmt: skip


class Node(msgspec.Struct):
    """One value and where it starts; `keys` has the place of every key of a mapping."""

    value: Any
    place: Place
    keys: dict[str, Place] = {}

    def plain(self) -> Any:
        """The value without its places."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value


def fail(place: Place, message: str, hint: str | None = None) -> NoReturn:
    """Raise the `PlanError` of this place."""
    raise PlanError(message, path=place.path, line=place.line, column=place.column, hint=hint)


def read(text: str | bytes, path: str) -> Node:
    """Read one document.

    Raises
    ------
    PlanError
        At the first thing that is not strict YAML.
    """
    document = _decode(text, path)
    loader = _Loader(document)
    try:
        return _compose(loader, path)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(path, mark.line + 1, mark.column + 1) if mark else Place(path, 1, 1)
        lines = document.splitlines()
        line = lines[place.line - 1] if place.line <= len(lines) else ""
        if "\t" in line[: len(line) - len(line.lstrip())] or "\\t" in str(error.problem):
            fail(place, "a tab in the indentation", "YAML is indented with spaces only")
        fail(place, f"not valid YAML: {error.problem}", error.context)
    finally:
        loader.dispose()


def _decode(text: str | bytes, path: str) -> str:
    start = Place(path, 1, 1)
    if isinstance(text, str):
        try:
            text = text.encode()
        except UnicodeEncodeError as error:
            fail(start, f"a lone surrogate in the text: {error}")
    if len(text) > MAX_BYTES:
        fail(start, f"larger than 1 MiB ({len(text):,} bytes)", "split it up with `include`")
    if text.startswith(b"\xef\xbb\xbf"):
        fail(start, "a byte order mark", "save the file as UTF-8 without BOM")
    if text.startswith((b"\xff\xfe", b"\xfe\xff")):
        fail(start, "UTF-16", "save the file as UTF-8")
    try:
        decoded = text.decode()
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        column = error.start - text.rfind(b"\n", 0, error.start)
        fail(Place(path, line, column), "not UTF-8")
    # Both parsers refuse these, but without telling where.
    match = yaml.reader.Reader.NON_PRINTABLE.search(decoded)
    if match or "\ufeff" in decoded:
        at = match.start() if match else decoded.index("\ufeff")
        place = Place(path, decoded.count("\n", 0, at) + 1, at - decoded.rfind("\n", 0, at))
        fail(place, f"the character U+{ord(decoded[at]):04X} may not stand in a plan")
    return decoded


def _compose(loader: Any, path: str) -> Node:
    root: Node | None = None
    stack: list[tuple[Node, list[Any]]] = []  # the open collections; [the pending key, its place]
    documents = 0
    while True:
        event = loader.get_event()
        if event is None or isinstance(event, yaml.StreamEndEvent):
            break
        place = Place(path, event.start_mark.line + 1, event.start_mark.column + 1)
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                fail(place, "a second YAML document", "one file holds one plan")
        if isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            stack.pop()
        if not isinstance(event, yaml.NodeEvent):
            continue
        node = _node(event, place)
        if stack:
            _attach(stack[-1], node, event)
        else:
            root = node
        if isinstance(event, yaml.CollectionStartEvent):
            if len(stack) >= MAX_DEPTH:
                fail(place, f"nested deeper than {MAX_DEPTH} levels")
            stack.append((node, []))
    if root is None:
        fail(Place(path, 1, 1), "the file is empty", "a plan starts with `plan: NAME`")
    return root


def _node(event: Any, place: Place) -> Node:
    if isinstance(event, yaml.AliasEvent):
        fail(place, f"an alias (*{event.anchor})", "aliases are not allowed; name a shared type")
    if event.anchor is not None:
        fail(place, f"an anchor (&{event.anchor})", "anchors are not allowed; name a shared type")
    if event.tag is not None and event.tag != "!":
        fail(place, f"a tag ({event.tag})", "tags are not allowed")
    if isinstance(event, yaml.MappingStartEvent):
        return Node({}, place, {})
    if isinstance(event, yaml.SequenceStartEvent):
        return Node([], place)
    return Node(_scalar(event, place), place)


def _attach(parent: tuple[Node, list[Any]], node: Node, event: Any) -> None:
    holder, pending = parent
    if isinstance(holder.value, list):
        holder.value.append(node)
    elif pending:
        key, key_place = pending
        pending.clear()
        holder.value[key] = node
        holder.keys[key] = key_place
    else:
        key = node.value
        if isinstance(event, yaml.CollectionStartEvent):
            fail(node.place, "a key must be a plain name, not a list or mapping")
        if not isinstance(key, str):
            fail(node.place, f"the key `{event.value}` is not text", f"write '{event.value}'")
        if key == "<<":
            fail(node.place, "a merge key (<<)", "merge keys are not allowed; name a shared type")
        if key in holder.value:
            fail(
                node.place,
                f"the key {key!r} is there twice",
                f"first on line {holder.keys[key].line}",
            )
        # The same names come in many events: one object each keeps a large plan in the caches.
        pending.extend((sys.intern(key), node.place))


def _scalar(event: Any, place: Place) -> Any:
    text: str = event.value
    if not event.implicit[0]:  # quoted or a block: text, whatever it looks like
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                fail(place, "a lone surrogate in a string")
        return text
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    first = text[0]
    if first in "+-.0123456789":
        return _number(text, place)
    if first in "yYnNoO" and _OTHER_BOOL.fullmatch(text):
        fail(place, f"unquoted `{text}`, which many YAML readers take for a boolean",
             f"write '{text}' for the text, or true or false")  # fmt: skip
    return text


def _number(text: str, place: Place) -> Any:
    if _INT.fullmatch(text):
        value = int(text) if len(text) < 30 else 1 << 64
        if not -(1 << 63) <= value < 1 << 64:
            fail(place, f"the integer {text[:40]} does not fit 64 bits")
        return value
    if _FLOAT.fullmatch(text):
        number = float(text)
        try:
            is_exact = Decimal(repr(number)) == Decimal(text)
        except ArithmeticError:  # an exponent beyond what even a decimal can hold
            is_exact = False
        if not is_exact:
            fail(place, f"{text[:60]} has more digits than a double can hold")
        return number
    if _SEXAGESIMAL.fullmatch(text):
        fail(place, f"unquoted `{text}`, which some YAML readers take for a number of base 60",
             f"write '{text}'")  # fmt: skip
    if _OTHER_NUMBER.fullmatch(text):
        fail(place, f"unquoted `{text}`, which YAML readers take for different numbers",
             f"write '{text}' for the text, or the number in plain decimal digits")  # fmt: skip
    if text.lstrip("+-").lower() in (".inf", ".nan"):
        fail(place, f"`{text}` is not a JSON number")
    return text

"""From a plan's file to a `Plan`, or to one error that says where and what to write instead.

Nothing is guessed and nothing ignored: an unknown key, a name used twice, a reference to nothing
is an error with file, line and column. `include` reads other files of the plan's own folder
only; `parse` reads none.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from desirepath.errors import PlanError
from desirepath.plan import sections
from desirepath.plan.keywords import TYPES, Types, check_name, closest
from desirepath.plan.model import (
    POLICIES,
    STATUSES,
    Defaults,
    Event,
    Place,
    Plan,
    Property,
    Section,
)
from desirepath.plan.reader import Node, fail, read

__all__ = ["MAX_FILES", "load", "parse"]

MAX_FILES: Final = 100
"""How many files one plan may be made of."""

_HEAD: Final = ("plan", "version", "description", "owner", "defaults")
_SECTIONS: Final = (
    "types", "context", "traits", "groups", "events",
    "journeys", "segments", "metrics", "models", "experiments",
)  # fmt: skip
_EVENT_KEYS: Final = (
    "description", "owner", "status", "properties", "on_violation", "unplanned_properties",
)  # fmt: skip
_VERSION = re.compile(r"(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,99}")


def load(path: str | Path) -> Plan:
    """Read a plan file and what it includes; see `Plan.load`."""
    path = Path(path)
    node, text = _read_file(path)
    files = _Files(path)
    files.include(node, path)
    return _plan(node, str(path), text if files.count == 1 else _as_document(node))


def parse(text: str | bytes, path: str = "<plan>") -> Plan:
    """Read a plan's text; see `Plan.parse`."""
    node = read(text, path)
    if isinstance(node.value, dict) and "include" in node.value:
        fail(node.keys["include"], "a plan given as text cannot include files", "load the file")
    return _plan(node, path, text.encode() if isinstance(text, str) else bytes(text))


def _read_file(path: Path) -> tuple[Node, bytes]:
    try:
        text = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PlanError(
            f"cannot be read: {reason}", path=str(path), hint="check the path"
        ) from None
    return read(text, str(path)), text


class _Files:
    """The files of one plan; merges the included ones into the root's node."""

    def __init__(self, root: Path) -> None:
        self._folder = root.resolve().parent
        self._seen = {root.resolve()}

    @property
    def count(self) -> int:
        return len(self._seen)

    def include(self, root: Node, path: Path) -> None:
        """Merge everything that `root` includes, also what is included there."""
        todo = [(root, path)]
        while todo:
            node, here = todo.pop(0)
            if not isinstance(node.value, dict) or "include" not in node.value:
                continue
            wanted = node.value.pop("include")
            entries = wanted.value if isinstance(wanted.value, list) else [wanted]
            for entry in entries:
                file = self._file(entry, here)
                part, _ = _read_file(file)
                self._merge(root, part)
                todo.append((part, file))

    def _file(self, entry: Node, here: Path) -> Path:
        if not isinstance(entry.value, str) or not entry.value:
            fail(entry.place, "expected the path of a file")
        file = here.parent / entry.value
        try:
            real = file.resolve()
            is_there = real.is_file()
        except (OSError, ValueError, RuntimeError) as error:
            # Too long a name, a null character, links in a circle.
            reason = getattr(error, "strerror", None) or error
            fail(entry.place, f"{entry.value[:60]!r} is no path of a file: {reason}")
        if not real.is_relative_to(self._folder) or Path(entry.value).is_absolute():
            fail(entry.place, f"{entry.value!r} is outside the plan's folder")
        if real in self._seen:
            fail(entry.place, f"{entry.value!r} is included twice")
        if not is_there:
            fail(entry.place, f"there is no file {entry.value!r}", "paths start at this file")
        if len(self._seen) >= MAX_FILES:
            fail(entry.place, f"more than {MAX_FILES} files")
        self._seen.add(real)
        return file

    def _merge(self, root: Node, part: Node) -> None:
        if not isinstance(part.value, dict):
            fail(part.place, "expected sections, such as `events:`")
        for key, node in part.value.items():
            if key == "include":
                continue
            if key in _HEAD:
                fail(part.keys[key], f"`{key}` belongs in the plan's first file only")
            mine = root.value.get(key)
            if mine is None:
                root.value[key], root.keys[key] = node, part.keys[key]
                continue
            if not isinstance(mine.value, dict) or not isinstance(node.value, dict):
                fail(node.place, f"expected a mapping under `{key}`")
            for name, child in node.value.items():
                if name in mine.value:
                    first = mine.keys[name]
                    fail(node.keys[name], f"{name!r} is there twice", f"first at {first}")
                mine.value[name], mine.keys[name] = child, node.keys[name]


def _as_document(node: Node) -> bytes:
    """JSON that is also YAML: what YAML does not print is escaped."""
    text = json.dumps(node.plain(), ensure_ascii=False, indent=1)
    return re.sub(
        "[^\t\n\r -~\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]",
        lambda match: f"\\u{ord(match[0]):04x}",
        text,
    ).encode()


def _plan(root: Node, path: str, source: bytes) -> Plan:
    if not isinstance(root.value, dict):
        fail(root.place, "expected a plan", "a plan starts with `plan: NAME`")
    known = (*_HEAD, "include", *_SECTIONS)
    _known_keys(root, known, "key of a plan")
    name, version = _head(root)
    defaults = _defaults(root.value.get("defaults"))
    types = Types(_mapping(root, "types"))
    for type_name in _mapping(root, "types"):
        place = root.value["types"].keys[type_name]
        if not _NAME.fullmatch(type_name):
            fail(place, f"the type's name {type_name!r} must be letters, digits, _ and -")
        if type_name in TYPES:
            fail(place, f"the type's name {type_name!r} is taken", "JSON Schema has a type of it")
    resolved = types.resolve_all()
    events_node = root.value.get("events")
    events = {
        name: _event(types, name, node, events_node.keys[name], defaults)  # type: ignore[union-attr]
        for name, node in _mapping(root, "events").items()
    }
    plan = Plan(
        name=name,
        version=version,
        description=_text(root, "description"),
        owner=_text(root, "owner"),
        defaults=defaults,
        types=resolved,
        type_uses=types.uses,
        events=events,
        context=_properties(types, root.value.get("context")),
        traits=_properties(types, root.value.get("traits")),
        groups=_properties(types, root.value.get("groups")),
        journeys=_sections(root, "journeys"),
        segments=_sections(root, "segments"),
        metrics=_sections(root, "metrics"),
        models=_sections(root, "models"),
        experiments=_sections(root, "experiments"),
        path=path,
        source=source,
        digest=hashlib.sha256(source).hexdigest(),
    )
    sections.check(plan, root)
    return plan


def _head(root: Node) -> tuple[str, str]:
    if "plan" not in root.value:
        fail(root.place, "`plan` is missing", "a plan starts with `plan: NAME`")
    name = root.value["plan"]
    if not isinstance(name.value, str) or not _NAME.fullmatch(name.value):
        fail(name.place, "the plan's name must be letters, digits, _ and -, a letter first")
    version = root.value.get("version")
    if version is None:
        fail(root.keys["plan"], "`version` is missing", "write `version: 0.1.0`")
    if not isinstance(version.value, str) or not _VERSION.fullmatch(version.value):
        fail(version.place, f"the version {version.value!r} is not major.minor.patch",
             "write it as in `version: 1.2.0`")  # fmt: skip
    return name.value, version.value


def _defaults(node: Node | None) -> Defaults:
    if node is None:
        return Defaults()
    _is_mapping(node, "policies")
    _known_keys(node, Defaults.__struct_fields__, "policy")
    return Defaults(**{key: _choice(child, POLICIES) for key, child in node.value.items()})


def _event(types: Types, name: str, node: Node, place: Place, defaults: Defaults) -> Event:
    check_name(name, place)
    if node.value is None:  # `Logged Out:` alone plans an event without properties
        node = Node({}, node.place, {})
    _is_mapping(node, f"the event {name!r}, as in `properties: ...`")
    _known_keys(node, _EVENT_KEYS, "key of an event")
    get = node.value.get
    return Event(
        name=name,
        description=_text(node, "description"),
        owner=_text(node, "owner"),
        status=_choice(get("status"), STATUSES, "live"),
        properties=_properties(types, get("properties")),
        on_violation=_choice(get("on_violation"), POLICIES, defaults.on_violation),
        unplanned_properties=_choice(
            get("unplanned_properties"), POLICIES, defaults.unplanned_properties
        ),
        place=place,
    )


def _properties(types: Types, node: Node | None) -> Mapping[str, Property]:
    if node is None or node.value is None:
        return {}
    _is_mapping(node, "property names")
    for name, place in node.keys.items():
        check_name(name, place)
        if name.startswith("$"):
            fail(place, f"the name {name!r} starts with $, which is reserved")
    return {
        name: types.property(name, child, node.keys[name]) for name, child in node.value.items()
    }


def _sections(root: Node, key: str) -> Mapping[str, Section]:
    nodes = _mapping(root, key)
    found: dict[str, Section] = {}
    for name, node in nodes.items():
        place = root.value[key].keys[name]
        check_name(name, place)
        _is_mapping(node, f"{name!r} under `{key}`")
        found[name] = Section(name, node.plain(), place)
    return found


def _mapping(root: Node, key: str) -> dict[str, Node]:
    node = root.value.get(key)
    if node is None or node.value is None:
        return {}
    _is_mapping(node, f"`{key}`")
    return dict(node.value)


def _is_mapping(node: Node, what: str) -> None:
    if not isinstance(node.value, dict):
        fail(node.place, f"expected a mapping of {what}")


def _known_keys(node: Node, known: Iterable[str], what: str) -> None:
    known = tuple(known)
    for key, place in node.keys.items():
        if key not in known:
            hint = closest(key, known) or f"known are {', '.join(known)}"
            fail(place, f"unknown {what} {key!r}", hint)


def _text(node: Node, key: str) -> str:
    child = node.value.get(key)
    if child is None:
        return ""
    if not isinstance(child.value, str):
        fail(child.place, f"`{key}` must be text", "quote it")
    return child.value


def _choice(node: Node | None, allowed: tuple[Any, ...], default: Any = None) -> Any:
    if node is None:
        return default
    if node.value not in allowed:
        hint = closest(str(node.value), allowed)
        fail(node.place, f"{node.value!r} is not one of {', '.join(allowed)}", hint)
    return node.value

"""Plain data to the text of a plan file.

Used where Desirepath itself writes a plan (`plan infer`, `plan import`). What is written reads
back as exactly the same data under any YAML 1.1 or 1.2 reader: a string that some reader could
take for something else (`no`, `12:30`, `1e5`, `~`) is quoted. The layout is the one people write
by hand: sections, events and properties in blocks, a property's keywords on one line where they
fit. The same data always gives the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from desirepath.errors import PlanError
from desirepath.plan.keywords import check_name
from desirepath.plan.model import Place

__all__ = ["nameable", "to_yaml"]

_LINE_WIDTH: Final = 96

_BLOCK_DEPTH: Final = {"events": 3, "defaults": 0}
"""How many levels below a section are always written as blocks; others: one."""

_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:[ ./-][A-Za-z0-9_]+)*|\d+\.\d+\.\d+")
_WORDS: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan"})

_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_UNPRINTABLE: Final = re.compile(
    '[\\\\"\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]'
)


def nameable(name: str, *, top: bool = False) -> bool:
    """Whether a plan can hold this name; `top`: of a property itself, not inside its value."""
    try:
        check_name(name, Place("", 1, 1))
    except PlanError:
        return False
    return name != "<<" and not (top and name.startswith("$"))


def to_yaml(
    data: Mapping[str, Any], *, header: Sequence[str] = (), notes: Mapping[str, str] | None = None
) -> str:
    """Write a plan.

    Parameters
    ----------
    data
        The plan: mappings, sequences, strings, numbers, booleans and None.
    header
        Lines of comment for the head of the file.
    notes
        Comments for single entries: JSON pointer of the entry -> one line of text.
    """
    writer = _Writer(notes or {})
    lines = [f"# {line}".rstrip() for line in header]
    for key, value in data.items():
        if lines and isinstance(value, Mapping):
            lines.append("")
        writer.entry(lines, key, value, indent=0, blocks=1 + _BLOCK_DEPTH.get(key, 1), pointer="")
    return "\n".join(lines) + "\n"


class _Writer:
    def __init__(self, notes: Mapping[str, str]) -> None:
        self._notes = notes

    def entry(
        self, lines: list[str], key: str, value: Any, *, indent: int, blocks: int, pointer: str
    ) -> None:
        pointer = f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}"
        start = " " * indent + _scalar(key) + ":"
        note = f"  # {self._notes[pointer]}" if pointer in self._notes else ""
        if blocks <= 1 or not isinstance(value, Mapping) or not value:
            flow = f"{start} {_flow(value)}"
            if len(flow) <= _LINE_WIDTH or not isinstance(value, Mapping) or not value:
                lines.append(flow + note)
                return
        lines.append(start + note)
        for name, child in value.items():
            self.entry(lines, name, child, indent=indent + 2, blocks=blocks - 1, pointer=pointer)


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_scalar(k)}: {_flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    if value is None:
        return "null"
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        text = repr(value)
        # YAML 1.1 needs the point in `1.0e+16`, YAML 1.2 takes it.
        return text.replace("e", ".0e") if "e" in text and "." not in text else text
    if not isinstance(value, str):
        raise TypeError(f"a plan holds no {type(value).__name__}")
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS and len(value) <= _LINE_WIDTH:
        return value
    return '"' + _UNPRINTABLE.sub(_escape, value) + '"'


def _escape(match: re.Match[str]) -> str:
    char = match.group()
    return _ESCAPES.get(char) or f"\\u{ord(char):04x}"

"""How the plan commands print: JSON, colours, files."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from desirepath.errors import InputError

__all__ = ["paint", "plural", "print_json", "write_text"]

_COLOURS: Final = {"red": 31, "green": 32, "yellow": 33, "cyan": 36, "bold": 1, "dim": 2}


def print_json(value: Any) -> None:
    """One JSON object, indented."""
    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def paint(text: str, colour: str) -> str:
    """The text in a colour, where the standard output is a terminal that wants colours."""
    if not sys.stdout.isatty() or "NO_COLOR" in os.environ:
        return text
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"


def plural(count: int, noun: str) -> str:
    """`1 event`, `2,000 events`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def write_text(text: str, target: str | None) -> None:
    """Write a result to a file, or to the standard output where none is named.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    if target is None:
        sys.stdout.write(text)
        return
    try:
        Path(target).write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{target}: {error.strerror or error}") from error

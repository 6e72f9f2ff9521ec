"""Python names for anything a plan may be named after.

A name that is an identifier already stays as it is (in the form Python itself reads it, NFKC);
everything else becomes the closest identifier. Two names never meet: the later one gets a number.
"""

from __future__ import annotations

import keyword
import re
import unicodedata
from collections.abc import Iterable
from typing import Final

__all__ = ["RESERVED", "Names"]

RESERVED: Final = frozenset(
    {"Any", "ClassVar", "Literal", "Mapping", "Sequence", "msgspec", "self", "to_properties"}
    | {"bool", "dict", "float", "int", "list", "str", "properties"}
)
"""What generated code itself refers to."""


class Names:
    """Hands out names of one scope, each once."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = {*RESERVED, *taken}

    def attribute(self, text: str) -> str:
        """The name of a field."""
        name = unicodedata.normalize("NFKC", text)
        if not name.isidentifier():
            name = re.sub(r"_+", "_", re.sub(r"\W", "_", name)).strip("_")
        # Inside a class, names with two leading underscores are changed by Python.
        name = name.lstrip("_") if name.startswith("__") else name
        return self._free(name if name.isidentifier() else f"n_{name}".rstrip("_"), "_")

    def type(self, text: str) -> str:
        """The name of a class."""
        folded = unicodedata.normalize("NFKD", text)
        plain = "".join(char for char in folded if not unicodedata.combining(char))
        words = re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", plain))
        name = "".join(word[0].upper() + word[1:] for word in words)
        return self._free(name if name.isidentifier() else f"Event{name}", "Event")

    def _free(self, wanted: str, suffix: str) -> str:
        if keyword.iskeyword(wanted) or wanted in RESERVED:
            wanted += suffix
        name, number = wanted, 1
        while name in self._taken or not name.isidentifier():
            number += 1
            # A lone underscore takes no second one: see `attribute`.
            stem = "" if wanted == "_" else wanted if wanted.isidentifier() else "name"
            name = f"{stem}_{number}"
        self._taken.add(name)
        return name

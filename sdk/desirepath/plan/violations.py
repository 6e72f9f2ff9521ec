"""What is wrong with an event: data, never an exception."""

from __future__ import annotations

from typing import Final

import msgspec

__all__ = ["FOUND_LIMIT", "Violation"]

FOUND_LIMIT: Final = 200
"""`Violation.found` is cut at this many characters."""


class Violation(msgspec.Struct, frozen=True, gc=False):
    """One way in which an event breaks its plan.

    Parameters
    ----------
    code
        What kind: `unplanned_event`, `unplanned_property`, `missing`, `type`, `enum`, `range`,
        `pattern`, `format`, `size`, ...
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

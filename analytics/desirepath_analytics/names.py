"""The nearest name: what someone who mistyped probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

__all__ = ["did_you_mean"]

_SHOWN: Final = 8


def did_you_mean(name: str, names: Iterable[str]) -> str | None:
    """A hint with the nearest of `names`, or all of them if they are few."""
    known = sorted(set(names))
    if not known:
        return None
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    if not near:
        folded = {known_name.casefold(): known_name for known_name in known}
        near = [
            folded[found]
            for found in difflib.get_close_matches(name.casefold(), list(folded), n=3, cutoff=0.6)
        ]
    if near:
        return f"did you mean {' or '.join(map(repr, near))}?"
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    return f"known: {', '.join(known[:_SHOWN])}{more}"

"""Readers of the options that several questions have; each names the place of a mistake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from desirepath.errors import QueryError
from desirepath_analytics.conditions import Field
from desirepath_analytics.names import did_you_mean

__all__ = ["read_count", "read_fields", "read_one_of", "written"]


def read_fields(value: Any, at: str) -> tuple[Field, ...]:
    """One or several names of properties, traits or context fields."""
    if value is None:
        return ()
    values = [value] if isinstance(value, (str, Field)) else value
    if not isinstance(values, Sequence):
        raise QueryError(f"{at}: {value!r} is no name of a property, trait or context field")
    fields = [
        one if isinstance(one, Field) else Field.parse(one, f"{at}[{i}]")
        for i, one in enumerate(values)
    ]
    return tuple(dict.fromkeys(fields))


def read_one_of(value: object, known: Sequence[str], at: str) -> str:
    """One of a few words."""
    if not isinstance(value, str) or value not in known:
        raise QueryError(f"{at}: unknown {value!r}", hint=did_you_mean(str(value), known))
    return value


def read_count(value: object, at: str, least: int, most: int) -> int:
    """A whole number between two bounds, both included."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise QueryError(f"{at}: {value!r} is no whole number from {least} to {most}")
    return value


def written(fields: Sequence[Field]) -> Any:
    """The plain form of `read_fields`."""
    names = [str(field) for field in fields]
    return names[0] if len(names) == 1 else names


def without_defaults(spec: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Only what differs from its default, and from nothing."""
    return {
        name: value
        for name, value in spec.items()
        if value is not None and value != () and value != defaults.get(name)
    }

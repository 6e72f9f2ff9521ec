"""The statements of fixed shape, one a file, their values bound by name."""

from functools import cache
from importlib.resources import files

__all__ = ["sql_text"]


@cache
def sql_text(name: str) -> str:
    """The text of `NAME.sql`."""
    return (files(__package__) / f"{name}.sql").read_text(encoding="utf-8")

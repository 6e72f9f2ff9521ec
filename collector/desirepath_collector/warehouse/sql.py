"""A statement and everything that goes with it: text, bound values, settings.

Building one is a pure function of a question; only a `Warehouse` runs one. Values never stand in
the text: they are `{name:Type}` placeholders, bound by the server.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

__all__ = ["Sql", "identifier", "literal"]


class Sql(msgspec.Struct, frozen=True):
    """One ClickHouse statement.

    Parameters
    ----------
    text
        The statement, with `{name:Type}` placeholders and no FORMAT clause.
    params
        The values of the placeholders, as Python values.
    settings
        ClickHouse settings for this statement only.
    """

    text: str
    params: Mapping[str, Any] = {}
    settings: Mapping[str, str | int | float] = {}


def identifier(name: str) -> str:
    """`name` as an identifier, quoted. For DDL, where nothing can be bound."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def literal(text: str) -> str:
    """`text` as a string literal, quoted. For DDL, where nothing can be bound."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

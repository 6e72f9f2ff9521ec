"""Conditions on an event's properties, as bound ClickHouse expressions.

The form is the plan's: `{"total": {">": 50}, "coupon": "SPRING", "country": {"in": ["SE", "NL"]}}`;
all must hold. Values are bound, never written into the statement.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

from desirepath.errors import QueryError

__all__ = ["Bind", "condition"]

_COMPARE: Final = {
    "=": "=",
    "==": "=",
    "!=": "!=",
    ">": ">",
    ">=": ">=",
    "<": "<",
    "<=": "<=",
    "in": "IN",
    "not_in": "NOT IN",
}


class Bind(Protocol):
    """Registers a value and gives its placeholder."""

    def __call__(self, value: Any, kind: str) -> str: ...


def condition(where: Mapping[str, Any] | None, bind: Bind) -> str:
    """The expression that is true for an event whose `properties` fit `where`.

    Raises
    ------
    QueryError
        If an operator or a value's type is none of the known.
    """
    terms = [
        _term(name, operator, value, bind)
        for name, wanted in (where or {}).items()
        for operator, value in (wanted if isinstance(wanted, Mapping) else {"=": wanted}).items()
    ]
    return " AND ".join(terms) or "1"


def _term(name: str, operator: str, value: Any, bind: Bind) -> str:
    if operator not in _COMPARE:
        raise QueryError(
            f"where.{name}: {operator!r} is no operator", hint="use " + ", ".join(_COMPARE)
        )
    listed = operator in ("in", "not_in")
    values = list(value) if listed and isinstance(value, list | tuple) else [value]
    numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    if not values or not (numeric or all(isinstance(v, str | bool) for v in values)):
        raise QueryError(f"where.{name}: compare with texts or with numbers, not {value!r}")
    column = f"properties[{bind(name, 'String')}]"
    bound: list[Any]
    if numeric:
        column = f"ifNull(toFloat64OrNull({column}), nan)"
        kind, bound = "Float64", values
    else:
        # Everything but a string is stored as its JSON text.
        kind = "String"
        bound = [("true" if v else "false") if isinstance(v, bool) else v for v in values]
    if listed:
        return f"{column} {_COMPARE[operator]} {bind(bound, f'Array({kind})')}"
    return f"{column} {_COMPARE[operator]} {bind(bound[0], kind)}"

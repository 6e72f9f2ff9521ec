"""Arithmetic over series: `A / B * 100`, read strictly and never evaluated as code.

Names are the capital letters of the series, in their order. Dividing by nothing gives no value.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Final

from desirepath.errors import QueryError

__all__ = ["Formula"]

_MAX_LENGTH: Final = 200
_OPERATORS: Final = (ast.Add, ast.Sub, ast.Mult, ast.Div)


class Formula:
    """A checked formula.

    Raises
    ------
    QueryError
        If the text holds anything but the series' letters, numbers, + - * / and brackets.
    """

    def __init__(self, text: str, names: Sequence[str]) -> None:
        if not isinstance(text, str) or not text.strip() or len(text) > _MAX_LENGTH:
            raise QueryError(f"formula: expected a text such as 'A / B', found {text!r}")
        try:
            self._tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise QueryError(f"formula: {text!r} is no formula", hint="such as 'A / B'") from None
        self._check(self._tree, names)

    def __call__(self, values: Mapping[str, float | None]) -> float | None:
        """The result; None where a value is missing, or a division is by zero."""
        return self._value(self._tree, values)

    def _check(self, node: ast.expr, names: Sequence[str]) -> None:
        if isinstance(node, ast.BinOp) and isinstance(node.op, _OPERATORS):
            self._check(node.left, names)
            self._check(node.right, names)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            self._check(node.operand, names)
        elif isinstance(node, ast.Name):
            if node.id not in names:
                raise QueryError(f"formula: no series {node.id!r}", hint=f"known: {names}")
        elif not (isinstance(node, ast.Constant) and type(node.value) in (int, float)):
            raise QueryError("formula: only series, numbers, + - * / and brackets")

    def _value(self, node: ast.expr, values: Mapping[str, float | None]) -> float | None:
        if isinstance(node, ast.Name):
            return values[node.id]
        if isinstance(node, ast.Constant):
            return float(str(node.value))
        if isinstance(node, ast.UnaryOp):
            inner = self._value(node.operand, values)
            return None if inner is None else -inner
        assert isinstance(node, ast.BinOp)  # noqa: S101 (checked when it was read)
        left, right = self._value(node.left, values), self._value(node.right, values)
        if left is None or right is None:
            return None
        if isinstance(node.op, ast.Div):
            return left / right if right else None
        if isinstance(node.op, ast.Mult):
            return left * right
        return left + right if isinstance(node.op, ast.Add) else left - right

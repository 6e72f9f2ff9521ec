"""The life of a question: read, compile, run, answer.

Every question is a frozen value with `from_spec` and `to_spec` (one form for Python, YAML, JSON and
the command line), `compile` (pure) and `run`. Every answer is a `Result`: frozen, with the
statement that made it, notes on what to be careful about, and plain, tabular and drawn forms.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final

from desirepath.errors import QueryError, WarehouseError
from desirepath_analytics.names import did_you_mean
from desirepath_analytics.spec import LIMITS, Period

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go
    import pyarrow as pa

    from desirepath_analytics.catalog import Catalog
    from desirepath_collector.warehouse import Sql, Warehouse

__all__ = ["Question", "Result", "fetch", "read_question"]


_LIMITS: Final = {
    "MEMORY_LIMIT_EXCEEDED": f"needs more than {LIMITS['max_memory_usage'] // 10**9} GB of memory",
    "TIMEOUT_EXCEEDED": f"takes longer than {LIMITS['max_execution_time']} seconds",
    "TOO_MANY_ROWS_OR_BYTES": f"has more than {LIMITS['max_result_rows']:,} rows of answers",
}
"""What ClickHouse calls a passed limit, and what it means."""


@dataclass(frozen=True, kw_only=True)
class Result(ABC):
    """What every answer has.

    Attributes
    ----------
    question, period
        What was asked.
    statement
        The SQL that was run, with its parameters.
    notes
        What to be careful about, in sentences.
    warehouse
        Where it was asked.
    """

    question: Question
    period: Period
    statement: Sql
    notes: tuple[str, ...]
    warehouse: Warehouse = field(repr=False, compare=False)

    @property
    def sql(self) -> str:
        """The text of the statement."""
        return self.statement.text

    @property
    @abstractmethod
    def frame(self) -> pd.DataFrame:
        """The answer as a table."""

    @abstractmethod
    def figure(self) -> go.Figure:
        """The answer as a picture."""

    @abstractmethod
    def answer(self) -> dict[str, Any]:
        """The answer as plain data."""

    def to_dict(self) -> dict[str, Any]:
        """Question, answer and notes as plain data."""
        return {
            self.question.kind: self.question.to_spec(),
            **self.period.to_spec(),
            **self.answer(),
            "notes": list(self.notes),
        }

    def to_json(self) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False)


class Question(ABC):
    """What every question can do."""

    kind: ClassVar[str]

    @classmethod
    @abstractmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Question:
        """Read the plain form; QueryError with the place of the mistake."""

    @abstractmethod
    def to_spec(self) -> dict[str, Any]:
        """The plain form, without what has its default."""

    @abstractmethod
    def compile(self, catalog: Catalog, since: object = None, until: object = None) -> Sql:
        """The SQL; pure. QueryError names what the catalog does not know."""

    def run(self, warehouse: Warehouse, since: object = None, until: object = None) -> Result:
        """Ask `warehouse` about the events from `since` on and before `until`.

        Both are dates, datetimes, ISO 8601 texts or spans before now (`30d`); None is open.
        """
        from desirepath_analytics.catalog import WarehouseCatalog

        period = Period.of(since, until)
        return self._run(warehouse, WarehouseCatalog(warehouse), period)

    @abstractmethod
    def _run(self, warehouse: Warehouse, catalog: Catalog, period: Period) -> Result: ...


def fetch(warehouse: Warehouse, statement: Sql) -> pa.Table:
    """Run a question's statement; a limit that it passes is the question's fault, told as such."""
    try:
        return warehouse.query(statement)
    except WarehouseError as error:
        for mark, reason in _LIMITS.items():
            if mark in error.message:
                raise QueryError(
                    f"the question {reason}",
                    hint="narrow it: a shorter range with since and until, a filter with where, "
                    "fewer people with segment, no breakdown, or one of fewer values",
                ) from error
        raise


def read_question(spec: Mapping[str, Any]) -> tuple[Question, Period]:
    """Read `{"funnel": {...}, "since": ..., "until": ...}`: any question with its period.

    Raises
    ------
    QueryError
        If it holds no question, more than one, or an unknown key.
    """
    if not isinstance(spec, Mapping):
        raise QueryError(f"a question is a mapping, not {type(spec).__name__}")
    known = _kinds()
    kinds = [key for key in spec if key not in ("since", "until")]
    unknown = [key for key in kinds if key not in known]
    if unknown:
        raise QueryError(f"unknown key {unknown[0]!r}", hint=did_you_mean(str(unknown[0]), known))
    if len(kinds) != 1:
        raise QueryError(
            f"one question at a time, found {len(kinds)}",
            hint=f'write {{"funnel": {{...}}, "since": ..., "until": ...}}; {", ".join(known)}',
        )
    question = known[kinds[0]].from_spec(spec[kinds[0]])
    return question, Period.of(spec.get("since"), spec.get("until"))


def _kinds() -> dict[str, type[Question]]:
    from desirepath_analytics.behaviour.funnel import Funnel
    from desirepath_analytics.behaviour.lifecycle import Lifecycle
    from desirepath_analytics.behaviour.paths import Paths
    from desirepath_analytics.behaviour.retention import Retention
    from desirepath_analytics.behaviour.segment import Segment
    from desirepath_analytics.behaviour.stickiness import Stickiness
    from desirepath_analytics.behaviour.trend import Trend

    kinds: tuple[type[Question], ...] = (
        Funnel,
        Lifecycle,
        Paths,
        Retention,
        Segment,
        Stickiness,
        Trend,
    )
    return {kind.kind: kind for kind in kinds}

"""The people of whom a rule holds at a moment.

A segment is a `Rule` and a question: its size, its people. It may stand wherever a question takes
`segment=`, by its name in the plan or as a value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

from desirepath.errors import QueryError
from desirepath_analytics.behaviour.rules import AllOf, AnyOf, Member, Not, People, Rule, read_rule
from desirepath_analytics.question import Question, Result, fetch
from desirepath_analytics.spec import Period

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from desirepath_analytics.catalog import Catalog
    from desirepath_collector.warehouse import Sql, Warehouse

__all__ = ["Segment", "SegmentResult", "read_segment", "segment_spec"]


@dataclass(frozen=True, repr=False)
class Segment(Question):
    """The people of whom `rule` holds.

    Parameters
    ----------
    rule
        Made with `did`, `did_not`, `trait`, `&`, `|`, `~`, or read with `from_spec`.
    """

    kind: ClassVar[str] = "segment"

    rule: Rule

    def __post_init__(self) -> None:
        if isinstance(self.rule, (str, Mapping)):
            rule = Member(self.rule) if isinstance(self.rule, str) else read_rule(self.rule)
            object.__setattr__(self, "rule", rule)
        if not isinstance(self.rule, Rule):
            raise QueryError(f"a segment is made of rules, not of {self.rule!r}")

    def __repr__(self) -> str:
        return f"Segment.from_spec({self.to_spec()!r})"

    def __and__(self, other: Segment | Rule) -> Segment:
        return Segment(AllOf((self.rule, _rule(other))))

    def __or__(self, other: Segment | Rule) -> Segment:
        return Segment(AnyOf((self.rule, _rule(other))))

    def __invert__(self) -> Segment:
        return Segment(Not(self.rule))

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any] | str) -> Segment:
        """Read the plain form of the rule, or the name of a segment of the plan."""
        return cls(Member(spec) if isinstance(spec, str) else read_rule(spec))

    @classmethod
    def of_people(cls, ids: Iterable[str]) -> Segment:
        """A fixed list of people."""
        return cls(People(tuple(ids)))

    def to_spec(self) -> dict[str, Any]:
        """The plain form of the rule."""
        return self.rule.to_spec()

    def compile(self, catalog: Catalog, since: object = None, until: object = None) -> Sql:
        """The SQL of its people."""
        from desirepath_analytics.sql.segment import segment_sql

        return segment_sql(self, catalog, Period.of(since, until))

    def run(
        self, warehouse: Warehouse, since: object = None, until: object = None
    ) -> SegmentResult:
        """Who is in it as of `until` (now if None), judged by the events from `since` on."""
        return cast("SegmentResult", super().run(warehouse, since, until))

    def _run(self, warehouse: Warehouse, catalog: Catalog, period: Period) -> SegmentResult:
        from desirepath_analytics.sql.segment import segment_sql

        statement = segment_sql(self, catalog, period)
        people = tuple(map(str, fetch(warehouse, statement).column(0).to_pylist()))
        return SegmentResult(
            question=self,
            period=period,
            statement=statement,
            notes=(),
            warehouse=warehouse,
            people=people,
        )


@dataclass(frozen=True, kw_only=True)
class SegmentResult(Result):
    """A segment's answer: its `people`, sorted."""

    question: Segment
    people: tuple[str, ...]

    @property
    def size(self) -> int:
        """How many they are."""
        return len(self.people)

    @property
    def frame(self) -> pd.DataFrame:
        """A row a person."""
        import pandas as pd

        return pd.DataFrame({"person_id": list(self.people)}, dtype="str")

    def figure(self) -> go.Figure:
        """The size as one large number."""
        from desirepath_analytics.figures import number_figure

        return number_figure(self.size, "people")

    def answer(self) -> dict[str, Any]:
        """`size`; the people themselves are in `people` and `frame`."""
        return {"size": self.size}


def read_segment(value: object, at: str) -> Segment | str | None:
    """A question's `segment`: a name of the plan, a rule in any form, or nothing."""
    if value is None or isinstance(value, (Segment, str)):
        return value
    return Segment(read_rule(value, at))


def segment_spec(segment: Segment | str) -> Any:
    """The plain form that `read_segment` reads back."""
    return segment if isinstance(segment, str) else segment.to_spec()


def _rule(other: Segment | Rule) -> Rule:
    return other.rule if isinstance(other, Segment) else other

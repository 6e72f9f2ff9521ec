"""Paths as SQL: names become numbers, a person one sorted array, a visit a piece of it.

The numbers are the places in the list of names as they are shown, which renaming made in Python
from the distinct names; 0 is every other name, and one more than the last stands for "more".
"""

# ruff: noqa: S608 (every value is bound, see sql/build.py)
from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from desirepath_analytics.spec import Period
from desirepath_analytics.sql.build import BEHAVIOUR, Statement
from desirepath_analytics.sql.segment import in_segment
from desirepath_analytics.sql.sessions import EVENT_BITS, split_sessions

if TYPE_CHECKING:
    from desirepath_analytics.behaviour.paths import Paths
    from desirepath_analytics.catalog import Catalog
    from desirepath_collector.warehouse import Sql

__all__ = ["MAX_NAMES", "names_sql", "paths_sql"]

MAX_NAMES: Final = 5_000


def names_sql(question: Paths, catalog: Catalog, period: Period) -> Sql:
    """The most frequent names, one a row."""
    s = Statement(catalog)
    node, where = _read(s, question, period)
    return s.sql(
        f"SELECT {node} AS name FROM resolved_events WHERE {' AND '.join(where)}"
        f" GROUP BY name ORDER BY count() DESC, name LIMIT {MAX_NAMES}"
    )


def paths_sql(question: Paths, catalog: Catalog, period: Period, names: Sequence[str]) -> Sql:
    """A row a path: `path` (numbers of names) and `n` (visits)."""
    s = Statement(catalog)
    node, where = _read(s, question, period)
    shown = sorted({question.renamed(name) for name in names})
    places = {name: i for i, name in enumerate(shown, 1)}
    number = "toUInt64(0)"
    if names:
        raw = s.bind(list(names), "Array(String)")
        ids = s.bind([places[question.renamed(name)] for name in names], "Array(UInt32)")
        number = f"toUInt64(transform({node}, {raw}, {ids}, 0))"
    x = f"bitShiftLeft(toUInt64(toUnixTimestamp64Milli(timestamp)), {EVENT_BITS}) + {number}"
    rows = f"SELECT person_id, {x} AS x FROM resolved_events WHERE {' AND '.join(where)}"
    rows = f"SELECT arraySort(groupArray(x)) AS xs FROM ({rows}) GROUP BY person_id"
    rows = f"SELECT arrayJoin({split_sessions('xs', question.gap_ms)}) AS visit FROM ({rows})"
    nodes = f"arrayMap(x -> toUInt32(bitAnd(x, {(1 << EVENT_BITS) - 1})), visit)"
    if not question.repeats:
        nodes = f"arrayCompact({nodes})"
    rows = f"SELECT {nodes} AS nodes FROM ({rows})"
    if question.start is not None:
        # 0 would be found among the other names: an unknown anchor is nowhere.
        start = places.get(question.start, len(shown) + 2)
        rows = f"SELECT *, indexOf(nodes, {start}) AS first FROM ({rows})"
        rows = f"SELECT arraySlice(nodes, first) AS nodes FROM ({rows}) WHERE first > 0"
    if question.end is not None:
        end = places.get(question.end, len(shown) + 2)
        # After a start, the end must be another event.
        after = "arraySlice(nodes, 2)" if question.start is not None else "nodes"
        shift = 1 if question.start is not None else 0
        rows = f"SELECT nodes, indexOf({after}, {end}) AS place FROM ({rows})"
        rows = (
            f"SELECT arraySlice(nodes, 1, place + {shift}) AS nodes FROM ({rows}) WHERE place > 0"
        )
    path = _told(question, len(shown) + 1)
    return s.sql(f"SELECT {path} AS path, count() AS n FROM ({rows}) GROUP BY path")


def _told(question: Paths, more: int) -> str:
    """At most so many steps of a path; one that has both ends keeps both."""
    steps = question.steps
    if question.end is None:
        return f"arraySlice(nodes, 1, {steps})"
    if question.start is None:
        return f"arraySlice(nodes, -{steps})"
    if steps == 2:
        return "if(length(nodes) <= 2, nodes, [nodes[1], nodes[-1]])"
    head = f"arrayConcat(arraySlice(nodes, 1, {steps - 2}), [toUInt32({more}), nodes[-1]])"
    return f"if(length(nodes) <= {steps}, nodes, {head})"


def _read(s: Statement, question: Paths, period: Period) -> tuple[str, list[str]]:
    """What is shown of an event, and which events are read."""
    where = [BEHAVIOUR, *s.period(period)]
    if question.where is not None:
        where.append(s.condition(question.where, [], "where"))
    where += in_segment(s, question.segment, period)
    if question.node is None:
        return "toString(event)", where
    node = s.value(question.node, [], "node")
    return node, [*where, f"{node} != ''"]

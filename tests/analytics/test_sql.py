"""The SQL of one question of each kind, as it was reviewed; and its limits.

`python -m tests.analytics.test_sql` writes the snapshots anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from desirepath.errors import QueryError
from desirepath_analytics import Funnel, read_question
from desirepath_analytics.catalog import Catalog
from desirepath_analytics.question import fetch
from desirepath_collector.warehouse import Sql, Warehouse

SNAPSHOTS = Path(__file__).parent / "snapshots"
CATALOG = Catalog(
    events={"view": ("price",), "cart": ("price",), "buy": ("total",)}, traits=("country",)
)
PERIOD = {"since": "2026-01-01", "until": "2026-02-01"}

QUESTIONS: dict[str, dict[str, Any]] = {
    "funnel": {"funnel": {"steps": ["view", "cart", "buy"], "within": "7d", "by": "country"}},
    "funnel_excluding": {
        "funnel": {
            "steps": ["view", {"event": "buy", "where": {"total": {">": 5}}}],
            "exclude": ["cart"],
            "by": "price",
        }
    },
    "lifecycle": {"lifecycle": {"event": "view"}},
    "paths": {"paths": {"start": "view", "end": "buy"}},
    "retention": {"retention": {"start": "view", "returning": "buy", "unit": "week"}},
    "segment": {
        "segment": {
            "all": [
                {"did": "buy", "at_least": 3, "within": "30d"},
                {"trait": {"country": {"in": ["SE"]}}},
            ]
        }
    },
    "stickiness": {"stickiness": {"event": "view"}},
    "trend": {"trend": {"series": {"event": "buy", "measure": "sum", "of": "total"}}},
}


def text(name: str) -> str:
    """The statement, a sub-query a line, with its parameters."""
    question, period = read_question({**QUESTIONS[name], **PERIOD})
    sql = question.compile(CATALOG, period.since, period.until)
    params = "".join(f"-- {key} = {value!r}\n" for key, value in sql.params.items())
    return params + sql.text.replace(" FROM (", "\nFROM (") + "\n"


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_sql_is_what_was_reviewed(name: str) -> None:
    """A change of a statement is a change somebody looks at."""
    assert (SNAPSHOTS / f"{name}.sql").read_text(encoding="utf-8") == text(name)


def test_the_widest_funnel_is_understood_by_the_engine(warehouse: Warehouse) -> None:
    """Twenty steps, two exclusions, a breakdown: deep, and within the engine's limits."""
    from tests.analytics.kit import event, insert

    names = [f"s{i}" for i in range(20)]
    insert(warehouse, [event("p", name, i, {"x": "y"}) for i, name in enumerate([*names, "no"])])
    exclude = [{"event": "no", "after": 1, "before": 2}, {"event": "no", "after": 5, "before": 9}]
    funnel = Funnel(names, within="1d", exclude=exclude, by="x")
    assert funnel.run(warehouse).counts == (1,) * 20
    with pytest.raises(QueryError, match="has room for 2 exclusions"):
        Funnel(names, exclude=[*exclude, "no"]).run(warehouse)


def test_a_limit_says_what_to_narrow(warehouse: Warehouse) -> None:
    """Memory, time and rows are bounded; passing a bound is no riddle."""
    heavy = "SELECT number % 100000 AS k, groupArray(number) AS a FROM numbers(10000000) GROUP BY k"
    with pytest.raises(QueryError, match="of memory") as caught:
        fetch(warehouse, Sql(heavy, {}, {"max_memory_usage": 20_000_000}))
    assert "a shorter range" in (caught.value.hint or "")
    with pytest.raises(QueryError, match="rows of answers"):
        fetch(warehouse, Sql("SELECT number FROM numbers(20)", {}, {"max_result_rows": 10}))


if __name__ == "__main__":
    SNAPSHOTS.mkdir(exist_ok=True)
    for each in QUESTIONS:
        (SNAPSHOTS / f"{each}.sql").write_text(text(each), encoding="utf-8")

"""Values to break down by: properties carried with the events, traits joined to the people."""

# ruff: noqa: S608 (every value is bound, see sql/build.py)
from __future__ import annotations

from collections.abc import Sequence

from desirepath_analytics.conditions import Field
from desirepath_analytics.sql.build import Statement

__all__ = ["Breakdown"]


class Breakdown:
    """The fields of a `by`: an array of texts, empty where a value is absent."""

    def __init__(self, s: Statement, by: Sequence[Field], events: Sequence[str]) -> None:
        self._s = s
        self.fields = [s.catalog.resolve(field, events, "by") for field in by]
        carried = [field for field in self.fields if field.kind != "trait"]
        self.carries = bool(carried)
        texts = [s.value(field, events, "by") for field in carried]
        self.columns = f"[{', '.join(texts)}]" if texts else "emptyArrayString()"

    def join(self, rows: str, person: str, carried: str = "carried") -> str:
        """Add `v` to rows that have the carried values and a person."""
        values, joins, own, traits = [], "", 0, 0
        for field in self.fields:
            if field.kind == "trait":
                name = self._s.bind(field.name)
                joins += (
                    " LEFT ANY JOIN (SELECT person_id, value FROM resolved_traits"
                    f" WHERE trait = {name}) AS j{traits} ON j{traits}.person_id = u.{person}"
                )
                values.append(f"j{traits}.value")
                traits += 1
            else:
                own += 1
                values.append(f"u.{carried}[{own}]")
        array = f"[{', '.join(values)}]" if values else "emptyArrayString()"
        return f"SELECT u.*, {array} AS v FROM ({rows}) AS u{joins}"

"""Which ways people take: from an event on, up to an event, between two, or from the start.

A person's events are cut into visits where more than `gap` passes between two of them. A path is
what one visit did, from its anchor on, at most `steps` events; with both ends given it is what lies
between the first `start` and the first `end` after it. Events at the same time are read in the
order of their names.
"""

from __future__ import annotations

import fnmatch
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

import msgspec

from desirepath.errors import QueryError
from desirepath_analytics.behaviour.estimate import Estimate, wilson
from desirepath_analytics.behaviour.options import read_count, without_defaults
from desirepath_analytics.behaviour.segment import Segment, read_segment, segment_spec
from desirepath_analytics.conditions import Condition, Field, parse_where, where_spec
from desirepath_analytics.names import did_you_mean
from desirepath_analytics.question import Question, Result, fetch
from desirepath_analytics.spec import (
    Period,
    check_keys,
    duration_ms,
    duration_text,
    without_notes,
)

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from desirepath_analytics.catalog import Catalog
    from desirepath_collector.warehouse import Sql, Warehouse

__all__ = ["OTHER", "Path", "Paths", "PathsResult", "Rename"]

OTHER: Final = "(other)"
"""What is not among the most frequent names, or paths."""

MORE: Final = "(more)"
"""Where a path between two events is longer than what is shown."""

_KEYS: Final = (
    "start",
    "end",
    "steps",
    "gap",
    "node",
    "rename",
    "repeats",
    "where",
    "segment",
    "top",
)
_DEFAULTS: Final = {"steps": 5, "gap": "30m", "repeats": False, "top": 50}


class Rename(msgspec.Struct, frozen=True):
    """Names that `pattern` matches become `name`: a wildcard (`/item/*`), or a regex."""

    pattern: str
    name: str
    regex: bool = False

    def matches(self, name: str) -> bool:
        """Whether the whole name matches."""
        if self.regex:
            return re.fullmatch(self.pattern, name) is not None
        return fnmatch.fnmatchcase(name, self.pattern)


@dataclass(frozen=True, init=False, repr=False)
class Paths(Question):
    """The ways people take.

    Parameters
    ----------
    start, end
        The event (after renaming) a path begins or ends with; None: the visit's first event.
    steps
        How many events of a path are told, 2 to 10.
    gap
        How long nothing must happen for a new visit to begin: `"30m"`.
    node
        What is shown instead of the event's name: a property or context field, such as
        `context.page.path`.
    rename
        Rules that make one name of many, the first that matches counts:
        `{"match": "/item/*", "name": "/item"}` or `{"regex": ..., "name": ...}`.
    repeats
        Whether the same name several times in a row is kept; else it is one.
    where, segment
        As in `Funnel`.
    top
        How many paths are told; the rest is one more, "other".
    """

    kind: ClassVar[str] = "paths"

    start: str | None
    end: str | None
    steps: int
    gap_ms: int
    node: Field | None
    rename: tuple[Rename, ...]
    repeats: bool
    where: Condition | None
    segment: Segment | str | None
    top: int

    def __init__(
        self,
        start: str | None = None,
        end: str | None = None,
        *,
        steps: int = 5,
        gap: object = "30m",
        node: str | Field | None = None,
        rename: Sequence[Any] = (),
        repeats: bool = False,
        where: Any = None,
        segment: Any = None,
        top: int = 50,
    ) -> None:
        for at, name in (("start", start), ("end", end)):
            if name is not None and not (isinstance(name, str) and name):
                raise QueryError(f"{at}: {name!r} is no event")
        read = {
            "start": start,
            "end": end,
            "steps": read_count(steps, "steps", 2, 10),
            "gap_ms": duration_ms(gap, "gap", most_days=30),
            "node": Field.parse(node, "node") if isinstance(node, str) else node,
            "rename": tuple(_rename(rule, f"rename[{i}]") for i, rule in enumerate(rename)),
            "repeats": bool(repeats),
            "where": parse_where(where),
            "segment": read_segment(segment, "segment"),
            "top": read_count(top, "top", 1, 1_000),
        }
        for name, value in read.items():
            object.__setattr__(self, name, value)
        if self.node is not None and self.node.kind == "trait":
            raise QueryError("node: a trait belongs to a person, not to an event")

    def __repr__(self) -> str:
        return f"Paths.from_spec({self.to_spec()!r})"

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Paths:
        """Read the plain form: the parameters as keys."""
        if not isinstance(spec, Mapping):
            raise QueryError(f"paths: expected a mapping, found {spec!r}")
        asked = without_notes(spec)
        check_keys(asked, _KEYS, "paths")
        return cls(**asked)

    def to_spec(self) -> dict[str, Any]:
        """The plain form, without what has its default."""
        spec = {
            "start": self.start,
            "end": self.end,
            "steps": self.steps,
            "gap": duration_text(self.gap_ms),
            "node": None if self.node is None else str(self.node),
            "rename": [
                {"regex" if r.regex else "match": r.pattern, "name": r.name} for r in self.rename
            ]
            or None,
            "repeats": self.repeats,
            "where": None if self.where is None else where_spec(self.where),
            "segment": None if self.segment is None else segment_spec(self.segment),
            "top": self.top,
        }
        return without_defaults(spec, _DEFAULTS)

    def renamed(self, name: str) -> str:
        """What a name is shown as."""
        return next((rule.name for rule in self.rename if rule.matches(name)), name)

    def compile(self, catalog: Catalog, since: object = None, until: object = None) -> Sql:
        """The SQL, for paths over the events that the catalog knows."""
        from desirepath_analytics.sql.paths import paths_sql

        if self.node is not None:
            raise QueryError("the names of a node are only known once it is run", hint="use run")
        names = sorted(catalog.event_names())
        return paths_sql(self, catalog, Period.of(since, until), names)

    def run(self, warehouse: Warehouse, since: object = None, until: object = None) -> PathsResult:
        """Ask; see `Question.run`."""
        return cast("PathsResult", super().run(warehouse, since, until))

    def _run(self, warehouse: Warehouse, catalog: Catalog, period: Period) -> PathsResult:
        from desirepath_analytics.sql.paths import MAX_NAMES, names_sql, paths_sql

        found = fetch(warehouse, names_sql(self, catalog, period)).column(0).to_pylist()
        names = [str(name) for name in found]
        shown = sorted({self.renamed(name) for name in names})
        for at, anchor in (("start", self.start), ("end", self.end)):
            if anchor is not None and anchor not in shown:
                hint = did_you_mean(anchor, shown)
                raise QueryError(f"{at}: nothing is called {anchor!r} here", hint=hint)
        statement = paths_sql(self, catalog, period, names)
        counted: Counter[tuple[str, ...]] = Counter()
        for row in fetch(warehouse, statement).to_pylist():
            path = tuple(
                OTHER if i == 0 else MORE if i > len(shown) else shown[i - 1] for i in row["path"]
            )
            counted[path] += int(row["n"])
        notes = []
        if len(names) == MAX_NAMES:
            notes.append(f"Only the {MAX_NAMES:,} most frequent names are told apart.")
        return PathsResult(
            question=self,
            period=period,
            statement=statement,
            notes=tuple(notes),
            warehouse=warehouse,
            counted=tuple(sorted(counted.items(), key=lambda item: (-item[1], item[0]))),
        )


class Path(msgspec.Struct, frozen=True):
    """A way, how many visits took it, and their share of all."""

    nodes: tuple[str, ...]
    visits: int
    share: Estimate

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"nodes": list(self.nodes), "visits": self.visits, "share": self.share.to_dict()}


@dataclass(frozen=True, kw_only=True)
class PathsResult(Result):
    """The answer: every path with its visits, most frequent first (`counted`), and views of it."""

    question: Paths
    counted: tuple[tuple[tuple[str, ...], int], ...]

    @property
    def visits(self) -> int:
        """How many visits have a path."""
        return sum(n for _, n in self.counted)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The most frequent paths, and one for all others together."""
        top, total = self.question.top, self.visits
        told = [Path(nodes, n, wilson(n, total)) for nodes, n in self.counted[:top]]
        rest = sum(n for _, n in self.counted[top:])
        if rest:
            told.append(Path((OTHER,), rest, wilson(rest, total)))
        return tuple(told)

    @property
    def transitions(self) -> tuple[tuple[int, str, str | None, int], ...]:
        """From the name at a place (from 1) to the next, None where the visit ends; visits."""
        found: Counter[tuple[int, str, str | None]] = Counter()
        for nodes, n in self.counted:
            for place, source in enumerate(nodes, 1):
                last = place == len(nodes)
                if last and place == self.question.steps:
                    continue  # what came after is not told
                if last and source == self.question.end:
                    continue
                found[place, source, None if last else nodes[place]] += n
        ordered = sorted(found.items(), key=lambda i: (i[0][0], -i[1], i[0][1], i[0][2] or ""))
        return tuple((*key, n) for key, n in ordered)

    @property
    def frame(self) -> pd.DataFrame:
        """A row a path."""
        import pandas as pd

        rows = [(" > ".join(path.nodes), path.visits, path.share.value) for path in self.paths]
        return pd.DataFrame(rows, columns=["path", "visits", "share"])

    @property
    def matrix(self) -> pd.DataFrame:
        """How often each name follows each, whatever the place."""
        import pandas as pd

        found: Counter[tuple[str, str]] = Counter()
        for _, source, target, n in self.transitions:
            if target is not None:
                found[source, target] += n
        names = sorted({name for pair in found for name in pair})
        cells = [[found[source, target] for target in names] for source in names]
        return pd.DataFrame(cells, index=names, columns=names)

    def figure(self) -> go.Figure:
        """A Sankey of the transitions."""
        from desirepath_analytics.figures import paths_figure

        return paths_figure(self)

    def answer(self) -> dict[str, Any]:
        """Paths and transitions."""
        return {
            "visits": self.visits,
            "paths": [path.to_dict() for path in self.paths],
            "transitions": [
                {"place": place, "from": source, "to": target, "visits": n}
                for place, source, target, n in self.transitions
            ],
        }


def _rename(spec: Any, at: str) -> Rename:
    if isinstance(spec, Rename):
        return spec
    if not isinstance(spec, Mapping) or len({"match", "regex"} & set(spec)) != 1:
        raise QueryError(f"{at}: expected match: or regex:, and name:")
    check_keys(spec, ("match", "regex", "name"), at)
    pattern, name = spec.get("match", spec.get("regex")), spec.get("name")
    if not isinstance(pattern, str) or not isinstance(name, str) or not name:
        raise QueryError(f"{at}: pattern and name are texts")
    if "regex" in spec:
        try:
            re.compile(pattern)
        except re.error as error:
            raise QueryError(f"{at}: {pattern!r} is no regular expression: {error}") from None
    return Rename(pattern, name, "regex" in spec)

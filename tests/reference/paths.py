"""Paths by the letter of their definition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tests.reference.events import Event, between, holds, once, text

from desirepath_analytics import Paths
from desirepath_analytics.behaviour.paths import MORE
from desirepath_analytics.spec import Period


def paths(question: Paths, events: Iterable[Event], period: Period) -> Counter[tuple[str, ...]]:
    """How many visits took each path."""
    people: dict[str, list[tuple[int, str]]] = {}
    for event in between(once(events), period.since, period.until):
        if question.where is not None and not holds(question.where, event):
            continue
        name = event.name
        if question.node is not None:
            name = text(event.properties.get(question.node.name, ""))
        if name:
            people.setdefault(event.person, []).append((event.at, question.renamed(name)))
    found: Counter[tuple[str, ...]] = Counter()
    for history in people.values():
        visits: list[list[str]] = []
        last = None
        for at, name in sorted(history):
            if last is None or at - last > question.gap_ms:
                visits.append([])
            visits[-1].append(name)
            last = at
        for visit in visits:
            path = _path(question, visit)
            if path:
                found[path] += 1
    return found


def _path(question: Paths, visit: list[str]) -> tuple[str, ...] | None:
    nodes = [n for i, n in enumerate(visit) if question.repeats or i == 0 or visit[i - 1] != n]
    if question.start is not None:
        if question.start not in nodes:
            return None
        nodes = nodes[nodes.index(question.start) :]
    if question.end is not None:
        begin = 0 if question.start is None else 1
        if question.end not in nodes[begin:]:
            return None
        nodes = nodes[: nodes.index(question.end, begin) + 1]
    steps = question.steps
    if question.end is None:
        return tuple(nodes[:steps])
    if question.start is None:
        return tuple(nodes[-steps:])
    if len(nodes) <= steps:
        return tuple(nodes)
    return (*nodes[: steps - 2], MORE, nodes[-1]) if steps > 2 else (nodes[0], nodes[-1])

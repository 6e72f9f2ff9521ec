"""The mapping from ids to people, kept up to date as identify and alias calls arrive.

`identity_links` holds everything that was said, `identities` what follows from it. After a batch
that says something new, the links that reach its ids are read, the rules of `identity` applied,
and the answers that changed written. Doing it again changes nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

from clickhouse_connect.driver.client import Client

from desirepath_collector.warehouse.identity import (
    MAX_ALIASES_OF_AN_ID,
    MAX_USERS_OF_A_DEVICE,
    Link,
    is_placeholder,
    resolve,
)

__all__ = ["attribute"]

_log: Final = logging.getLogger(__name__)

_LINKS: Final = """
SELECT id, other, relation, toUnixTimestamp64Milli(min(first_at)) AS first_ms
FROM identity_links
WHERE id IN {ids:Array(String)}
GROUP BY id, other, relation
"""

_CURRENT: Final = """
SELECT id, person_id FROM identities FINAL WHERE id IN {ids:Array(String)}
"""

# A user may own any number of devices.
_FOLLOWED: Final = {"device": MAX_USERS_OF_A_DEVICE, "alias": MAX_ALIASES_OF_AN_ID}

# A parameter is parsed as one literal; longer lists are asked in parts.
_CHUNK: Final = 5_000


def attribute(client: Client, touched: Iterable[str]) -> int:
    """Recompute the people whom the ids `touched` belong to; the number of ids that moved."""
    seen, links = _reachable(client, {node for node in touched if not is_placeholder(node)})
    people = resolve(links)
    if people.shared:
        _log.warning(
            "%d ids are shared by too many people and join nobody, e.g. %r",
            len(people.shared),
            min(people.shared),
        )
    # An id that only a shared one led to was not followed: nothing is known about it here.
    nodes = sorted(seen & people.person_of.keys())
    current: dict[str, str] = {row[0]: row[1] for row in _ask(client, _CURRENT, nodes)}
    changed = [
        (node, people.person_of[node])
        for node in nodes
        if people.person_of[node] != current.get(node, node)
    ]
    if changed:
        version = time.time_ns()
        client.insert(
            "identities",
            [[node, person, version] for node, person in changed],
            column_names=["id", "person_id", "version"],
        )
    return len(changed)


def _reachable(client: Client, start: set[str]) -> tuple[set[str], list[Link]]:
    """The ids that can be reached from `start`, and every link of each."""
    seen: set[str] = set()
    frontier = start
    links: list[Link] = []
    while frontier:
        seen |= frontier
        onward: set[str] = set()
        degrees: dict[tuple[str, str], int] = {}
        rows = _ask(client, _LINKS, sorted(frontier))
        for node, _, relation, _ in rows:
            degrees[node, relation] = degrees.get((node, relation), 0) + 1
        for node, other, relation, first_ms in rows:
            if relation == "owner":
                links.append(Link(other, node, "device", first_ms))
            else:
                links.append(Link(node, other, relation, first_ms))
            # What a shared id touches is not merged through it, so it is not followed.
            if degrees[node, relation] <= _FOLLOWED.get(relation, degrees[node, relation]):
                onward.add(other)
        frontier = {node for node in onward - seen if not is_placeholder(node)}
    return seen, links


def _ask(client: Client, text: str, ids: Sequence[str]) -> list[Sequence[Any]]:
    rows: list[Sequence[Any]] = []
    for start in range(0, len(ids), _CHUNK):
        part = list(ids[start : start + _CHUNK])
        rows.extend(client.query(text, parameters={"ids": part}).result_rows)
    return rows

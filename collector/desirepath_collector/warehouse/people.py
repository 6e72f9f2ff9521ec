"""The mapping from ids to people, kept up to date as identify and alias calls arrive.

`identity_links` holds everything that was said, `identities` what follows from it, and the
dictionary `people` is `identities` in memory, through which every event finds its person at query
time. After a batch that says something new, the links that reach its ids are read, the rules of
`identity` applied, and the answers that changed written. Doing it again changes nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, Literal

from clickhouse_connect.driver.client import Client

from desirepath.errors import WarehouseError
from desirepath_collector.warehouse.engine import Handles
from desirepath_collector.warehouse.identity import (
    MAX_ALIASES_OF_AN_ID,
    MAX_DEVICES_OF_A_USER,
    MAX_USERS_OF_A_DEVICE,
    Link,
    is_placeholder,
    resolve,
)
from desirepath_collector.warehouse.rows import EventRow

__all__ = ["People", "attribute"]

RELOAD_SHARE: Final = 20
"""Reloading the dictionary takes at most one second in this many."""

RELOAD_FREE_S: Final = 0.05
"""A reload shorter than this is never put off."""

KNOWN_LINKS: Final = 100_000
"""Links remembered, so that the identify of every page view costs nothing."""

_log: Final = logging.getLogger(__name__)

_FOLLOWED: Final = {
    "device": MAX_USERS_OF_A_DEVICE,
    "owner": MAX_DEVICES_OF_A_USER,
    "alias": MAX_ALIASES_OF_AN_ID,
}

_KINDS: Final = {"device": "device", "owner": "owner", "alias": "alias", "aliased": "alias"}

_LINKS: Final = """
SELECT id, other, relation, toUnixTimestamp64Milli(min(first_at)) AS first_ms
FROM identity_links
WHERE id IN {ids:Array(String)}
GROUP BY id, other, relation
ORDER BY id, relation, first_ms, other
LIMIT {most:UInt32} BY id, relation
"""

# One link more than may be followed tells that there are too many; how many does not matter.
_MOST_LINKS: Final = max(_FOLLOWED.values()) + 1

_CURRENT: Final = """
SELECT id, person_id FROM identities FINAL WHERE id IN {ids:Array(String)}
"""

# A parameter is parsed as one literal; longer lists are asked in parts.
_CHUNK: Final = 5_000


class People:
    """Learns who is who from the rows that are inserted, and keeps the dictionary fresh."""

    def __init__(self, handles: Handles) -> None:
        self._handles = handles
        self._learning = threading.Lock()
        self._known: OrderedDict[tuple[str, str, str], int] = OrderedDict()
        self._reloading = threading.Lock()
        self._reload_after = 0.0
        self._timer: threading.Timer | None = None
        self._closed = False

    def learn(self, rows: Iterable[EventRow]) -> None:
        """Attribute the ids that `rows`, which are in the table already, link."""
        said: dict[tuple[str, str, str], int] = {}
        for row in rows:
            if row.kind == "identify":
                link = ("device", row.anonymous_id, row.user_id)
            elif row.kind == "alias":
                link = ("alias", row.previous_id, row.user_id)
            else:
                continue
            if link[1] and link[2]:
                at = row.original_timestamp
                said[link] = min(at, said.get(link, at))
        with self._learning:
            new = {k: at for k, at in said.items() if at < self._known.get(k, at + 1)}
            if not new:
                return
            with self._handles.borrow() as client:
                moved = attribute(client, {identifier for link in new for identifier in link[1:]})
            for link, at in new.items():
                self._known[link] = at
                self._known.move_to_end(link)
            while len(self._known) > KNOWN_LINKS:
                self._known.popitem(last=False)
        if moved:
            self.reload()

    def reload(self) -> None:
        """Bring the dictionary up to date: now, or as soon as it may cost that much again."""
        with self._reloading:
            pause = self._reload_after - time.monotonic()
            if pause > 0:
                if self._timer is None and not self._closed:
                    self._timer = threading.Timer(pause, self._reload_later)
                    self._timer.daemon = True
                    self._timer.start()
                return
            self._reload()

    def forget(self) -> None:
        """Trust nothing remembered, after rows were removed."""
        with self._learning:
            self._known.clear()

    def close(self) -> None:
        """Stop. What a pending reload would have shown is read at the next start."""
        with self._reloading:
            self._closed = True
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
            timer.join()

    def _reload_later(self) -> None:
        with self._reloading:
            self._timer = None
            if not self._closed:
                with suppress(WarehouseError):
                    self._reload()

    def _reload(self) -> None:
        started = time.monotonic()
        with self._handles.borrow() as client:
            client.command("SYSTEM RELOAD DICTIONARY people")
        taken = time.monotonic() - started
        if taken > RELOAD_FREE_S:
            self._reload_after = started + taken * RELOAD_SHARE


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
        others: dict[tuple[str, str], set[str]] = {}
        suspects: set[str] = set()
        rows = _ask(client, _LINKS, sorted(frontier), most=_MOST_LINKS)
        for node, other, relation, first_ms in rows:
            if is_placeholder(other):
                continue
            others.setdefault((node, _KINDS[relation]), set()).add(other)
            if relation in ("owner", "aliased"):
                reverse: Literal["device", "alias"] = "device" if relation == "owner" else "alias"
                links.append(Link(other, node, reverse, first_ms))
            else:
                links.append(Link(node, other, relation, first_ms))
        for (_, kind), reached in others.items():
            (suspects if len(reached) > _FOLLOWED[kind] else onward).update(reached)
        # What a shared id touches is not merged through it, so it is not followed, but for those
        # that were merged through it before it became shared.
        current = _ask(client, _CURRENT, sorted(suspects - seen - onward))
        onward |= {node for node, person in current if node != person}
        frontier = onward - seen
    return seen, links


def _ask(client: Client, text: str, ids: Sequence[str], **parameters: int) -> list[Sequence[Any]]:
    rows: list[Sequence[Any]] = []
    for start in range(0, len(ids), _CHUNK):
        part = list(ids[start : start + _CHUNK])
        rows.extend(client.query(text, parameters={"ids": part, **parameters}).result_rows)
    return rows

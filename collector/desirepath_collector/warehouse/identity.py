"""Who is one person: the merge rules, as one pure function of what was said.

`identify(user, anonymous)` says that a device belongs to a user; `alias(previous, user)` says that
two ids are the same. The answer depends only on the set of those sayings and their times, never on
the order in which they arrived, so late ones re-attribute earlier events and a replay changes
nothing.

- A device belongs to the user of its earliest identify. Two users are never merged by sharing one.
- An alias joins its two ids, and everything that belongs to them, for good; cycles are harmless.
- A device that more than `MAX_USERS_OF_A_DEVICE` users identified on, a user with more than
  `MAX_DEVICES_OF_A_USER` devices, and an id that is aliased with more than `MAX_ALIASES_OF_AN_ID`
  others, is shared: it joins nobody, and is reported.
- Placeholders (`null`, `undefined`, the zero UUID, ...) never join anything.
- A person is called by the user id that was known first; if there is none, by the id that was.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Final, Literal

import msgspec

__all__ = [
    "MAX_ALIASES_OF_AN_ID",
    "MAX_DEVICES_OF_A_USER",
    "MAX_USERS_OF_A_DEVICE",
    "PLACEHOLDERS",
    "Link",
    "People",
    "is_placeholder",
    "resolve",
]

MAX_USERS_OF_A_DEVICE: Final = 10
"""A kiosk, a school's computer, a default id: more users than this make a device nobody's."""

MAX_DEVICES_OF_A_USER: Final = 10_000
"""A user id that all visitors share, `web` or `customer`, has more devices than anybody."""

MAX_ALIASES_OF_AN_ID: Final = 20
"""An id aliased with more ids than this is a mistake of the application."""

PLACEHOLDERS: Final = frozenset(
    {"", "0", "-1", "anonymous", "false", "guest", "id", "nan", "nil", "none", "null", "true"}
    | {"undefined", "unknown", "user", "user_id", "userid", "[object object]", "n/a", "na"}
    | {"distinct_id", "anonymous_id", "anonymousid", "not_authenticated", "email", "test"}
    | {"00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"}
)
"""Ids, in lower case, that mean that there was none."""


class Link(msgspec.Struct, frozen=True):
    """One thing that was said: `device` (`id` was identified as `other`) or `alias` (the same).

    `first_ms` is the earliest time it was said, in milliseconds since 1970.
    """

    id: str
    other: str
    relation: Literal["device", "alias"]
    first_ms: int


class People(msgspec.Struct, frozen=True):
    """The answer: the person of every id that appears in the links, and the ids that are shared."""

    person_of: dict[str, str]
    shared: frozenset[str]


def is_placeholder(identifier: str) -> bool:
    """Whether `identifier` stands for no id at all."""
    return identifier.strip().lower() in PLACEHOLDERS


def resolve(links: Iterable[Link]) -> People:
    """Apply the merge rules to `links`, which must be closed: every link of every id in them."""
    usable = [
        link
        for link in links
        if link.id != link.other and not is_placeholder(link.id) and not is_placeholder(link.other)
    ]
    owners: dict[str, dict[str, int]] = defaultdict(dict)
    aliases: dict[str, set[str]] = defaultdict(set)
    for link in usable:
        if link.relation == "device":
            known = owners[link.id].get(link.other)
            owners[link.id][link.other] = min(link.first_ms, known or link.first_ms)
        else:
            aliases[link.id].add(link.other)
            aliases[link.other].add(link.id)
    shared = {device for device, users in owners.items() if len(users) > MAX_USERS_OF_A_DEVICE}
    devices = Counter(user for users in owners.values() for user in users)
    shared |= {user for user, count in devices.items() if count > MAX_DEVICES_OF_A_USER}
    shared |= {node for node, others in aliases.items() if len(others) > MAX_ALIASES_OF_AN_ID}

    forest = _Forest()
    known_since: dict[str, int] = {}
    seen_since: dict[str, int] = {}
    for link in usable:
        for node in (link.id, link.other):
            seen_since[node] = min(link.first_ms, seen_since.get(node, link.first_ms))
        known_since[link.other] = min(link.first_ms, known_since.get(link.other, link.first_ms))
        if link.relation == "alias" and not shared & {link.id, link.other}:
            forest.join(link.id, link.other)
    for device, users in owners.items():
        if device not in shared:
            owner = min(users, key=lambda user: (users[user], user))
            if owner not in shared:
                forest.join(device, owner)

    def seniority(node: str) -> tuple[bool, int, str]:
        return node not in known_since, known_since.get(node, seen_since[node]), node

    named: dict[str, str] = {}
    for node in sorted(seen_since, key=seniority):
        named.setdefault(forest.root(node), node)
    return People({node: named[forest.root(node)] for node in seen_since}, frozenset(shared))


class _Forest:
    """Disjoint sets with path halving; sizes here are small, so no ranks."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def root(self, node: str) -> str:
        parent = self._parent
        while (above := parent.setdefault(node, node)) != node:
            parent[node] = node = parent.setdefault(above, above)
        return node

    def join(self, one: str, other: str) -> None:
        self._parent[self.root(one)] = self.root(other)

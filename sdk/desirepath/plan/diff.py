"""What a new version of a plan breaks, for whom, and the version bump that takes.

Two kinds of people depend on a plan. *Producers* are the apps in the field: they go on sending
what the old plan asked for, so every value that the new plan no longer admits is refused from
one day to the next. *Readers* are views, journeys, segments, metrics and models: they go on
asking for what the old plan promised, so every event, property or meaning that goes away leaves
them with nothing, or with something else under the same name. A change is

- breaking when events that were right become wrong, or something that is read goes away;
- risky when that depends on the data, or cannot be decided (a changed pattern);
- compatible when both sides can go on as before;
- a note when nothing is checked or stored differently.

A breaking change needs a new major version (before 1.0.0 a minor one), a note a patch, all others
a minor one. Every section of the old plan that loses something is named, with the reason.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from desirepath.plan.affected import Affected, affected
from desirepath.plan.changes import LEVELS, Change, Level, changes
from desirepath.plan.model import Plan

__all__ = ["BUMPS", "LEVELS", "Affected", "Bump", "Change", "Diff", "Level", "diff"]

Bump = Literal["backwards", "none", "patch", "minor", "major"]

BUMPS: Final[tuple[Bump, ...]] = ("backwards", "none", "patch", "minor", "major")


class Diff(msgspec.Struct, frozen=True):
    """Everything that differs between two plans, worst first."""

    plan: str
    old_version: str
    new_version: str
    changes: tuple[Change, ...]
    affected: tuple[Affected, ...]
    needed: Bump
    made: Bump

    @property
    def enough(self) -> bool:
        """Whether the version was raised as far as the changes need."""
        return BUMPS.index(self.made) >= BUMPS.index(self.needed)

    @property
    def wanted_version(self) -> str:
        """The smallest version that would be enough."""
        major, minor, patch = _version(self.old_version)
        if self.needed == "major":
            return f"{major + 1}.0.0"
        if self.needed == "minor":
            return f"{major}.{minor + 1}.0"
        return f"{major}.{minor}.{patch + 1}" if self.needed == "patch" else self.old_version


def diff(old: Plan, new: Plan) -> Diff:
    """Compare a plan with the one that is to follow it."""
    found, losses = changes(old, new)
    return Diff(
        plan=new.name,
        old_version=old.version,
        new_version=new.version,
        changes=tuple(found),
        affected=tuple(affected(old, new, losses)),
        needed=_needed(old, found[0].level if found else None),
        made=_made(old.version, new.version),
    )


def _needed(old: Plan, worst: Level | None) -> Bump:
    if worst is None:
        return "none"
    if worst == "note":
        return "patch"
    # Semantic Versioning, item 4: before 1.0.0 nothing is promised yet.
    return "major" if worst == "breaking" and _version(old.version)[0] > 0 else "minor"


def _made(old: str, new: str) -> Bump:
    before, after = _version(old), _version(new)
    if after < before:
        return "backwards"
    for bump, left, right in zip(("major", "minor", "patch"), before, after, strict=True):
        if left != right:
            return bump  # type: ignore[return-value]
    return "none"


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))

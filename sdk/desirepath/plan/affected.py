"""Which sections of a plan lose something by a change, and why.

A section is judged by everything it is built on: events, properties, conditions that become
impossible, and other sections, which are judged first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from desirepath.plan.changes import Losses
from desirepath.plan.model import Plan
from desirepath.plan.uses import Consumer, Use, consumers, lookup
from desirepath.plan.where import impossible

__all__ = ["FATES", "Affected", "Fate", "affected"]

Fate = Literal["breaks", "at risk", "rewritten", "removed"]

FATES: Final[tuple[Fate, ...]] = ("removed", "rewritten", "breaks", "at risk")


class Affected(msgspec.Struct, frozen=True):
    """A journey, segment, metric, model or experiment that loses something it is built on.

    `fate`: it `breaks`, is `at risk`, or the new plan has it `rewritten` or `removed`.
    """

    kind: str
    name: str
    fate: Fate
    reasons: tuple[str, ...]


def affected(old: Plan, new: Plan, losses: Losses) -> list[Affected]:
    """Every section of the old plan that loses something."""
    found = _Judge(old, new, losses).all()
    return sorted(found, key=lambda one: FATES.index(one.fate))


class _Judge:
    """Decides the fate of each section of the old plan; those it is built on are judged first."""

    def __init__(self, old: Plan, new: Plan, losses: Losses) -> None:
        self._old = old
        self._new = new
        self._losses = losses
        self._before = {f"{one.kind}/{one.section.name}": one for one in consumers(old)}
        self._judged: dict[str, Affected | None] = {}

    def all(self) -> list[Affected]:
        """Every section that loses something."""
        return [one for key in self._before if (one := self._judge(key)) is not None]

    def _judge(self, key: str) -> Affected | None:
        if key not in self._judged and key in self._before:
            self._judged[key] = None  # sections that name each other in a circle end here
            self._judged[key] = self._fate(self._before[key])
        return self._judged.get(key)

    def _fate(self, consumer: Consumer) -> Affected | None:
        reasons: dict[str, bool] = {}
        for use in consumer.uses:
            for text, certain in self._reasons(use):
                reasons[text] = reasons.get(text, False) or certain
        if not reasons:
            return None
        fate: Fate = "breaks" if any(reasons.values()) else "at risk"
        successor = getattr(self._new, consumer.kind).get(consumer.section.name)
        if successor is None:
            fate = "removed"
        elif successor.spec != consumer.section.spec:
            fate = "rewritten"
        kind = consumer.kind.removesuffix("s")
        return Affected(kind, consumer.section.name, fate, tuple(reasons))

    def _reasons(self, use: Use) -> Iterator[tuple[str, bool]]:
        if use.kind == "section":
            inner = self._judge(use.name)
            if inner is not None:
                verb = "breaks" if inner.fate == "breaks" else f"is {inner.fate}"
                yield f"the {inner.kind} {inner.name!r} {verb}", inner.fate != "at risk"
            return
        # Who reads `address.city` loses it with `address`.
        parts = use.name.split(".") if use.kind != "event" else [use.name]
        names = (".".join(parts[: end + 1]) for end in range(len(parts)))
        for name in names:
            for loss in self._losses.get((use.kind, use.event, name), ()):
                yield loss.text, loss.certain
        reason = _newly_impossible(self._old, self._new, use)
        if reason is not None:
            yield reason, True


def _newly_impossible(old: Plan, new: Plan, use: Use) -> str | None:
    if use.condition is None or not use.vital:
        return None
    before, after = lookup(old, use), lookup(new, use)
    if before is None or after is None or impossible(before, use.condition) is not None:
        return None
    return impossible(after, use.condition)

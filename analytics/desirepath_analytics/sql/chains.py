"""From sorted arrays of events to attempts: the part of a funnel's SQL that does the matching.

The input is rows with `e`: the packed times of one person's events, `time << width | mask`,
ascending, and a 0 at the end. From the last stage to the first, `arrayReverseFill` gives every
position the chain that the rest of the funnel takes from there on: for each required step its
earliest event after the one before. The output has `attempts`: for each event of the first step,
in order of time, a tuple with the packed times of all steps (0: not reached), and after them, for
each exclusion, the first excluded event after the step where the exclusion begins (0: none).

Each pass stands in a sub-query of its own: written as one expression, the engine's analysis of the
query would cost more than running it.
"""

# ruff: noqa: S608 (every value is bound, see sql/build.py)
from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

__all__ = ["Chains", "Exclusion"]

_MOST: Final = 2**64 - 1


class Exclusion(msgspec.Struct, frozen=True):
    """Slots counted from 0: excluded after `begins` until `ends`; both are required steps."""

    begins: int
    ends: int
    whole_person: bool


class Chains(msgspec.Struct, frozen=True):
    """What the matching needs to know of a funnel.

    `stages` lists the required slots (steps counted from 0) in order: one, or several that may
    come in any order. `optional` maps the other slots to the stage they come after. `bits[slot]`
    is the bit of a step in the mask; exclusion i has bit i.
    """

    stages: tuple[tuple[int, ...], ...]
    optional: dict[int, int]
    bits: tuple[int, ...]
    width: int
    strict: bool
    window_ms: int | None
    exclusions: tuple[Exclusion, ...]

    def attempts(self, rows: str) -> str:
        """Add `attempts` to rows with `e`, cut to the window."""
        for i in range(len(self.exclusions)):
            rows = _add(rows, _next(i), f"n{i}")
        for slot in self.optional:
            rows = _add(rows, _next(self.bits[slot]), f"o{slot}")
        names: list[str] = []
        for number in range(len(self.stages) - 1, -1, -1):
            rows, names = self._stage(rows, number, names)
        begins = " OR ".join(f"bitTest(x, {self.bits[slot]})" for slot in self.stages[0])
        rows = _add(rows, f"arrayFilter((r, x) -> {begins}, r0, e)", "chains")
        return _add(rows, self._cut(names), "attempts")

    def drop_excluded(self, rows: str) -> str:
        """Take the attempts away in which an excluded event happened, or the whole person."""
        for whole_person in (True, False):
            broken = [
                self._broken(len(self.bits) + i + 1, exclusion)
                for i, exclusion in enumerate(self.exclusions)
                if exclusion.whole_person == whole_person
            ]
            if not broken:
                continue
            test = " OR ".join(broken)
            if whole_person:
                rows = f"SELECT * FROM ({rows}) WHERE NOT arrayExists(a -> {test}, attempts)"
            else:
                rows = (
                    f"SELECT * REPLACE (arrayFilter(a -> NOT ({test}), attempts) AS attempts)"
                    f" FROM ({rows})"
                )
        return rows

    def _broken(self, element: int, exclusion: Exclusion) -> str:
        begins, ends = exclusion.begins + 1, exclusion.ends + 1
        end = f"if(a.{ends} != 0, a.{ends}, {self._limit('a')})"
        return f"(a.{begins} != 0 AND a.{element} != 0 AND a.{element} < {end})"

    def _limit(self, attempt: str) -> str:
        """The first packed time that lies outside the window of an attempt."""
        if self.window_ms is None:
            return f"toUInt64({_MOST})"
        begin = f"bitShiftRight({attempt}.1, {self.width})"
        return f"bitShiftLeft({begin} + {self.window_ms + 1}, {self.width})"

    def _cut(self, names: Sequence[str]) -> str:
        """Steps outside the window become 0; elements are put in the order of the steps."""
        limit = self._limit("c")

        def element(name: str) -> str:
            return f"c.{names.index(name) + 1}"

        def required(slot: int) -> str:
            here = element(f"t{slot}")
            if self.window_ms is None or here == "c.1":
                return here
            return f"if({here} < {limit}, {here}, 0)"

        def in_between(slot: int) -> str:
            here, due = element(f"o{slot}"), limit
            after = self.stages[self.optional[slot] + 1 :]
            if after:
                reached = required(after[0][0])
                due = f"if({reached} != 0, {reached}, {limit})"
            return f"if({here} < {due}, {here}, 0)"

        slots = [
            in_between(slot) if slot in self.optional else required(slot)
            for slot in range(len(self.bits))
        ]
        excluded = [element(f"n{i}") for i in range(len(self.exclusions))]
        return f"arrayMap(c -> tuple({', '.join([*slots, *excluded])}), chains)"

    def _stage(self, rows: str, number: int, names: list[str]) -> tuple[str, list[str]]:
        """Add `r{number}`, the chains from this stage on; and what their elements are."""
        stage = self.stages[number]
        begun = [f"n{i}" for i, x in enumerate(self.exclusions) if x.begins in stage]
        begun += [f"o{slot}" for slot, after in self.optional.items() if after == number]
        # What follows an event: the rest of the chain as it stands one position further on.
        variables, arrays, parts = ["x"], ["e"], ["tuple(x)"]
        if names:
            variables.append("r")
            arrays.append(_shifted(f"r{number + 1}", _zeros(len(names))))
            parts.append("r")
        for name in begun:
            variables.append(name)
            arrays.append(_shifted(name, "0"))
            parts.append(f"tuple({name})")
        body = parts[0] if len(parts) == 1 else f"tupleConcat({', '.join(parts)})"
        event = f"c{number}"
        rows = _add(
            rows, f"arrayMap(({', '.join(variables)}) -> {body}, {', '.join(arrays)})", event
        )
        after = [*names, *begun]
        if len(stage) > 1:
            rows = self._group(rows, number, len(after))
            return rows, [*(f"t{slot}" for slot in stage), *after]
        here = f"bitTest(x, {self.bits[stage[0]]})"
        if number == 0:
            chain = event  # looked at only where it begins
        elif self.strict:
            chain = f"arrayMap((c, x) -> if({here}, c, {_zeros(len(after) + 1)}), {event}, e)"
        else:
            chain = f"arrayReverseFill((c, x) -> x = 0 OR {here}, {event}, e)"
        return _add(rows, chain, f"r{number}"), [f"t{stage[0]}", *after]

    def _group(self, rows: str, number: int, after: int) -> str:
        """Chains through steps in any order: complete at the last of them."""
        stage = self.stages[number]
        filled: dict[int, str] = {}
        columns: list[str] = []
        for slot in stage:
            bit, column = self.bits[slot], f"g{slot}"
            # The same step again: its next event after the one that the step before took.
            taken = filled.get(bit)
            chain = _shifted(taken, _zeros(after + 1)) if taken else f"c{number}"
            fill = f"arrayReverseFill((c, x) -> x = 0 OR bitTest(x, {bit}), {chain}, e)"
            rows = _add(rows, fill, column)
            filled[bit] = column
            columns.append(column)
        members = ", ".join(columns)
        order = f"arraySort(m -> if(m.1 = 0, {_MOST}, m.1), [{members}])"
        rows = _add(rows, f"arrayMap(({members}) -> {order}, {members})", f"s{number}")
        last = len(stage)
        elements = [f"m[{i}].1" for i in range(1, last + 1)]
        elements += [f"m[{last}].{i}" for i in range(2, after + 2)]
        return _add(rows, f"arrayMap(m -> tuple({', '.join(elements)}), s{number})", f"r{number}")


def _add(rows: str, expression: str, name: str) -> str:
    return f"SELECT *, {expression} AS {name} FROM ({rows})"


def _next(bit: int) -> str:
    """For every position the first event with this bit, from there on."""
    return f"arrayReverseFill(x -> x = 0 OR bitTest(x, {bit}), e)"


def _shifted(array: str, end: str) -> str:
    """The array as seen one position further on."""
    return f"arrayPushBack(arrayPopFront({array}), {end})"


def _zeros(count: int) -> str:
    return "tuple(" + ", ".join(["toUInt64(0)"] * count) + ")"

"""Patterns matched in bounded time, whatever the pattern and whatever the text.

Python's `re` is fast, but backtracks: `(a+)+$` against 30 letters takes minutes. So every pattern
is also made into an automaton, which tells where `re` is safe: always, if at no point two ways
lead on; up to a length at which its worst case is still about a millisecond, if the ways cannot
multiply; else never. Beyond that the automaton itself matches, a few times slower than `re` at
its best, and linear always.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

from desirepath.plan.regex_syntax import (
    MAX_CODE,
    Alt,
    At,
    Cat,
    Chars,
    Node,
    PatternError,
    Repeat,
    parse,
)

__all__ = ["Pattern", "PatternError", "compile_pattern"]

MAX_STATES: Final = 1_000
"""How large a pattern's automaton may be; a pattern beyond is refused."""

BACKTRACK_BUDGET: Final = 20_000
"""How many steps `re` may take at worst, before the automaton takes over."""

MAX_CACHED: Final = 1_000
"""How many steps of an automaton are remembered."""

_END: Final = -1


class Pattern:
    """One compiled pattern; `search` tells whether it matches anywhere in a text."""

    def __init__(self, pattern: str) -> None:
        tree = parse(pattern)
        self._automaton = _Automaton(tree)
        self._search = re.compile(_python(tree)).search
        self.backtrack_limit = self._automaton.backtrack_limit(tree)
        self.matcher: Callable[[str], object] = (
            self._search if self.backtrack_limit is None else self.search
        )
        """As `search`, by the shortest way; its answer is true or false in effect only."""

    def search(self, text: str) -> bool:
        """Whether the pattern matches somewhere in the text."""
        if self.backtrack_limit is None or len(text) <= self.backtrack_limit:
            return self._search(text) is not None
        return self._automaton.search(text)


@lru_cache(maxsize=4096)
def compile_pattern(pattern: str) -> Pattern:
    """The compiled form of an ECMA-262 pattern.

    Raises
    ------
    PatternError
        If it is none, or needs more than linear time.
    """
    return Pattern(pattern)


def _python(node: Node) -> str:
    """The same pattern for Python's `re`."""
    if isinstance(node, Chars):
        inside = "".join(
            _char(low) if low == high else f"{_char(low)}-{_char(high)}"
            for low, high in node.ranges
        )
        return f"[{inside}]" if inside else r"(?!)"
    if isinstance(node, At):
        # `$` of Python also matches before a last newline, \Z only at the very end.
        # \B of Python does not match in an empty text (before 3.14), so it is said by \b.
        places = {"start": r"\A", "end": r"\Z", "word": r"(?a:\b)", "inside": r"(?a:(?!\b))"}
        return places[node.place]
    if isinstance(node, Cat):
        return "".join(map(_python, node.parts))
    if isinstance(node, Alt):
        return f"(?:{'|'.join(map(_python, node.branches))})"
    high = "" if node.high is None else node.high
    return f"(?:{_python(node.body)}){{{node.low},{high}}}"


def _char(code: int) -> str:
    return f"\\U{code:08x}"


class _Automaton:
    """Thompson's construction; each state has a set of characters, a place, or ways on."""

    def __init__(self, tree: Node) -> None:
        self._ways: list[list[int]] = []
        self._chars: list[Chars | None] = []
        self._places: list[str | None] = []
        self._accept = self._state()
        self._start = self._add(tree, self._accept)
        self._alphabet()
        self._steps: dict[Any, Any] = {}

    def _state(self, *ways: int, chars: Chars | None = None, place: str | None = None) -> int:
        if len(self._ways) >= MAX_STATES:
            raise PatternError(f"larger than {MAX_STATES:,} states; use `maxLength` for lengths")
        self._ways.append(list(ways))
        self._chars.append(chars)
        self._places.append(place)
        return len(self._ways) - 1

    def _add(self, node: Node, then: int) -> int:
        """The state from which `node` leads to `then`."""
        if isinstance(node, Chars):
            return self._state(then, chars=node)
        if isinstance(node, At):
            return self._state(then, place=node.place)
        if isinstance(node, Cat):
            for part in reversed(node.parts):
                then = self._add(part, then)
            return then
        if isinstance(node, Alt):
            return self._state(*[self._add(branch, then) for branch in node.branches])
        if node.high is None:
            loop = self._state(then)
            self._ways[loop].append(self._add(node.body, loop))
            then = loop
        else:
            for _ in range(node.high - node.low):
                then = self._state(self._add(node.body, then), then)
        for _ in range(node.low):
            then = self._add(node.body, then)
        return then

    def _alphabet(self) -> None:
        """Characters that no set tells apart are one letter of the automaton's alphabet."""
        words = ((48, 58), (65, 91), (95, 96), (97, 123)) if self._looks_at_words() else ()
        edges = {0, *(edge for pair in words for edge in pair)}
        for chars in self._chars:
            if chars is not None:
                for low, high in chars.ranges:
                    edges.update((low, high + 1))
        self._edges = sorted(edge for edge in edges if edge <= MAX_CODE)
        self._is_word = [any(low <= edge < high for low, high in words) for edge in self._edges]

    def _looks_at_words(self) -> bool:
        return any(place in ("word", "inside") for place in self._places)

    def search(self, text: str) -> bool:
        """Whether the pattern matches somewhere in the text; linear in its length."""
        steps = self._steps
        state: Any = (frozenset(), True, False)  # the states so far, at the start, after a word
        edges = self._edges
        for char in text:
            letter = bisect_right(edges, ord(char)) - 1
            after = steps.get((state, letter))
            if after is None:
                after = self._step(state, letter)
            if after is True:
                return True
            state = after
        return self._step(state, _END) is True

    def _step(self, state: Any, letter: int) -> Any:
        before, at_start, after_word = state
        is_word = letter != _END and self._is_word[letter]
        # A match may begin at any place, so the start is always among the states.
        reached = self._reach(
            before | {self._start}, at_start, letter == _END, after_word != is_word
        )
        after: Any
        if self._accept in reached:
            after = True
        else:
            code = self._edges[letter] if letter != _END else -1
            moved = frozenset(
                self._ways[one][0]
                for one in reached
                if (chars := self._chars[one]) is not None
                and any(low <= code <= high for low, high in chars.ranges)
            )
            after = (moved, False, is_word)
        if len(self._steps) >= MAX_CACHED:
            self._steps.clear()
        self._steps[state, letter] = after
        return after

    def _reach(
        self, states: frozenset[int], at_start: bool, at_end: bool, at_word: bool
    ) -> set[int]:
        """All states that can be reached without reading a character."""
        holds = {"start": at_start, "end": at_end, "word": at_word, "inside": not at_word}
        reached: set[int] = set()
        todo = [*states]
        while todo:
            one = todo.pop()
            if one in reached:
                continue
            reached.add(one)
            place = self._places[one]
            if self._chars[one] is None and (place is None or holds[place]):
                todo.extend(self._ways[one])
        return reached

    def backtrack_limit(self, tree: Node) -> int | None:
        """Up to which length `re` is safe; None for any."""
        anchored = self._is_anchored()
        if anchored and self._is_unambiguous():
            return None
        power, factor = _freedom(tree)
        power += not anchored
        # Each way costs as many steps as the pattern is long; ten are within the budget's measure.
        ways = BACKTRACK_BUDGET / factor / max(1.0, len(self._ways) / 10)
        if ways < 1:
            return 0
        return int(ways ** (1 / power)) if power else None

    def _is_anchored(self) -> bool:
        reached = self._reach(frozenset((self._start,)), False, True, True)
        return not any(self._chars[one] or one == self._accept for one in reached)

    def _is_unambiguous(self) -> bool:
        """Whether from every place at most one way on fits the next character.

        A state that is reached by two ways counts too: `(a*)*` has no two letters to choose
        from, but two loops to repeat the one with.
        """
        begins = [self._start]
        begins += [ways[0] for ways, chars in zip(self._ways, self._chars, strict=True) if chars]
        return len(begins) <= 300 and all(map(self._has_one_way, begins))

    def _has_one_way(self, begin: int) -> bool:
        reached: set[int] = set()
        todo = [begin]
        ranges: list[tuple[int, int]] = []
        while todo:
            one = todo.pop()
            if one in reached:
                return False
            reached.add(one)
            chars = self._chars[one]
            if chars is None:
                todo.extend(self._ways[one])
            else:
                ranges.extend(chars.ranges)
        ranges.sort()
        return all(left[1] < right[0] for left, right in pairwise(ranges))


def _freedom(node: Node) -> tuple[int, int]:
    """How the ways through a pattern grow with a text: at most factor * length ** power."""
    if isinstance(node, Cat):
        power, factor = 0, 1
        for part in node.parts:
            more, times = _freedom(part)
            power, factor = power + more, factor * times
        return power, min(factor, BACKTRACK_BUDGET + 1)
    if isinstance(node, Alt):
        freedoms = [_freedom(branch) for branch in node.branches]
        return max(power for power, _ in freedoms), sum(factor for _, factor in freedoms)
    if isinstance(node, Repeat):
        power, factor = _freedom(node.body)
        if (power or factor > 1) and node.high != 1:
            return power + 1, BACKTRACK_BUDGET + 1  # ways within ways: they multiply
        if node.high is None:
            return power + 1, factor
        return power, min(factor * (node.high - node.low + 1), BACKTRACK_BUDGET + 1)
    return 0, 1

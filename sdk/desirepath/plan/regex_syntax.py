"""The regular expressions of JSON Schema (ECMA-262) as a small tree.

Only what can be matched in linear time is read: no back references, no look-around. Those, and
what ECMA-262 leaves to the engine, are refused by name with what to write instead.
"""

from __future__ import annotations

from typing import Final, Literal, NoReturn

import msgspec

__all__ = [
    "MAX_CODE",
    "Alt",
    "At",
    "Cat",
    "Chars",
    "Node",
    "PatternError",
    "Repeat",
    "parse",
]

MAX_CODE: Final = 0x10FFFF
MAX_REPEAT: Final = 1000
MAX_NESTING: Final = 50

Ranges = tuple[tuple[int, int], ...]
"""Sorted, disjoint ranges of code points, both ends included."""


class PatternError(ValueError):
    """The pattern cannot be used; the message says why."""


class Chars(msgspec.Struct, frozen=True):
    """One character out of these."""

    ranges: Ranges


class At(msgspec.Struct, frozen=True):
    """A place between characters."""

    place: Literal["start", "end", "word", "inside"]


class Cat(msgspec.Struct, frozen=True):
    """One after the other."""

    parts: tuple[Node, ...]


class Alt(msgspec.Struct, frozen=True):
    """One of several."""

    branches: tuple[Node, ...]


class Repeat(msgspec.Struct, frozen=True):
    """`low` to `high` times; `high` None is without end."""

    body: Node
    low: int
    high: int | None


Node = Chars | At | Cat | Alt | Repeat


def union(*ranges: tuple[int, int]) -> Ranges:
    """These ranges, sorted and joined."""
    joined: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if joined and low <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(joined[-1][1], high))
        else:
            joined.append((low, high))
    return tuple(joined)


def invert(ranges: Ranges) -> Ranges:
    """Every other code point."""
    gaps = []
    start = 0
    for low, high in ranges:
        if low > start:
            gaps.append((start, low - 1))
        start = high + 1
    if start <= MAX_CODE:
        gaps.append((start, MAX_CODE))
    return tuple(gaps)


def _of(text: str) -> Ranges:
    return union(*((ord(char), ord(char)) for char in text))


_DIGIT: Final = ((48, 57),)
_WORD: Final = union((48, 57), (65, 90), (95, 95), (97, 122))
_SPACE: Final = union(
    *_of("\t\n\v\f\r \xa0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff"), (0x2000, 0x200A)
)
_DOT: Final = invert(_of("\n\r\u2028\u2029"))

_CLASSES: Final = {
    "d": _DIGIT,
    "D": invert(_DIGIT),
    "w": _WORD,
    "W": invert(_WORD),
    "s": _SPACE,
    "S": invert(_SPACE),
}
_CONTROLS: Final = {"t": 9, "n": 10, "v": 11, "f": 12, "r": 13}
_HEX: Final = frozenset("0123456789abcdefABCDEF")


def parse(pattern: str) -> Node:
    """The tree of a pattern.

    Raises
    ------
    PatternError
        If it is no pattern, or one that cannot be matched in linear time.
    """
    return _Parser(pattern).whole()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def whole(self) -> Node:
        node = self._alternatives()
        if self._at < len(self._text):
            self._refuse("a `)` without its `(`")
        return node

    def _refuse(self, why: str) -> NoReturn:
        raise PatternError(f"{why} (at character {self._at + 1})")

    def _looking_at(self, text: str) -> bool:
        return self._text.startswith(text, self._at)

    def _take(self, text: str) -> bool:
        if self._looking_at(text):
            self._at += len(text)
            return True
        return False

    def _next(self) -> str:
        if self._at >= len(self._text):
            self._refuse("it ends too early")
        self._at += 1
        return self._text[self._at - 1]

    def _alternatives(self) -> Node:
        branches = [self._sequence()]
        while self._take("|"):
            branches.append(self._sequence())
        return branches[0] if len(branches) == 1 else Alt(tuple(branches))

    def _sequence(self) -> Node:
        parts: list[Node] = []
        while self._at < len(self._text) and self._text[self._at] not in "|)":
            parts.append(self._quantified(self._atom()))
        return parts[0] if len(parts) == 1 else Cat(tuple(parts))

    def _quantified(self, atom: Node) -> Node:
        bounds = self._quantifier()
        if bounds is None:
            return atom
        if isinstance(atom, At):
            self._refuse("a quantifier after an anchor")
        self._take("?")  # lazy: the same strings match
        if self._at < len(self._text) and self._text[self._at] in "*+?":
            self._refuse("a quantifier after a quantifier")
        return Repeat(atom, *bounds)

    def _quantifier(self) -> tuple[int, int | None] | None:
        for sign, bounds in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._take(sign):
                return bounds
        if not self._take("{"):
            return None
        inside, closed, _ = self._text[self._at :].partition("}")
        low, comma, high = inside.partition(",")
        if not closed or not _is_count(low) or (high and not _is_count(high)):
            self._refuse("a `{` that is no quantifier; write `\\{` for the character")
        self._at += len(inside) + 1
        least = int(low)
        most = int(high) if high else None if comma else least
        if most is not None and most < least:
            self._refuse("a quantifier whose bounds are the wrong way round")
        if max(least, most or 0) > MAX_REPEAT:
            self._refuse(f"a quantifier above {MAX_REPEAT}; use `maxLength`")
        return least, most

    def _atom(self) -> Node:
        char = self._next()
        if char == "(":
            return self._group()
        if char == "[":
            return self._class()
        if char == "\\":
            return self._escape()
        if char == ".":
            return Chars(_DOT)
        if char == "^":
            return At("start")
        if char == "$":
            return At("end")
        if char in "*+?":
            self._refuse(f"nothing before `{char}` to repeat")
        if char == "{":
            self._refuse("a `{` that is no quantifier; write `\\{` for the character")
        return Chars(((ord(char), ord(char)),))

    def _group(self) -> Node:
        if self._take("?"):
            for sign, what in _REFUSED_GROUPS.items():
                if self._looking_at(sign):
                    self._refuse(what)
            if self._take("<"):
                name, closed, _ = self._text[self._at :].partition(">")
                if not closed or not name.isidentifier():
                    self._refuse("a group's name that is none")
                self._at += len(name) + 1
            elif not self._take(":"):
                self._refuse("a group that ECMA-262 does not have")
        self._depth += 1
        if self._depth > MAX_NESTING:
            self._refuse(f"groups deeper than {MAX_NESTING}")
        node = self._alternatives()
        self._depth -= 1
        if not self._take(")"):
            self._refuse("a `(` without its `)`")
        # A group keeps `(^)*` and the like from looking like a quantified anchor.
        return Cat((node,)) if isinstance(node, At) else node

    def _escape(self) -> Node:
        char = self._next()
        if char in _CLASSES:
            return Chars(_CLASSES[char])
        if char == "b":
            return At("word")
        if char == "B":
            return At("inside")
        code = self._escaped_code(char)
        return Chars(((code, code),))

    def _escaped_code(self, char: str) -> int:
        if char in _CONTROLS:
            return _CONTROLS[char]
        if char == "0" and not self._text[self._at : self._at + 1].isdigit():
            return 0
        if char == "c":
            letter = self._next()
            if not (letter.isascii() and letter.isalpha()):
                self._refuse("`\\c` without a letter")
            return ord(letter) % 32
        if char == "x":
            return self._hex(2)
        if char == "u":
            return self._unicode()
        if char.isdigit():
            self._refuse("a back reference; it cannot be matched in linear time")
        if char in "pP":
            self._refuse(f"`\\{char}{{...}}` is not supported; name the characters")
        if char.isalpha():
            self._refuse(f"`\\{char}` means nothing in ECMA-262")
        return ord(char)

    def _hex(self, digits: int) -> int:
        text = self._text[self._at : self._at + digits]
        if len(text) < digits or not _HEX.issuperset(text):
            self._refuse(f"an escape without its {digits} hexadecimal digits")
        self._at += digits
        return int(text, 16)

    def _unicode(self) -> int:
        if self._take("{"):
            inside, closed, _ = self._text[self._at :].partition("}")
            if not closed or not inside or len(inside) > 8 or not _HEX.issuperset(inside):
                self._refuse("`\\u{` without a code point")
            self._at += len(inside) + 1
            code = int(inside, 16)
        else:
            code = self._hex(4)
            if 0xD800 <= code < 0xDC00 and self._take("\\u"):
                low = self._hex(4)
                if 0xDC00 <= low < 0xE000:
                    code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
        if code > MAX_CODE or 0xD800 <= code < 0xE000:
            self._refuse("an escape that is no Unicode character")
        return code

    def _class(self) -> Node:
        inverted = self._take("^")
        ranges: list[tuple[int, int]] = []
        while not self._take("]"):
            low = self._class_atom()
            if self._looking_at("-") and not self._looking_at("-]"):
                self._at += 1
                high = self._class_atom()
                if isinstance(low, tuple) or isinstance(high, tuple):
                    self._refuse("a range from or to a class such as `\\d`")
                if high < low:
                    self._refuse("a range that is the wrong way round")
                ranges.append((low, high))
            elif isinstance(low, tuple):
                ranges.extend(low)
            else:
                ranges.append((low, low))
        found = union(*ranges)
        return Chars(invert(found) if inverted else found)

    def _class_atom(self) -> int | Ranges:
        char = self._next()
        if char != "\\":
            return ord(char)
        char = self._next()
        if char in _CLASSES:
            return _CLASSES[char]
        return 8 if char == "b" else self._escaped_code(char)


_REFUSED_GROUPS: Final = {
    "=": "look-ahead; it cannot be matched in linear time, use `allOf` with several patterns",
    "!": "look-ahead; it cannot be matched in linear time, use `not` with a pattern",
    "<=": "look-behind; it cannot be matched in linear time",
    "<!": "look-behind; it cannot be matched in linear time",
}


def _is_count(text: str) -> bool:
    return 0 < len(text) <= 9 and text.isascii() and text.isdigit()

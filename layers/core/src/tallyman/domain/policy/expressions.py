"""Regular expressions for tags with bounded time: one that could take too long is refused before it runs.

A subset of Python's: literals, `.`, classes, `\\d` `\\w` and escaped signs, groups, `|`, and the quantifiers
`?` `*` `+` `{n}` `{n,}` `{n,m}`. Refused are look-around, back references and flags; a repeat within a repeat; a
repeated choice; and an expression that could take more than two million steps on a tag of 128 characters (three repeats
of variable length and a few choices are allowed).
"""

import math
import re

from tallyman.errors import BadInput
from tallyman.values import value

MAX_LENGTH = 200
MAX_STEPS = 2_000_000
_LARGEST = 128
_QUANTIFIER = re.compile(r"[?*+]|\{([0-9]{1,4})(,([0-9]{0,4}))?\}")


class BadExpression(BadInput, ValueError):
    """A regular expression that is wrong, or could take too long."""


@value
class Expression:
    """An expression that was checked to be fast. Raises BadExpression for another; equal texts are equal."""

    text: str

    def __post_init__(self) -> None:
        _check(self.text)

    def compiled(self) -> re.Pattern[str]:
        """The compiled expression, for `fullmatch`; `re` caches it."""
        return re.compile(self.text, re.ASCII)


def _check(text: str) -> None:
    if not text or len(text) > MAX_LENGTH:
        raise BadExpression(f"an expression has 1 to {MAX_LENGTH} characters, this one {len(text)}")
    reader = _Reader(text)
    reader.choices(0)
    if reader.at != len(text):
        raise reader.bad("a parenthesis too many")
    try:
        re.compile(text, re.ASCII)
    except (re.error, OverflowError) as error:
        raise BadExpression(f"'{text}' is not a regular expression: {error}") from None


class _Reader:
    """Reads the text once and counts repeats and `ways`, the combinations of choices that a matcher may try."""

    def __init__(self, text: str) -> None:
        self.text, self.at, self.repeats, self.ways = text, 0, 0, 1

    def bad(self, why: str) -> BadExpression:
        return BadExpression(f"'{self.text}' is refused: {why} (at character {self.at + 1})")

    def choices(self, depth: int) -> tuple[bool, bool]:
        """Read alternatives up to a closing parenthesis or the end: whether there are several, whether any repeats."""
        if depth > 5:
            raise self.bad("groups nested more than five deep")
        number, repeats = 1, False
        while self.at < len(self.text) and self.text[self.at] != ")":
            if self.text[self.at] == "|":
                number += 1
                self.at += 1
                continue
            repeats |= self._piece(depth)
        self.spend(number)
        return number > 1, repeats

    def spend(self, ways: int) -> None:
        """Count what a backtracking matcher may have to try. Raises BadExpression where it is too much."""
        self.ways *= ways
        if math.comb(_LARGEST + self.repeats, self.repeats) * self.ways > MAX_STEPS:
            raise self.bad("too many repeats and choices: it could take too long")

    def _piece(self, depth: int) -> bool:
        """Read one atom and its quantifier; return whether any part of it has a variable length."""
        several, inner = self._atom(depth)
        found = _QUANTIFIER.match(self.text, self.at)
        if found is None:
            return inner
        self.at = found.end()
        low, high = _bounds(found)
        if high is not None and high > _LARGEST:
            raise self.bad(f"a repeat of more than {_LARGEST}: a tag has no more characters")
        if self.text[self.at : self.at + 1] in ("?", "+", "*", "{"):
            raise self.bad("a quantifier after a quantifier")
        if (low, high) == (0, 1):
            self.spend(2)
            return True
        if inner or several:
            raise self.bad("a repeat of a repeat, or of a choice, could take too long")
        if low == high:
            return inner
        self.repeats += 1
        self.spend(1)
        return True

    def _atom(self, depth: int) -> tuple[bool, bool]:
        sign = self.text[self.at]
        if sign == "(":
            self.at += 1
            if self.text.startswith("?:", self.at):
                self.at += 2
            elif self.text.startswith("?", self.at):
                raise self.bad("only plain groups are allowed: no look-around, names or flags")
            found = self.choices(depth + 1)
            if self.at >= len(self.text):
                raise self.bad("a group that does not end")
            self.at += 1
            return found
        if sign == "[":
            end = self.text.find("]", self.at + (3 if self.text.startswith("[^]", self.at) else 2))
            if end < 0:
                raise self.bad("a class that does not end")
            self.at = end + 1
        elif sign == "\\":
            escaped = self.text[self.at + 1 : self.at + 2]
            if not escaped or (escaped.isalnum() and escaped not in "dDwW"):
                raise self.bad(f"\\{escaped} is not allowed")
            self.at += 2
        elif sign in "?*+{":
            raise self.bad("a quantifier with nothing before it")
        else:
            self.at += 1
        return False, False


def _bounds(found: re.Match[str]) -> tuple[int, int | None]:
    match found[0]:
        case "?":
            return 0, 1
        case "*":
            return 0, None
        case "+":
            return 1, None
    low = int(found[1])
    return low, low if not found[2] else int(found[3]) if found[3] else None

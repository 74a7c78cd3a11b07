"""Words of a Dockerfile: quotes, variables with their modifiers, heredocs."""

import re
from collections.abc import Mapping
from fnmatch import translate


def expand(word: str, variables: Mapping[str, str], escape: str = "\\") -> str:
    """The word without quotes, and with its variables replaced. A variable without a value stays as written: a `$` in
    the result means that only the builder knows it."""
    return _Reader(word, variables, escape).read()


def split(text: str, escape: str = "\\") -> list[str]:
    """The words of a line, quotes and escapes kept as they are written."""
    words: list[str] = []
    word, quote, escaped = "", "", False
    for letter in text:
        if not quote and not escaped and letter.isspace():
            words += [word] if word else []
            word = ""
            continue
        word += letter
        if escaped:
            escaped = False
        elif letter == escape and quote != "'":
            escaped = True
        elif quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
    return [*words, *([word] if word else [])]


_HEREDOC = re.compile(r"^\d*<<(-?)([^<]*)$")


def heredocs(line: str, escape: str = "\\") -> list[tuple[str, bool]]:
    """The heredocs that a line begins: the word that ends each, and whether tabs before it do not count."""
    found = []
    for word in split(line, escape):
        if (matched := _HEREDOC.match(word)) and (name := expand(matched[2], {}, escape)):
            found.append((name, matched[1] == "-"))
    return found


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class _Reader:
    """One word, read from left to right."""

    def __init__(self, word: str, variables: Mapping[str, str], escape: str) -> None:
        self.word, self.variables, self.escape = word, variables, escape
        self.at = 0

    def read(self, until: str = "") -> str:
        """Read to the end, or past the next letter `until`. Return the expanded text."""
        made = ""
        while self.at < len(self.word):
            letter = self.word[self.at]
            if letter == until:
                self.at += 1
                return made
            if letter == "'":
                end = self.word.find("'", self.at + 1)
                end = len(self.word) if end < 0 else end
                made += self.word[self.at + 1 : end]
                self.at = end + 1
            elif letter == '"':
                self.at += 1
                made += self._double()
            elif letter == self.escape:
                made += self.word[self.at + 1 : self.at + 2]
                self.at += 2
            elif letter == "$":
                made += self._variable()
            else:
                made += letter
                self.at += 1
        return made

    def _double(self) -> str:
        made = ""
        while self.at < len(self.word):
            letter = self.word[self.at]
            following = self.word[self.at + 1 : self.at + 2]
            if letter == '"':
                self.at += 1
                return made
            if letter == self.escape and following in ('"', "$", self.escape):
                made += following
                self.at += 2
            elif letter == "$":
                made += self._variable()
            else:
                made += letter
                self.at += 1
        return made

    def _variable(self) -> str:
        start = self.at
        self.at += 1
        if self.word[self.at : self.at + 1] != "{":
            named = _NAME.match(self.word, self.at)
            if named is None:
                return "$"
            self.at = named.end()
            return self.variables.get(named[0], self.word[start : self.at])
        named = _NAME.match(self.word, self.at + 1)
        if named is None:
            self.at = len(self.word)
            return self.word[start:]
        self.at = named.end()
        return self._modified(named[0], start)

    def _modified(self, name: str, start: int) -> str:
        """What follows the name within braces: nothing, or a modifier."""
        rest = self.word[self.at :]
        value = self.variables.get(name)
        sign = next((s for s in (":-", ":+", ":?", "-", "+", "?", "##", "#", "%%", "%", "//", "/", "}") if
                     rest.startswith(s)), "")  # fmt: skip
        self.at += len(sign)
        if sign == "}":
            return self._unless(value, start)
        if sign in ("/", "//"):
            pattern, replacement = self.read("/"), self.read("}")
            return self._unless(value and _pattern(pattern).sub(
                lambda _: replacement, value, count=0 if sign == "//" else 1), start)  # fmt: skip
        word = self.read("}")
        there = bool(value) if sign.startswith(":") else value is not None
        match sign.lstrip(":"):
            case "-":
                return value if there and value is not None else word
            case "+":
                return word if there else ""
            case "?" if there:
                return self._unless(value, start)
            case "#" | "##":
                return self._unless(value and _trim(value, word, sign == "##", front=True), start)
            case "%" | "%%":
                return self._unless(value and _trim(value, word, sign == "%%", front=False), start)
        return self.word[start : self.at]

    def _unless(self, value: str | None, start: int) -> str:
        """The value; the variable as written if it has none."""
        return self.word[start : self.at] if value is None else value


def _trim(value: str, pattern: str, greedy: bool, *, front: bool) -> str:
    """Without what the pattern matches at one end: the shortest, or with `greedy` the longest such part."""
    matches = _pattern(pattern).fullmatch
    ends = range(len(value) + 1)
    if front:
        found = [i for i in ends if matches(value[:i])]
        return value[(max if greedy else min)(found) :] if found else value
    found = [i for i in ends if matches(value[i:])]
    return value[: (min if greedy else max)(found)] if found else value


def _pattern(glob: str) -> re.Pattern[str]:
    """A shell pattern as a regular expression that is not tied to the ends of the text."""
    inner = translate(glob).removeprefix("(?s:").rpartition(")")[0]  # `\Z` follows, since Python 3.14 `\z`
    return re.compile(inner, re.DOTALL)

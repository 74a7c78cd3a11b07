"""Lists of tags in a policy, such as `[semver, "stable-*", ">=1.0.0"]`: parsing, and which tags they allow."""

import re
from collections import deque
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase, translate
from functools import lru_cache
from itertools import chain, combinations_with_replacement, product, repeat
from typing import Self

from tallyman.domain.images.versions import (
    RANGE_START,
    VersionKind,
    VersionRange,
    parse_version,
)
from tallyman.domain.names import parse_tag
from tallyman.domain.policy.shapes import ListOf, OneOrMore, String
from tallyman.errors import BadInput, BadName
from tallyman.values import value

_KINDS = {str(kind): kind for kind in VersionKind}


class BadTagPattern(BadInput, ValueError):
    """An entry of a list of tags that is not a kind, name, glob or range."""


def is_glob(text: str) -> bool:
    """Whether the text has a wildcard (`*` or `?`)."""
    return "*" in text or "?" in text


def glob_matches(pattern: str, text: str) -> bool:
    """Whether the whole text matches. `*` matches any characters, including `/`, as in ECR and IAM; `?` matches one."""
    return fnmatchcase(text, pattern.replace("[", "[[]"))  # so that brackets are not wildcards


def glob_expression(pattern: str) -> re.Pattern[str]:
    """The same as a compiled expression for `match`. Time linear in the text for each star: `fnmatch` writes stars
    without backtracking."""
    return re.compile(translate(pattern.replace("[", "[[]")))


def parse_entry(text: str) -> str:
    """The text, if it can be an entry of a list of tags. Raises BadTagPattern or BadRange."""
    if text[:1] in tuple(RANGE_START):
        VersionRange.parse(text)
        return text
    try:
        parse_tag(text.replace("*", "x").replace("?", "x"))  # a wildcard stands for any character of a tag
    except BadName as error:
        raise BadTagPattern(
            f"'{text}' is not a tag, glob (stable-*), kind (semver, semver-commit) or range (>=1.0.0)"
        ) from error
    return text


@value
class TagRule:
    """A list of tags. Kinds, names and globs are alternatives; each range must match as well.

    A list of ranges only allows every version that matches all of them. An empty list allows no tag; a missing list is
    `ANY_TAG`. A range matches only tags that are versions.
    """

    kinds: tuple[VersionKind, ...] = ()
    names: tuple[str, ...] = ()
    globs: tuple[str, ...] = ()
    ranges: tuple[VersionRange, ...] = ()
    texts: tuple[str, ...] = ()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Self:
        """Parse the entries of a list. Raises BadTagPattern or BadRange for the first wrong one."""
        texts = tuple(parse_entry(text) for text in texts)
        ranges = tuple(VersionRange.parse(t) for t in texts if t[0] in RANGE_START)
        rest = [t for t in texts if t[0] not in RANGE_START]
        return cls(
            kinds=tuple(_KINDS[t] for t in rest if t in _KINDS),
            names=tuple(t for t in rest if t not in _KINDS and not is_glob(t)),
            globs=tuple(t for t in rest if is_glob(t)),
            ranges=ranges,
            texts=texts,
        )

    def allows(self, tag: str) -> bool:
        """Whether the list allows the tag."""
        version = parse_version(tag)
        if any(version is None or not r.holds(version) for r in self.ranges):
            return False
        if tag in self.names or (version is not None and version.kind in self.kinds):
            return True
        if any(glob_matches(glob, tag) for glob in self.globs):
            return True
        return bool(self.ranges) and not (self.kinds or self.names or self.globs)

    def common_tag(self, *others: "TagRule") -> str | None:
        """A tag that this rule and all others allow; None: none was found.

        A returned tag is certain. None is certain for kinds, names and ranges; for three lists with globs, or an
        unusual combination of a glob and a kind, a common tag may be missed. Cost: some hundred candidates.
        """
        rules = (self, *others)
        return next((tag for tag in _candidates(*rules) if all(rule.allows(tag) for rule in rules)), None)

    def __str__(self) -> str:
        return ", ".join(self.texts) or "nothing"


ANY_TAG = TagRule(globs=("*",), texts=("*",))
_TAG_ENTRY = String(
    what='a tag, a glob such as "stable-*", semver, semver-commit or a range such as ">=1.0.0"',
    build=parse_entry,
)
TAGS = ListOf(_TAG_ENTRY, build=TagRule.parse)
TAGS_OR_ONE = OneOrMore(TAGS, str)


def _candidates(*rules: TagRule) -> Iterator[str]:
    cores = ["0.0.0"]
    prereleases = []
    # ranges are unions of intervals: if two share a version, they share one at the end of an interval; a pre-release of
    # that version comes before it, one of the next version after it
    for bound in (b for rule in rules for r in rule.ranges for b in r.bounds):
        for (major, minor, patch), _, prerelease in (key for key in (bound.low, bound.high) if key):
            core = f"{major}.{minor}.{patch}"
            cores += [core, f"{major}.{minor}.{patch + 1}"]
            if prerelease:
                words = ".".join(word or str(number) for _, number, word in prerelease)
                prereleases.append(f"{core}-{words}")
    versions = [*cores, *(f"{core}-0abcdef" for core in cores), *prereleases]
    yield from (name for rule in rules for name in rule.names)
    yield from versions
    yield from (f"v{version}" for version in versions)
    globs = list(dict.fromkeys(glob for rule in rules for glob in rule.globs))
    for glob, other in combinations_with_replacement(globs, 2):
        yield from filter(None, [_meeting(glob, other)])
    for glob in globs:
        parts = glob.replace("?", "0").split("*")
        for first, second in product(["0", "0.0", *versions, "", "x"], ["", "0", "0abcdef"]):
            fills = chain([first, second], repeat(""))
            yield parts[0] + "".join(fill + part for fill, part in zip(fills, parts[1:], strict=False))


def _meeting(first: str, second: str) -> str | None:
    """A shortest tag that both globs match; None: there is none. A breadth-first search through both at once."""
    seen = {(0, 0)}
    queue = deque([(0, 0, "")])
    while queue:
        i, j, text = queue.popleft()
        if i == len(first) and j == len(second) and text:
            return text
        a, b = first[i : i + 1], second[j : j + 1]
        steps = [(i + 1, j, "")] if a == "*" else []
        steps += [(i, j + 1, "")] if b == "*" else []
        if a and b:
            literal = next((c for c in (a, b) if c not in "*?"), "x")
            if all(c in ("*", "?", literal) for c in (a, b)):
                steps.append((i if a == "*" else i + 1, j if b == "*" else j + 1, literal))
        for i_next, j_next, taken in steps:
            if (i_next, j_next) not in seen:
                seen.add((i_next, j_next))
                queue.append((i_next, j_next, text + taken))
    return None


@lru_cache(maxsize=1024)
def glob_covers(wide: str, narrow: str) -> bool:
    """Whether `wide` matches every text that `narrow` matches. True is certain; False may be wrong in rare cases."""
    # each wildcard of `narrow` becomes a special character: a `*` of `wide` matches both, a `?` only that for `?`
    symbols = narrow.replace("*", "\0").replace("?", "\1")
    return fnmatchcase(symbols, wide.replace("?", "[!\0]"))

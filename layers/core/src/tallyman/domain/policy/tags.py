"""Which tags a list such as `[semver, "stable-*", ">=1.0.0"]` lets in, and how a policy's lists of them are read."""

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
from tallyman.domain.policy.reading import Node
from tallyman.domain.policy.shapes import ListOf, Schema, String
from tallyman.errors import BadInput, BadName
from tallyman.values import value

_KINDS = {str(kind): kind for kind in VersionKind}


class BadTagPattern(BadInput, ValueError):
    """An entry of a list of tags that is not a kind, name, glob or range."""


def is_glob(text: str) -> bool:
    """Whether the text has a wildcard."""
    return "*" in text or "?" in text


def glob_matches(pattern: str, text: str) -> bool:
    """Whether the whole text matches. `*` is any characters, `/` among them, as in ECR and IAM; `?` is one."""
    return fnmatchcase(text, pattern.replace("[", "[[]"))  # brackets are not wildcards here


def glob_expression(pattern: str) -> re.Pattern[str]:
    """The same as a compiled expression for `match`. Linear in the text for each star: `fnmatch` writes stars so that
    none is tried again once what follows it has matched."""
    return re.compile(translate(pattern.replace("[", "[[]")))


def parse_entry(text: str) -> str:
    """The text, if it can be an entry of a list of tags; raises BadTagPattern or BadRange."""
    if text[:1] in tuple(RANGE_START):
        VersionRange.parse(text)
        return text
    try:
        parse_tag(text.replace("*", "x").replace("?", "x"))  # a wildcard may stand for any character of a tag
    except BadName as error:
        raise BadTagPattern(
            f"'{text}' is not a tag, glob (stable-*), kind (semver, semver-commit) or range (>=1.0.0)"
        ) from error
    return text


@value
class TagRule:
    """A list of tags. Kinds, names and globs are alternatives; each range must hold as well.

    With ranges only, any version that they hold is let in. An empty list lets nothing in; `ANY_TAG` is
    what a missing list means. A range holds for no tag that is not a version.
    """

    kinds: tuple[VersionKind, ...] = ()
    names: tuple[str, ...] = ()
    globs: tuple[str, ...] = ()
    ranges: tuple[VersionRange, ...] = ()
    texts: tuple[str, ...] = ()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Self:
        """From the entries of the list; raises BadTagPattern or BadRange for the first that is none."""
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
        """Whether the tag is let in."""
        version = parse_version(tag)
        if any(version is None or not r.holds(version) for r in self.ranges):
            return False
        if tag in self.names or (version is not None and version.kind in self.kinds):
            return True
        if any(glob_matches(glob, tag) for glob in self.globs):
            return True
        return bool(self.ranges) and not (self.kinds or self.names or self.globs)

    def common_tag(self, *others: "TagRule") -> str | None:
        """A tag that this rule and the others all let in, or None if none was found.

        What is returned is certain. None is exact for kinds, names and ranges; where three lists with globs meet, or
        a glob meets a kind in an unusual way, a tag may be missed. Cost: some hundred tries.
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


class TagsOrOne:
    """A list of tags, or its one entry alone."""

    def read(self, node: Node) -> TagRule:
        if isinstance(node.value, str):
            return TagRule.parse([_TAG_ENTRY.read(node)])
        rule: TagRule = TAGS.read(node)
        return rule

    def schema(self) -> Schema:
        return {"anyOf": [_TAG_ENTRY.schema(), TAGS.schema()]}


def _candidates(*rules: TagRule) -> Iterator[str]:
    cores = ["0.0.0"]
    prereleases = []
    # What ranges hold are unions of intervals: if two share a version, they share one at the end of an interval.
    for bound in (b for rule in rules for r in rule.ranges for b in r.bounds):
        for (major, minor, patch), _, prerelease in (key for key in (bound.low, bound.high) if key):
            cores.append(f"{major}.{minor}.{patch}")
            if prerelease:
                words = ".".join(word or str(number) for _, number, word in prerelease)
                prereleases.append(f"{cores[-1]}-{words}")
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
    """A shortest tag that both globs match, or None: a walk through both at once, breadth first."""
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
    """Whether every text that `narrow` matches is matched by `wide` as well. Yes is certain; no may be too careful."""
    # Each wildcard of the narrow one becomes a character of its own. What stands for `*` (any number of characters)
    # only a `*` of the wide one may take; what stands for `?`, a `?` or a `*`.
    symbols = narrow.replace("*", "\0").replace("?", "\1")
    return fnmatchcase(symbols, wide.replace("?", "[!\0]"))

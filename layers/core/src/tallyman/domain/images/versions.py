"""Versions in tags: which tags are versions, their order, and ranges of them.

There are two kinds. `semver` is a semantic version (semver.org, 2.0.0) with an optional `v`. `semver-commit` is
`v?X.Y.Z-<6 to 40 hexadecimal digits>`, a version and the commit that it was built from. It is tested **first**: read
as a semantic version, `v1.0.0-abc1234` would be a pre-release that comes before 1.0.0, and `v0.1.0-0000001` would not
be a version (leading zeros). It is ordered, and matches ranges, as X.Y.Z.
"""

import re
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple, Self

from tallyman.errors import BadInput
from tallyman.values import value

MAX_TAG = 128  # characters of a tag; also limits the length of the numbers that int() parses

# Patterns are text, compiled at first use: a cold start imports this module, and few policies have versions.
_NUMBER = r"(0|[1-9][0-9]*)"
_CORE = rf"v?{_NUMBER}\.{_NUMBER}\.{_NUMBER}"
_HASH = r"[0-9A-Fa-f]{6,40}"
_COMMIT = rf"{_CORE}-({_HASH})"
_SEMVER = rf"{_CORE}(?:-([0-9A-Za-z.-]+))?(?:\+([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
_IDENTIFIER = r"0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*"

Triple = tuple[int, int, int]
Precedence = tuple[Triple, int, tuple[tuple[int, int, str], ...]]


class VersionKind(StrEnum):
    """The kinds of versions, by their names in a policy's `tags`."""

    SEMVER = "semver"
    SEMVER_COMMIT = "semver-commit"


@value
class Version:
    """A tag that is a version. `==` compares the texts; `<`, `<=`, `>` and `>=` compare the `precedence`."""

    text: str
    kind: VersionKind
    release: Triple
    prerelease: tuple[str, ...] = ()
    build: str | None = None
    commit: str | None = None

    @property
    def precedence(self) -> Precedence:
        """The sort key by semver 2.0.0 §11. The commit and the build metadata do not count."""
        return self.release, 0 if self.prerelease else 1, tuple(_rank(part) for part in self.prerelease)

    def __lt__(self, other: "Version") -> bool:
        return self.precedence < other.precedence

    def __le__(self, other: "Version") -> bool:
        return self.precedence <= other.precedence

    def __gt__(self, other: "Version") -> bool:
        return self.precedence > other.precedence

    def __ge__(self, other: "Version") -> bool:
        return self.precedence >= other.precedence

    def __str__(self) -> str:
        return self.text


def _rank(identifier: str) -> tuple[int, int, str]:
    # numbers come before words, and are compared as numbers (semver 2.0.0, 11.4)
    return (0, int(identifier), "") if identifier.isdecimal() else (1, 0, identifier)


@lru_cache(maxsize=4096)
def parse_version(tag: str) -> Version | None:
    """The version in a tag; None: the tag is not a version. A text of more than 128 characters is not a tag."""
    if len(tag) > MAX_TAG:
        return None
    if found := re.fullmatch(_COMMIT, tag):
        return Version(tag, VersionKind.SEMVER_COMMIT, _triple(found), commit=found[4])
    found = re.fullmatch(_SEMVER, tag)
    if not found:
        return None
    prerelease = tuple(found[4].split(".")) if found[4] else ()
    if not all(re.fullmatch(_IDENTIFIER, part) for part in prerelease):
        return None
    return Version(tag, VersionKind.SEMVER, _triple(found), prerelease, found[5])


def _triple(found: re.Match[str]) -> Triple:
    return int(found[1]), int(found[2]), int(found[3])


class BadRange(BadInput, ValueError):
    """A range of versions that does not parse."""


RANGE_START = "=!<>^~"  # an entry in a list of tags that starts with one of these is a range; no tag starts so
_PART = rf"(\^|~|>=|<=|!=|>|<|=)[ \t]*v?{_NUMBER}(?:\.{_NUMBER}(?:\.{_NUMBER}(?:-([0-9A-Za-z.-]+))?)?)?(?=[ \t,]|$)"
_LOWEST = ("0",)  # the pre-release of X.Y.Z-0, which comes before every other version of X.Y.Z


def _key(release: Triple, prerelease: tuple[str, ...] = ()) -> Precedence:
    return Version("", VersionKind.SEMVER, release, prerelease).precedence


class Bound(NamedTuple):
    """The versions from `low` to below `high` (None: no upper end); with `outside`, all other versions."""

    low: Precedence
    high: Precedence | None
    outside: bool = False

    def holds(self, key: Precedence) -> bool:
        inside = self.low <= key and (self.high is None or key < self.high)
        return inside is not self.outside

    def holds_some(self, numbers: tuple[int, ...]) -> bool:
        """Whether a version that begins with these numbers, one to three of them, is among the bound's."""
        first: Triple = (*numbers, 0, 0)[:3]  # type: ignore[assignment]
        low, end = _below(first), _below(_next(first, len(numbers) - 1))
        if self.outside:
            return low < self.low or (self.high is not None and self.high < end)
        return self.low < end and (self.high is None or low < self.high)


@value
class VersionRange:
    """A range such as `>=1.0.0` or `>=1.2, <2`: a version must match all of its parts.

    A part is one of `=` `!=` `>` `>=` `<` `<=` `^` `~` and a version whose last numbers may be missing; spaces or
    commas join parts. A missing number stands for all of its values: `=1.2` is every 1.2.Z, `>1.2` is every version
    after these, `<=1.2` includes the last of these. `^1.2.3` ends before the next change of the leftmost number that is
    not zero, `~1.2.3` before 1.3.0. An upper end excludes the pre-releases of its own version unless it is a
    pre-release itself: 2.0.0-rc.1 is not `<2`.
    """

    text: str
    bounds: tuple[Bound, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a range. Raises BadRange that says what was expected."""
        bounds: list[Bound] = []
        rest = text.strip()
        while rest:
            found = re.match(_PART, rest) if len(rest) <= 2 * MAX_TAG else None
            bound = _bound(found) if found else None
            if found is None or bound is None:
                raise BadRange(
                    f"'{text}' is not a range of versions: expected =, !=, >, >=, <, <=, ^ or ~ and a version, as in "
                    f'">=1.0.0" or ">=1.2 <2"'
                )
            bounds.append(bound)
            rest = rest[found.end() :].lstrip(" \t,")
        if not bounds:
            raise BadRange(f"'{text}' is not a range of versions: it is empty")
        return cls(text, tuple(bounds))

    def holds(self, version: Version) -> bool:
        """Whether the version is in the range, by precedence (a `semver-commit` as its X.Y.Z)."""
        key = version.precedence
        return all(bound.holds(key) for bound in self.bounds)


def _bound(found: re.Match[str]) -> Bound | None:
    operator, pre = found[1], found[5]
    # a commit is not a pre-release in a range either: >=1.0.0-abc1234 is >=1.0.0
    prerelease = tuple(pre.split(".")) if pre and not re.fullmatch(_HASH, pre) else ()
    if not all(re.fullmatch(_IDENTIFIER, part) for part in prerelease):
        return None
    numbers = [int(n) for n in found.group(2, 3, 4) if n is not None]
    first: Triple = (int(found[2]), int(found[3] or 0), int(found[4] or 0))
    low = _key(first, prerelease)
    # no version lies between 1.0.0-rc.1 and 1.0.0-rc.1.0, or between the last 1.2.Z and 1.3.0-0
    after = _key(first, (*prerelease, "0")) if prerelease else _below(_next(first, len(numbers) - 1))
    everything = _below((0, 0, 0))
    below = low if prerelease else _below(first)
    match operator:
        case "=":
            return Bound(low, after)
        case "!=":
            return Bound(low, after, outside=True)
        case ">":
            return Bound(after, None)
        case ">=":
            return Bound(low, None)
        case "<":
            return Bound(everything, below)
        case "<=":
            return Bound(everything, after)
        case "~":
            return Bound(low, _below(_next(first, min(len(numbers) - 1, 1))))
        case _:  # "^"
            changing = next((i for i, n in enumerate(numbers) if n), len(numbers) - 1)
            return Bound(low, _below(_next(first, changing)))


def _next(release: Triple, index: int) -> Triple:
    major, minor, patch = release
    return ((major + 1, 0, 0), (major, minor + 1, 0), (major, minor, patch + 1))[index]


def _below(release: Triple) -> Precedence:
    """The key of X.Y.Z-0, the lowest version of X.Y.Z: as an upper end it excludes all pre-releases of X.Y.Z."""
    return _key(release, _LOWEST)

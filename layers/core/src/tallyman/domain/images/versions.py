"""Versions in tags: which tags are versions, how they order, and which ranges hold them.

Two kinds. `semver` is a semantic version (semver.org, 2.0.0) with an optional `v`. `semver-commit` is
`v?X.Y.Z-<6 to 40 hexadecimal digits>`, a version and the commit that it was built from; it is looked for **first**,
because read as a semantic version `v1.0.0-abc1234` would be a pre-release that comes before 1.0.0, and
`v0.1.0-0000001` would be none at all (leading zeros). It orders, and matches ranges, as X.Y.Z.
"""

import re
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple, Self

from tallyman.errors import BadInput
from tallyman.values import value

MAX_TAG = 128  # characters of an image tag; also keeps int() away from texts of unbounded length

_NUMBER = r"(0|[1-9][0-9]*)"
_CORE = rf"v?{_NUMBER}\.{_NUMBER}\.{_NUMBER}"
_HASH = re.compile(r"[0-9A-Fa-f]{6,40}")
_COMMIT = re.compile(rf"{_CORE}-({_HASH.pattern})")
_SEMVER = re.compile(rf"{_CORE}(?:-([0-9A-Za-z.-]+))?(?:\+([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?")
_IDENTIFIER = re.compile(r"0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*")

Triple = tuple[int, int, int]
Precedence = tuple[Triple, int, tuple[tuple[int, int, str], ...]]


class VersionKind(StrEnum):
    """The kinds of version, as a policy's `tags` name them."""

    SEMVER = "semver"
    SEMVER_COMMIT = "semver-commit"


@value
class Version:
    """A tag that is a version. Equal only if written alike; `<` and the others go by `precedence` alone."""

    text: str
    kind: VersionKind
    release: Triple
    prerelease: tuple[str, ...] = ()
    build: str | None = None
    commit: str | None = None

    @property
    def precedence(self) -> Precedence:
        """The key to sort by: semver 2.0.0 §11. The commit and the build metadata do not count."""
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
    # Numbers come before words, and compare as numbers (semver 2.0.0, 11.4).
    return (0, int(identifier), "") if identifier.isdigit() else (1, 0, identifier)


@lru_cache(maxsize=4096)
def parse_version(tag: str) -> Version | None:
    """The version that a tag is, or None. Never raises; a text of more than 128 characters is not a tag."""
    if len(tag) > MAX_TAG:
        return None
    if found := _COMMIT.fullmatch(tag):
        return Version(tag, VersionKind.SEMVER_COMMIT, _triple(found), commit=found[4])
    found = _SEMVER.fullmatch(tag)
    if not found:
        return None
    prerelease = tuple(found[4].split(".")) if found[4] else ()
    if not all(_IDENTIFIER.fullmatch(part) for part in prerelease):
        return None
    return Version(tag, VersionKind.SEMVER, _triple(found), prerelease, found[5])


def _triple(found: re.Match[str]) -> Triple:
    return int(found[1]), int(found[2]), int(found[3])


class BadRange(BadInput, ValueError):
    """A range of versions that does not parse."""


RANGE_START = "=!<>^~"  # a text in a list of tags that starts with one of these is a range; no tag can start so
_PART = re.compile(
    rf"(\^|~|>=|<=|!=|>|<|=)[ \t]*v?{_NUMBER}(?:\.{_NUMBER}(?:\.{_NUMBER}(?:-([0-9A-Za-z.-]+))?)?)?(?=[ \t,]|$)"
)
_LOWEST = ("0",)  # X.Y.Z-0 comes before every other version of X.Y.Z


def _key(release: Triple, prerelease: tuple[str, ...] = ()) -> Precedence:
    return Version("", VersionKind.SEMVER, release, prerelease).precedence


class Bound(NamedTuple):
    """The versions from `low` up to, not including, `high` (None: without end), or with `outside` all the others."""

    low: Precedence
    high: Precedence | None
    outside: bool = False

    def holds(self, key: Precedence) -> bool:
        inside = self.low <= key and (self.high is None or key < self.high)
        return inside is not self.outside


@value
class VersionRange:
    """One text such as `>=1.0.0` or `>=1.2, <2`: all of its parts must hold.

    A part is one of `=` `!=` `>` `>=` `<` `<=` `^` `~` and a version whose last numbers may be missing; parts are
    joined by spaces or commas. A missing number stands for all of its values: `=1.2` is every 1.2.Z, `>1.2` is
    what comes after all of them, `<=1.2` goes up to the last of them. `^1.2.3` is up to the next change of
    the leftmost number that is not zero, `~1.2.3` up to 1.3.0. An upper end shuts out the pre-releases of
    its own version unless it is one itself: 2.0.0-rc.1 is not `<2`.
    """

    text: str
    bounds: tuple[Bound, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises BadRange, which says what was expected."""
        bounds: list[Bound] = []
        at = 0
        stripped = text.strip()
        while at < len(stripped):
            found = _PART.match(stripped, at) if len(stripped) <= 2 * MAX_TAG else None
            bound = _bound(found) if found else None
            if found is None or bound is None:
                raise BadRange(
                    f"'{text}' is not a range of versions: expected =, !=, >, >=, <, <=, ^ or ~ and a version, as in "
                    f'">=1.0.0" or ">=1.2 <2"'
                )
            bounds.append(bound)
            at = found.end()
            while at < len(stripped) and stripped[at] in " \t,":
                at += 1
        if not bounds:
            raise BadRange(f"'{text}' is not a range of versions: it is empty")
        return cls(text, tuple(bounds))

    def holds(self, version: Version) -> bool:
        """Whether the version is in the range, by precedence (a `semver-commit` as its X.Y.Z)."""
        key = version.precedence
        return all(bound.holds(key) for bound in self.bounds)


def _bound(found: re.Match[str]) -> Bound | None:
    operator, pre = found[1], found[5]
    # A commit is no pre-release here either: >=1.0.0-abc1234 is >=1.0.0.
    prerelease = tuple(pre.split(".")) if pre and not _HASH.fullmatch(pre) else ()
    if not all(_IDENTIFIER.fullmatch(part) for part in prerelease):
        return None
    numbers = [int(n) for n in found.group(2, 3, 4) if n is not None]
    first: Triple = (int(found[2]), int(found[3] or 0), int(found[4] or 0))
    low = _key(first, prerelease)
    # Nothing lies between 1.0.0-rc.1 and 1.0.0-rc.1.0, nor between the last 1.2.Z and 1.3.0-0.
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
    """The key of the lowest version of X.Y.Z, X.Y.Z-0: as an upper end it shuts out all pre-releases of X.Y.Z."""
    return _key(release, _LOWEST)

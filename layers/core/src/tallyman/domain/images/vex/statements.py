"""What a document says of one vulnerability in the image that it is attached to."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from tallyman.domain.images.purls import Package, Purl
from tallyman.domain.times import format_time, parse_time
from tallyman.values import value

MOST_NAMES = 50
"""Products, parts, or names of the vulnerability of one statement."""
LONGEST = 500
"""Characters of a reason or a name that are kept."""
IGNORING = ("not_affected", "fixed")
"""The statuses of what does not matter."""
Json = Mapping[str, Any]
About = tuple[list[str] | None, str | None]
"""The purls of the packages that a statement is about (empty: the whole image; None: that is not certain), and the
architecture of the one platform image that it is about."""


@value
class VexStatement:
    """What a document says of vulnerabilities with these ids, one and its aliases, in the image that it is attached to.

    `ignores`: the finding does not matter, for the reason `because`. `at`: when that was so; None: not said. `parts`:
    purls of the packages that it is about; empty: the whole image. `arch`: only of this platform image of an index.
    """

    ids: tuple[str, ...]
    status: str
    ignores: bool
    because: str
    at: datetime | None = None
    parts: tuple[str, ...] = ()
    arch: str | None = None

    def is_of(self, package: Package | None) -> bool:
        """Whether it is about this package; None: the scanner does not say which. Where it ignores, certainly; else
        possibly."""
        if not self.parts:
            return True
        purls = [Purl.parse(part) for part in self.parts]
        if self.ignores:
            return package is not None and any(purl is not None and purl.names(package) for purl in purls)
        return package is None or any(purl is None or purl.may_name(package) for purl in purls)

    def as_json(self) -> dict[str, Any]:
        """As a fact keeps it."""
        return {
            "ids": list(self.ids),
            "status": self.status,
            "ignores": self.ignores,
            "because": self.because,
            "at": format_time(self.at) if self.at else None,
            "parts": list(self.parts),
            "arch": self.arch,
        }

    @classmethod
    def from_json(cls, said: Json) -> "VexStatement":
        """As a fact keeps it."""
        at = parse_time(said["at"]) if said["at"] else None
        parts = (tuple(said["ids"]), said["status"], said["ignores"], said["because"], at, tuple(said["parts"]))
        return cls(*parts, said["arch"])


def statement(
    ids: Iterable[object], status: str, reason: str | None, at: datetime | None, about: About
) -> VexStatement | None:
    """None: it says nothing that could matter. What is not understood ignores nothing; where it says that the image may
    be concerned it is kept, for it ends what an earlier statement ignored."""
    parts, arch = about
    known = tuple(dict.fromkeys(each for each in map(text, ids) if each))
    ignores = status in IGNORING
    because = reason or ("fixed" if status == "fixed" else None)
    if not known or (ignores and (because is None or at is None or parts is None)):
        return None
    return VexStatement(known, status[:LONGEST], ignores, because or status[:LONGEST], at, tuple(parts or ()), arch)


def time(*given: object) -> datetime | None:
    """The first time that is there; None where that is none, or has no zone."""
    found = next((each for each in given if each is not None), None)
    try:
        moment = datetime.fromisoformat(found) if isinstance(found, str) else None
        return moment.astimezone(UTC) if moment is not None and moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def part(item: Json, key: str) -> Json:
    """The object under a key; an empty one where there is none."""
    found = item.get(key)
    return found if isinstance(found, Mapping) else {}


def items(item: Json, key: str) -> list[Json]:
    """The list of objects under a key; what else is in it counts as an empty one."""
    found = item.get(key)
    return [each if isinstance(each, Mapping) else {} for each in found] if isinstance(found, list) else []


def text(given: object) -> str | None:
    """A text that says something, cut at LONGEST."""
    return given[:LONGEST] if isinstance(given, str) and given.strip() else None

"""One VEX statement about a vulnerability in the image that the document is attached to."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from tallyman.domain.images.documents import Json
from tallyman.domain.images.purls import Package, Purl
from tallyman.domain.times import parse_time
from tallyman.values import value

MOST_NAMES = 50
"""The most products, packages, or ids of the vulnerability that are read of one statement."""
LONGEST = 500
"""The number of characters of a reason or a name that are kept."""
IGNORING = ("not_affected", "fixed")
"""The statuses by which a finding is ignored."""
About = tuple[list[str] | None, str | None]
"""The purls of the packages that a statement is about (empty: the whole image; None: not certain), and the
architecture of the platform image that it is about (None: of all)."""


@value
class VexStatement:
    """A statement about a vulnerability, by its id and aliases (`ids`), in the image that it is attached to.

    `ignores`: the finding does not count, for the reason `because`. `at`: the statement's time; None: not stated.
    `parts`: purls of the packages that it is about; empty: the whole image. `arch`: it is about the platform image of
    this architecture only; None: about all.
    """

    ids: tuple[str, ...]
    status: str
    ignores: bool
    because: str
    at: datetime | None = None
    parts: tuple[str, ...] = ()
    arch: str | None = None

    def is_of(self, package: Package | None) -> bool:
        """Whether the statement is about the package (None: the scanner does not name it). One that ignores has to name
        it certainly; for another, it is enough that it may."""
        if not self.parts:
            return True
        purls = [Purl.parse(part) for part in self.parts]
        if self.ignores:
            return package is not None and any(purl is not None and purl.names(package) for purl in purls)
        return package is None or any(purl is None or purl.may_name(package) for purl in purls)

    @classmethod
    def from_json(cls, said: Json) -> "VexStatement":
        """Parse the form that a fact stores, which `plain` makes."""
        at = parse_time(said["at"]) if said["at"] else None
        parts = (tuple(said["ids"]), said["status"], said["ignores"], said["because"], at, tuple(said["parts"]))
        return cls(*parts, said["arch"])


def statement(
    ids: Iterable[object], status: str, reason: str | None, at: datetime | None, about: About
) -> VexStatement | None:
    """Make a statement; None: it changes nothing. One without a reason, time or certain package ignores nothing. One
    that says that the image may be affected is always kept: it ends what an earlier statement ignored."""
    parts, arch = about
    known = tuple(dict.fromkeys(each for each in map(text, ids) if each))
    ignores = status in IGNORING
    because = reason or ("fixed" if status == "fixed" else None)
    if not known or (ignores and (because is None or at is None or parts is None)):
        return None
    return VexStatement(known, status[:LONGEST], ignores, because or status[:LONGEST], at, tuple(parts or ()), arch)


def time(*given: object) -> datetime | None:
    """The first of these values that is not None, as a time in UTC; None: it is not a time, or has no time zone."""
    found = next((each for each in given if each is not None), None)
    try:
        moment = datetime.fromisoformat(found) if isinstance(found, str) else None
        return moment.astimezone(UTC) if moment is not None and moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def items(item: Json, key: str) -> list[Json]:
    """The objects in the list under `key`; an item of another type counts as an empty object."""
    found = item.get(key)
    return [each if isinstance(each, Mapping) else {} for each in found] if isinstance(found, list) else []


def text(given: object) -> str | None:
    """The string, cut at LONGEST characters; None: it is not a string, or is blank."""
    return given[:LONGEST] if isinstance(given, str) and given.strip() else None

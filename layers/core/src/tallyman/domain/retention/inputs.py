"""Inputs to a retention plan besides the registry and the policy: usage, releases, pending promotions, freezes."""

from collections.abc import Iterable, Mapping
from dataclasses import field
from datetime import datetime
from enum import StrEnum

from tallyman.domain.names import Digest, EcrRegistry
from tallyman.domain.usage import Reading, Use, used_tag
from tallyman.values import value


@value
class Release:
    """The time in which an environment ran a digest; `until` None: it still does."""

    environment: str
    since: datetime
    until: datetime | None = None


class Cause(StrEnum):
    """The kinds of reasons why a plan must not be carried out."""

    UNREAD = "unread"  # a source of usage can't be read
    START = "start"  # the image is not known that something started from a tag
    TOO_MANY = "too_many"  # more images would go than the policy allows in one run


@value
class Refusal:
    """A reason why a plan must not be carried out. `about`: the source of usage, or the use, that it is about; empty:
    the whole plan. `text` is for people; it has numbers and errors, which differ from run to run."""

    cause: Cause
    about: str
    text: str

    @property
    def key(self) -> str:
        """What two refusals for the same reason have in common."""
        return f"{self.cause} {self.about}".rstrip()


@value
class RetentionInputs:
    """The ledger's and the state table's data about one repository, and the images that other regions hold.

    `moved`: when a tag was last set to a digest. `started`: where a tag pointed when something started from it, by
    (tag, time); None: not known. `waiting`: digests that wait for a promotion, and why; `elsewhere`: digests that a
    removal would also remove from another region, and why. `frozen`: why nothing of the repository may be removed now.
    `begun`: images whose index or subject was removed by a run that ended before it removed them.
    """

    moved: Mapping[Digest, datetime] = field(default_factory=dict)
    releases: Mapping[Digest, tuple[Release, ...]] = field(default_factory=dict)
    waiting: Mapping[Digest, str] = field(default_factory=dict)
    elsewhere: Mapping[Digest, str] = field(default_factory=dict)
    frozen: tuple[str, ...] = ()
    started: Mapping[tuple[str, datetime], Digest | None] = field(default_factory=dict)
    begun: frozenset[Digest] = frozenset()


def concerns(use: Use, name: str, registry: EcrRegistry) -> bool:
    """Whether the used image may be one of the repository with this name. Where a source reports an address that is not
    an ECR's, only the name is compared."""
    if use.repository is not None:
        return use.repository.name == name and use.repository.registry == registry
    path = use.image.partition("/")[2].partition("@")[0]
    return path == name or path.rpartition(":")[0] == name


def wanted_tags(readings: Iterable[Reading], name: str, registry: EcrRegistry) -> set[tuple[str, datetime]]:
    """The tags whose digest at a past time is needed: (tag, when something started from it)."""
    found: set[tuple[str, datetime]] = set()
    for use in (use for reading in readings for use in reading.uses):
        if use.digest is None and use.since is not None and concerns(use, name, registry):
            tag = used_tag(use)
            if tag is not None:
                found.add((tag, use.since))
    return found

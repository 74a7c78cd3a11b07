"""Inputs to a retention plan besides the registry and the policy: usage, and what ledger and state say."""

from collections.abc import Iterable, Mapping
from dataclasses import field
from datetime import datetime

from tallyman.domain.names import Digest, EcrRegistry
from tallyman.domain.usage import Use
from tallyman.values import value


@value
class Reading:
    """One look at one source of usage in one account and region. `error`: why it could not be read; what it would
    have reported is then not known. `regional`: what runs there can only pull from a registry of its own region."""

    source: str
    where: EcrRegistry
    at: datetime
    uses: tuple[Use, ...] = ()
    error: str | None = None
    regional: bool = False

    def reaches(self, registry: EcrRegistry) -> bool:
        """Whether its uses could run an image of this registry."""
        return not self.regional or self.where.region == registry.region


@value
class Release:
    """An environment ran a digest from `since` until `until` (None: it still does)."""

    environment: str
    since: datetime
    until: datetime | None = None


@value
class RetentionInputs:
    """The ledger's and the state's data about one repository, and what other regions hold.

    `moved`: when a tag was last set to a digest. `started`: what tags pointed to when somebody started to use them, by
    (tag, moment); None: not known. `waiting`, `elsewhere`: digests and why they are needed. `frozen`: why nothing of
    the repository may be removed now. `begun`: images that were to go with an index or subject which retention has
    removed since, in a run that ended before it came to them.
    """

    moved: Mapping[Digest, datetime] = field(default_factory=dict)
    releases: Mapping[Digest, tuple[Release, ...]] = field(default_factory=dict)
    waiting: Mapping[Digest, str] = field(default_factory=dict)
    elsewhere: Mapping[Digest, str] = field(default_factory=dict)
    frozen: tuple[str, ...] = ()
    started: Mapping[tuple[str, datetime], Digest | None] = field(default_factory=dict)
    begun: frozenset[Digest] = frozenset()


def concerns(use: Use, name: str, registry: EcrRegistry) -> bool:
    """Whether what is used could be an image of the repository of this name: where a source reports an address that is
    no ECR's, the name alone counts."""
    if use.repository is not None:
        return use.repository.name == name and use.repository.registry == registry
    path = use.image.partition("/")[2].partition("@")[0]
    return path == name or path.rpartition(":")[0] == name


def used_tag(use: Use) -> str | None:
    """The tag that is used; `latest` where neither a tag nor a digest is said, as every container runtime reads it."""
    if use.tag is not None or use.digest is not None:
        return use.tag
    last = use.image.partition("@")[0].rpartition("/")[2]
    return last.partition(":")[2] or "latest"


def wanted_tags(readings: Iterable[Reading], name: str, registry: EcrRegistry) -> set[tuple[str, datetime]]:
    """The tags whose digest at a moment in the past has to be found out: (tag, when somebody started to use it)."""
    found: set[tuple[str, datetime]] = set()
    for use in (use for reading in readings for use in reading.uses):
        if use.digest is None and use.since is not None and concerns(use, name, registry):
            tag = used_tag(use)
            if tag is not None:
                found.add((tag, use.since))
    return found

"""The steps of a promotion."""

from collections.abc import Container, Mapping, Sequence
from typing import ClassVar

from tallyman.domain.history.details.base import Details
from tallyman.domain.names import Repository
from tallyman.domain.policy import Environment
from tallyman.values import value


@value
class Intended(Details):
    """Details of intended: Tallyman is about to push the image to `repository` of these registries, as a part of the
    image `root`."""

    SPARSE: ClassVar = frozenset({"name", "root"})
    target: str
    registries: Sequence[str]
    repository: str
    name: str | None = None
    root: str | None = None


@value
class TaggingBegun(Details):
    """Details of tagging: from now on these tags may be set in targets. `ends`: ids of the facts that it replaces."""

    target: str
    source: str
    name: str
    tags: Sequence[str]
    ends: Sequence[str] = ()


@value
class Promoted(Details):
    """Details of promoted. `left_out`: by registry the referrers that could not be copied, with the reason for each.
    `tagging`: ids of the facts that it finishes. `stays`: why the release did not move to the image; None: it did.
    `repository`: the name in the registries; None, of earlier versions: not recorded."""

    SPARSE: ClassVar = frozenset({"repository"})
    target: str
    source: str
    name: str
    tags: Sequence[str]
    registries: Sequence[str]
    policy: str
    left_out: Mapping[str, Mapping[str, str]]
    tagging: Sequence[str] = ()
    stays: str | None = None
    repository: str | None = None

    def is_into(self, environment: Environment, name: str, known: Container[str]) -> bool:
        """Whether it brought the image to this environment. That may have had another name then: one that the policy
        does not have any more (`known`: those that it has), with the same repositories."""
        if self.name != name:
            return False
        if self.target == environment.name:
            return True
        is_renamed = self.target not in known and self.repository is not None
        return is_renamed and all(map(self.reached, environment.repositories(name)))

    def reached(self, place: Repository) -> bool:
        """Whether the image was brought to this repository."""
        return str(place.registry) in self.registries and self.repository in (None, place.name)


@value
class Delayed(Details):
    """Details of delayed: a promotion failed for now. `next_at`: when it is tried again. `expected`: nothing failed,
    the promotion waits for ECR's replication."""

    SPARSE: ClassVar = frozenset({"expected"})

    target: str
    name: str
    reason: str
    attempt: int
    next_at: str
    expected: bool = False


@value
class Parked(Details):
    """Details of parked: a promotion was given up."""

    target: str
    name: str
    reason: str

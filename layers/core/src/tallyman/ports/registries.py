"""What else is read of an ECR, set in it, and removed from it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from tallyman.domain.images.details import (
    ApiCall,
    ImageDetail,
    ReplicationStatus,
    RepositorySettings,
    ScanReport,
    SigningStatus,
)
from tallyman.domain.images.manifest import Manifest
from tallyman.domain.names import Digest, EcrRegistry, Repository
from tallyman.domain.replication import ReplicationRule
from tallyman.ports.copying import Destination, Origin
from tallyman.values import value


class ImageSource(Origin, Protocol):
    """Reading images of any registry that the role may read."""

    def manifest(self, repository: Repository, reference: str) -> Manifest | None:
        """By Digest or tag, the raw bytes as pushed; None if it is not there. NotFound: no such repository.
        Does not check the bytes against the digest asked for: that is the caller's."""

    def describe(self, repository: Repository, references: Sequence[str]) -> list[ImageDetail]:
        """What is there of these digests and tags (archived too); 100 a call."""

    def images(self, repository: Repository) -> Iterator[ImageDetail]:
        """All images, archived too, page by page (1,000 a call)."""


class ImageTarget(Destination, Protocol):
    """Writing images. Another port than ImageSource, so that a promotion can't write to its source."""

    def manifest(self, repository: Repository, reference: str) -> Manifest | None: ...

    def create(
        self,
        settings: RepositorySettings,
        pull: Sequence[str] = (),
        push: Sequence[str] | None = None,
        functions: bool = False,
    ) -> None:
        """Creates the repository; that it is there is fine, and leaves it as it is. Its policy lets the accounts in
        `pull` read, and Lambda for their functions (with `functions` for those of the repository's account too); and,
        where `push` is given, nobody but ourselves and those roles (`role/NAME` there) push."""


class RegistryView(Protocol):
    """Reading what a registry holds and how it is set."""

    def repositories(self, registry: EcrRegistry) -> Iterator[RepositorySettings]: ...

    def settings(self, repository: Repository) -> RepositorySettings | None:
        """None: there is no such repository."""

    def scan(self, repository: Repository, digest: Digest) -> ScanReport: ...

    def epss(self, repository: Repository, digest: Digest) -> dict[str, float]:
        """The EPSS of the image's vulnerabilities, by name; those that nobody knows are left out."""

    def start_scan(self, repository: Repository, digest: Digest) -> None:
        """Asks for a basic scan; that one runs, or ran within 24 h, is not an error."""


class ImageRemover(Protocol):
    """Removing images: a port of its own, that only retention holds."""

    def remove(self, repository: Repository, digests: Sequence[Digest]) -> dict[Digest, str]:
        """At most 100 in one call, indexes before what they list; those that did not go, and why."""

    def store(self, repository: Repository, digest: Digest, *, archive: bool) -> None:
        """Moves one image into the archive storage class, or back."""


class Replication(Protocol):
    """The registry's own replication."""

    def rules(self, registry: EcrRegistry) -> list[ReplicationRule]:
        """By which the registry's images go to others."""

    def removal_reaches(self, repository: Repository) -> list[EcrRegistry]:
        """The registries in which a removal here removes too."""


class ImageReplication(Protocol):
    """How far the registry's own replication is, for promotions that leave copies to it."""

    def rules(self, registry: EcrRegistry) -> list[ReplicationRule]: ...

    def statuses(self, repository: Repository, digest: Digest) -> Mapping[EcrRegistry, ReplicationStatus]:
        """Of each registry to which this image is replicated. NotFound: no such image."""


class Guards(Protocol):
    """Repository policies that keep everybody but promotions from pushing."""

    def problem(self, repository: Repository, others: Sequence[str]) -> str | None:
        """What is wrong with the repository's policy, if only ourselves and `others` (`role/NAME`) may push; None:
        nothing. NotFound: no such repository."""

    def policy(self, repository: Repository) -> str | None:
        """The repository's policy as it stands there; None: there is none. NotFound: no such repository."""


class SigningView(Protocol):
    """ECR's managed signing."""

    def signing(self, repository: Repository, digest: Digest) -> list[SigningStatus] | None:
        """By profile; empty: nothing signs it. None: the registry does not say. NotFound: no such image."""


@value
class TrailPage:
    """Calls, oldest first, and where to read on; None: these were the last of the window."""

    calls: tuple[ApiCall, ...]
    position: str | None


class Trail(Protocol):
    """CloudTrail's 90 days of management events."""

    def page(
        self, registry: EcrRegistry, since: datetime, until: datetime, position: str | None, waiting: Callable[[], None]
    ) -> TrailPage:
        """One page of the ECR calls between these times that changed images or repositories, in no order of pages.

        `position`: as the page before gave it, of this run or an earlier one; None: the first page. Paced: others share
        the account's rate. `waiting` is called before each further wait for it; what it raises ends the reading.
        """

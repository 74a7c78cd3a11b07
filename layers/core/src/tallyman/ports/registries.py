"""Interfaces of ECR beyond copying: images, settings, scans, removal, replication, policies, signing, CloudTrail."""

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
from tallyman.domain.push_protection import Problem
from tallyman.domain.replication import ReplicationRule
from tallyman.ports.copying import Destination, Origin
from tallyman.values import value


class ImageSource(Origin, Protocol):
    """Images in any registry that the role may read."""

    def manifest(self, repository: Repository, reference: str) -> Manifest | None:
        """The manifest of a Digest or tag, the raw bytes as pushed; None: there is none. The caller has to check the
        bytes against the digest. Raises NotFound: no such repository."""

    def describe(self, repository: Repository, references: Sequence[str]) -> list[ImageDetail]:
        """The images of these digests and tags that exist, including archived ones. One call per 100."""

    def images(self, repository: Repository) -> Iterator[ImageDetail]:
        """All images, including archived ones, page by page. One call per 1,000."""


class ImageTarget(Destination, Protocol):
    """Writing of images. Separate from ImageSource, so that a promotion can't write to its source."""

    def manifest(self, repository: Repository, reference: str) -> Manifest | None: ...

    def create(
        self,
        settings: RepositorySettings,
        pull: Sequence[str] = (),
        push: Sequence[str] | None = None,
        functions: bool = False,
    ) -> None:
        """Create the repository; an existing one is left unchanged, without an error. Its policy lets the accounts in
        `pull` pull, and Lambda for their functions; with `functions`, also for those of the repository's own account.
        Where `push` is given, only Tallyman and these roles (`role/NAME` in the repository's account) may push."""


class RegistryView(Protocol):
    """Reading of repositories, their settings and scans."""

    def repositories(self, registry: EcrRegistry) -> Iterator[RepositorySettings]:
        """The settings of every repository, page by page."""

    def settings(self, repository: Repository) -> RepositorySettings | None:
        """The repository's settings; None: there is no such repository."""

    def scan(self, repository: Repository, digest: Digest) -> ScanReport:
        """The result of the image's last scan."""

    def epss(self, repository: Repository, digest: Digest) -> dict[str, float]:
        """The EPSS (0 to 1) of the image's vulnerabilities by their ids; those without one are left out."""

    def start_scan(self, repository: Repository, digest: Digest) -> None:
        """Start a basic scan; no error where one runs, or ran within 24 hours."""


class ImageRemover(Protocol):
    """Removal of images. Separate, so that only retention can remove."""

    def remove(self, repository: Repository, digests: Sequence[Digest]) -> dict[Digest, str]:
        """Remove at most 100 images in one call, indexes before the images that they list; return the reason for each
        that was not removed."""

    def store(self, repository: Repository, digest: Digest, *, archive: bool) -> None:
        """Move one image to the archive storage class, or back."""


class Replication(Protocol):
    """The registry's own replication."""

    def rules(self, registry: EcrRegistry) -> list[ReplicationRule]:
        """The rules by which ECR copies the registry's images to others."""

    def removal_reaches(self, repository: Repository) -> list[EcrRegistry]:
        """The registries to which ECR replicates a removal from this repository."""


class ImageReplication(Protocol):
    """The state of the registry's own replication, for promotions that leave copies to it."""

    def rules(self, registry: EcrRegistry) -> list[ReplicationRule]: ...

    def statuses(self, repository: Repository, digest: Digest) -> Mapping[EcrRegistry, ReplicationStatus]:
        """The status for each registry to which this image is replicated. Raises NotFound: no such image."""


class Guards(Protocol):
    """Repository policies that let only promotions push."""

    def problem(self, repository: Repository, others: Sequence[str]) -> Problem | None:
        """Why the repository's policy does not let only Tallyman and `others` (`role/NAME`) push; None: it does. Raises
        NotFound: no such repository."""

    def policy(self, repository: Repository) -> str | None:
        """The text of the repository's policy; None: there is none. Raises NotFound: no such repository."""


class SigningView(Protocol):
    """ECR's managed signing."""

    def signing(self, repository: Repository, digest: Digest) -> list[SigningStatus] | None:
        """The status for each signing profile; empty: nothing signs the image; None: the registry does not say. Raises
        NotFound: no such image."""


@value
class TrailPage:
    """Calls, oldest first, and the position of the next page; None: this was the last page of the window."""

    calls: tuple[ApiCall, ...]
    position: str | None


class Trail(Protocol):
    """CloudTrail's 90 days of management events."""

    def page(
        self, registry: EcrRegistry, since: datetime, until: datetime, position: str | None, waiting: Callable[[], None]
    ) -> TrailPage:
        """One page of the ECR calls between these times that changed images or repositories; pages come in no order.

        `position`: the previous page's, of this run or an earlier one; None: the first page. Calls are paced, as the
        account's rate is shared; `waiting` is called before each further wait, and an error that it raises ends the
        reading.
        """

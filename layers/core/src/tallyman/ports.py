"""What services need of the world: narrow Protocols, implemented by adapters and by the tests' fakes.

Every method raises `tallyman.errors` only: Passing for what may succeed later, Refused and BadInput for what won't.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import field
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from tallyman.domain.facts import Fact
from tallyman.domain.images import ApiCall, ImageDetail, RepositorySettings, ScanReport, SigningStatus
from tallyman.domain.manifest import Descriptor, Manifest
from tallyman.domain.names import Digest, Registry, Repository
from tallyman.domain.usage import Use
from tallyman.domain.values import dataclass

if TYPE_CHECKING:  # their import takes longer than a copy of a small image, which needs neither
    from tallyman.domain.policy import Service
    from tallyman.domain.retention.known import Reading

Clock = Callable[[], datetime]
"""The time now, aware, UTC."""

Deadline = Callable[[], float]
"""Seconds that are left of this run (infinite where there is no limit)."""


@dataclass(frozen=True, slots=True)
class StateItem:
    """A small mutable document. `revision` counts its writes from 1; `data` is plain JSON data; `expires`: TTL."""

    pk: str
    sk: str
    revision: int
    data: Mapping[str, Any] = field(default_factory=dict)
    expires: datetime | None = None


@dataclass(frozen=True, slots=True)
class StateChange:
    """Write `data` under (pk, sk), if the item's revision is still `revision` (0: if there is none yet)."""

    pk: str
    sk: str
    revision: int
    data: Mapping[str, Any]
    expires: datetime | None = None


class Appended(Enum):
    """What became of an append."""

    WRITTEN = "written"
    KNOWN = "known"  # the same fact was there already; nothing was changed, the StateChange neither


class Ledger(Protocol):
    """The append-only facts."""

    def append(self, fact: Fact, change: StateChange | None = None, *more: StateChange) -> Appended:
        """Writes the fact if it is new, and the changes with it in one transaction. Raises StateMoved where only a
        change's condition failed: nothing was written."""

    def of_digest(self, digest: Digest) -> list[Fact]:
        """All facts of a digest in the order of time; a consistent read. One Query a MiB."""

    def of_repository(self, repository: Repository, until: datetime | None = None) -> Iterator[Fact]:
        """Facts of a repository of one registry that happened at or before `until`, newest first; read page by page
        as it is consumed, from an index (may lag some milliseconds: for showing, never for deciding)."""

    def of_tag(self, repository: Repository, tag: str, until: datetime | None = None) -> Iterator[Fact]:
        """The same for one tag."""

    def of_environment(self, environment: str, repository: str | None = None) -> Iterator[Fact]:
        """Facts of an environment (or of one repository name in it), newest first; a consistent read."""


class State(Protocol):
    """Small mutable projections; every read is consistent."""

    def get(self, pk: str, sk: str) -> StateItem | None: ...

    def get_many(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], StateItem]:
        """Those of the keys that exist; 100 a call."""

    def list(self, pk: str, prefix: str = "") -> Iterator[StateItem]:
        """Items of a partition whose sk begins with prefix, in the order of sk; page by page."""

    def put(self, change: StateChange) -> None:
        """Raises StateMoved where the revision is another one."""

    def delete(self, pk: str, sk: str, revision: int) -> None:
        """Raises StateMoved where the revision is another one; an item that is gone is fine."""


class Archive(Protocol):
    """Objects by the SHA-256 of their bytes, kept for ever."""

    def put(self, folder: str, raw: bytes) -> Digest:
        """Writes `<folder>/<sha256 hex>` unless it is there; the digest of the bytes."""

    def get(self, folder: str, digest: Digest) -> bytes | None:
        """The bytes, checked against the digest (DigestMismatch), or None."""


class Hints(Protocol):
    """Queues of hints between our own reactions."""

    def send(self, queue: str, body: Mapping[str, Any], delay: int = 0) -> None:
        """`queue`: verify, promote, commands or retention; `delay`: seconds, at most 900."""


class Notices(Protocol):
    """Words for people, on the stack's topic."""

    def publish(self, subject: str, text: str, attributes: Mapping[str, str]) -> None: ...


class Announcements(Protocol):
    """Events for programs, on the stack's bus."""

    def emit(self, detail_type: str, detail: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True, slots=True)
class Way:
    """How events leave a registry's account. `enabled` None: the rule is not there. `undelivered`: events that could
    not be sent on."""

    rule: str
    enabled: bool | None
    undelivered: int


class RegistryBuses(Protocol):
    """The default buses, on which ECR puts the events of its registries."""

    def send(self, registry: Registry, nonce: str) -> None:
        """Puts a test event there."""

    def way(self, registry: Registry) -> Way: ...


class BlobStream(Protocol):
    """A blob while it is read."""

    size: int | None

    def __iter__(self) -> Iterator[bytes]:
        """Chunks of at most 1 MiB. Raises Unreachable where the connection breaks or the body is short."""


class Origin(Protocol):
    """What copying reads of a registry, an ECR or any other."""

    def manifests(self, repository: Repository, references: Sequence[str]) -> dict[str, Manifest]:
        """Those of the digests and tags that are there, by reference: the raw bytes as pushed, not checked against
        the digest asked for. 100 a call where a registry answers for many at once, else several calls at a time.
        NotFound: no such repository."""

    def missing_blobs(self, repository: Repository, digests: Iterable[Digest]) -> set[Digest]:
        """Those that are not available; 100 a call."""

    def open_blob(self, repository: Repository, digest: Digest, start: int = 0) -> AbstractContextManager[BlobStream]:
        """The blob's bytes from `start` on."""

    def referrers(self, repository: Repository, subject: Digest) -> list[Descriptor]:
        """What points at the subject (signatures, SBOMs, attestations)."""


class ImageSource(Origin, Protocol):
    """Reading images of any registry that the role may read."""

    def manifest(self, repository: Repository, reference: str) -> Manifest | None:
        """By Digest or tag, the raw bytes as pushed; None if it is not there. NotFound: no such repository.
        Does not check the bytes against the digest asked for: that is the caller's."""

    def describe(self, repository: Repository, references: Sequence[str]) -> list[ImageDetail]:
        """What is there of these digests and tags (archived too); 100 a call."""

    def images(self, repository: Repository) -> Iterator[ImageDetail]:
        """All images, archived too, page by page (1,000 a call)."""


class RegistryView(Protocol):
    """Reading what a registry holds and how it is set."""

    def repositories(self, registry: Registry) -> Iterator[RepositorySettings]: ...

    def settings(self, repository: Repository) -> RepositorySettings | None:
        """None: there is no such repository."""

    def scan(self, repository: Repository, digest: Digest) -> ScanReport: ...

    def start_scan(self, repository: Repository, digest: Digest) -> None:
        """Asks for a basic scan; that one runs, or ran within 24 h, is no error."""


class Destination(Protocol):
    """What copying writes to a registry, an ECR or any other, and what it has to ask there."""

    def missing_blobs(self, repository: Repository, digests: Iterable[Digest]) -> set[Digest]: ...

    def manifests(self, repository: Repository, references: Sequence[str]) -> dict[str, Manifest]: ...

    def mount(self, repository: Repository, digest: Digest, source: str) -> bool:
        """Takes the blob over from the repository `source` of the same registry; False: it has to be uploaded."""

    def upload(self, repository: Repository, digest: Digest, size: int | None, chunks: Iterable[bytes]) -> None:
        """Streams one blob; the registry checks its digest. Unreachable if it broke: start again."""

    def put_manifest(self, repository: Repository, manifest: Manifest, tag: str | None = None) -> None:
        """Sends the raw bytes, by tag or by digest. TagTaken: an immutable tag names another digest; that it names
        this one already is success. Unsupported: the registry takes no such artifact."""


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


class LayerUploads(Protocol):
    """Uploading a blob in parts, so that it can go on after a crash, from another process."""

    def begin(self, repository: Repository, digest: Digest) -> str:
        """A new session."""

    def send_part(self, repository: Repository, session: str, first: int, part: bytes) -> int:
        """Adds bytes that begin at `first`; how many bytes of the blob the registry has then, which is where to go
        on: less or more than was sent where it and we had lost count. Forgotten: the session is of no more use."""

    def complete(self, repository: Repository, session: str, digest: Digest) -> None:
        """Ends the upload; the registry compares the digest. Forgotten as above; DigestMismatch: nothing is kept."""


class SigningView(Protocol):
    """ECR's managed signing."""

    def signing(self, repository: Repository, digest: Digest) -> list[SigningStatus] | None:
        """By profile; empty: nothing signs it. None: the registry does not say. NotFound: no such image."""


class Trail(Protocol):
    """CloudTrail's 90 days of management events."""

    def calls(self, registry: Registry, since: datetime, until: datetime) -> Iterator[ApiCall]:
        """ECR calls that changed images or repositories, oldest first. Two requests a second: paced."""


class People(Protocol):
    """Who sent a command, by what SQS itself says."""

    def principal(self, sender_id: str, allowed: Sequence[str]) -> str | None:
        """The entry of `allowed` (`role/NAME`, `user/NAME`) that SenderId (`AROA…:session`) belongs to, or None."""


class Guards(Protocol):
    """Repository policies that keep everybody but promotions from pushing."""

    def problem(self, repository: Repository, others: Sequence[str]) -> str | None:
        """What is wrong with the repository's policy, if only ourselves and `others` (`role/NAME`) may push; None:
        nothing. NotFound: no such repository."""

    def policy(self, repository: Repository) -> str | None:
        """The repository's policy as it stands there; None: there is none. NotFound: no such repository."""


class Usage(Protocol):
    """What runs images, in one account and region."""

    def running(self, registry: Registry) -> Iterator[Use]:
        """Everything that runs an image now, wherever the image comes from. Raises where a source can't be read: what
        it would have told is then not known."""


class UsageReadings(Protocol):
    """Everything that could need an image, in one account and region."""

    def readings(self, registry: Registry, at: datetime) -> "list[Reading]":
        """One for each source, read now (`at`); what can't be read is a reading with an error, never an exception."""


class ImageRemover(Protocol):
    """Removing images: a port of its own, that only retention holds."""

    def remove(self, repository: Repository, digests: Sequence[Digest]) -> dict[Digest, str]:
        """At most 100 in one call, indexes before what they list; those that did not go, and why."""

    def store(self, repository: Repository, digest: Digest, *, archive: bool) -> None:
        """Moves one image into the archive storage class, or back."""


class Replication(Protocol):
    """The registry's own replication."""

    def removal_reaches(self, repository: Repository) -> list[Registry]:
        """The registries in which a removal here removes too."""


@dataclass(frozen=True, slots=True)
class Moving:
    """How a service that was moved is doing: `done` None: not known yet. `reason`: in the service's own words."""

    done: bool | None
    reason: str = ""


class RollOuts(Protocol):
    """Moving what runs, in one account and region. Each method may be repeated."""

    def current(self, registry: Registry, service: "Service") -> str:
        """What it runs now, as `move` and `back` take it: a task definition, or a version of a function."""

    def architecture(self, registry: Registry, service: "Service") -> str | None:
        """The one architecture (amd64, arm64) that it takes; None: it takes an index."""

    def move(self, registry: Registry, service: "Service", image: str) -> str:
        """Lets it run the image, by its address with a digest; what `settled` is asked about."""

    def settled(self, registry: Registry, service: "Service", moved: str) -> Moving: ...

    def back(self, registry: Registry, service: "Service", before: str) -> None:
        """Lets it run again what `current` told."""

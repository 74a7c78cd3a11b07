"""What copying needs of a registry, an ECR or any other. Little is imported here: the start of `tallyman copy` is made
of imports."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from tallyman.domain.images.manifest import Descriptor, Manifest
from tallyman.domain.names import Digest, Location


class Listing(list[Descriptor]):
    """Descriptors that a registry lists. `odd`: entries that can't be used, by what they call themselves, with why."""

    def __init__(self, found: Iterable[Descriptor] = (), odd: Mapping[str, str] | None = None) -> None:
        super().__init__(found)
        self.odd: dict[str, str] = dict(odd or {})


class BlobStream(Protocol):
    """A blob while it is read."""

    size: int | None

    def __iter__(self) -> Iterator[bytes]:
        """Chunks of at most 1 MiB. Raises Unreachable where the connection breaks or the body is short."""


class Origin(Protocol):
    """What copying reads of a registry, an ECR or any other."""

    def manifests(self, repository: Location, references: Sequence[str]) -> dict[str, Manifest]:
        """Those of the digests and tags that are there, by reference: the raw bytes as pushed, not checked against
        the digest asked for. 100 a call where a registry answers for many at once, else several calls at a time.
        NotFound: no such repository."""

    def missing_blobs(self, repository: Location, digests: Iterable[Digest]) -> set[Digest]:
        """Those that are not available; 100 a call."""

    def open_blob(self, repository: Location, digest: Digest, start: int = 0) -> AbstractContextManager[BlobStream]:
        """The blob's bytes from `start` on."""

    def referrers(self, repository: Location, subject: Digest) -> list[Descriptor]:
        """What points at the subject (signatures, SBOMs, attestations): a `Listing` where an entry could be odd."""


class Destination(Protocol):
    """What copying writes to a registry, an ECR or any other, and what it has to ask there."""

    def missing_blobs(self, repository: Location, digests: Iterable[Digest]) -> set[Digest]: ...

    def manifests(self, repository: Location, references: Sequence[str]) -> dict[str, Manifest]: ...

    def mount(self, repository: Location, digest: Digest, source: str) -> bool:
        """Takes the blob over from the repository `source` of the same registry; False: it has to be uploaded."""

    def upload(self, repository: Location, digest: Digest, size: int | None, chunks: Iterable[bytes]) -> None:
        """Streams one blob; the registry checks its digest. Unreachable if it broke: start again."""

    def put_manifest(self, repository: Location, manifest: Manifest, tag: str | None = None) -> None:
        """Sends the raw bytes, by tag or by digest. TagTaken: an immutable tag names another digest; that it names
        this one already is success. Unsupported: the registry takes no such artifact."""

    def unlisted(self, repository: Location, manifests: Sequence[Manifest]) -> set[Digest]:
        """Of these manifests, which are there, those that a list lacks which who puts them writes too (the fallback
        tag of their subject; an OCI layout's `index.json`): a copy broke off between the two. To put them again
        enters them."""


class LayerUploads(Protocol):
    """Uploading a blob in parts, so that it can go on after a crash, from another process."""

    def begin(self, repository: Location, digest: Digest) -> str:
        """A new session."""

    def send_part(self, repository: Location, session: str, first: int, part: bytes) -> int:
        """Adds bytes that begin at `first`; how many bytes of the blob the registry has then, which is where to go
        on: less or more than was sent where it and we had lost count. UploadExpired: the session is of no more use."""

    def complete(self, repository: Location, session: str, digest: Digest) -> None:
        """Ends the upload; the registry compares the digest. UploadExpired as above; DigestMismatch: nothing
        is kept."""


class InParts(Protocol):
    """How large blobs go, if their uploads are to outlive the run."""

    def suits(self, repository: Location, size: int) -> bool:
        """Whether a blob of this size goes so."""

    def offset(self, repository: Location, digest: Digest) -> int:
        """Bytes that the registry has of an upload that was begun; 0: there is none."""

    def upload(self, repository: Location, digest: Digest, size: int, start: int, chunks: Iterable[bytes]) -> None:
        """Sends the blob's bytes, of which `chunks` are those from `start` on."""

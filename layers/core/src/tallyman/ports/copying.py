"""Interfaces of a registry, ECR or another, that copying uses. This module imports little: imports dominate the start
of `tallyman copy`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from tallyman.domain.images.manifest import Descriptor, Manifest
from tallyman.domain.names import Digest, Location


class Listing(list[Descriptor]):
    """Descriptors that a registry lists. `odd`: why an entry can't be used, by its tag, digest or place in the list."""

    def __init__(self, found: Iterable[Descriptor] = (), odd: Mapping[str, str] | None = None) -> None:
        super().__init__(found)
        self.odd: dict[str, str] = dict(odd or {})


class BlobStream(Protocol):
    """The bytes of a blob while it is read. `size`: bytes in all; None: the registry does not say."""

    size: int | None

    def __iter__(self) -> Iterator[bytes]:
        """Yield chunks of at most 1 MiB. Raises Unreachable where the connection breaks or the body is short."""


class Origin(Protocol):
    """The reading part of a registry."""

    def manifests(self, repository: Location, references: Sequence[str]) -> dict[str, Manifest]:
        """The manifests of the digests and tags that exist, by reference: the raw bytes as pushed, not checked against
        the digest. A call per 100 where the registry takes many at once, else several calls in parallel. Raises
        NotFound: no such repository."""

    def missing_blobs(self, repository: Location, digests: Iterable[Digest]) -> set[Digest]:
        """The blobs that the repository lacks. One call per 100."""

    def open_blob(self, repository: Location, digest: Digest, start: int = 0) -> AbstractContextManager[BlobStream]:
        """The blob's bytes from the byte `start` on."""

    def referrers(self, repository: Location, subject: Digest) -> list[Descriptor]:
        """The referrers of the subject (signatures, SBOMs, attestations); a `Listing` where an entry can't be used."""


class Destination(Protocol):
    """The writing part of a registry, and the reads that writing needs."""

    def missing_blobs(self, repository: Location, digests: Iterable[Digest]) -> set[Digest]: ...

    def manifests(self, repository: Location, references: Sequence[str]) -> dict[str, Manifest]: ...

    def mount(self, repository: Location, digest: Digest, source: str) -> bool:
        """Mount the blob from the repository `source` of the same registry; False: it has to be uploaded."""

    def upload(self, repository: Location, digest: Digest, size: int | None, chunks: Iterable[bytes]) -> None:
        """Stream one blob; the registry checks its digest. `size`: bytes, None: not known. Raises Unreachable where the
        connection broke: begin again."""

    def put_manifest(self, repository: Location, manifest: Manifest, tag: str | None = None) -> None:
        """Put the raw bytes, by tag or by digest; a tag that points to this digest already is success. Raises TagTaken:
        an immutable tag points to another digest. Raises Unsupported: the registry does not accept the artifact."""

    def unlisted(self, repository: Location, manifests: Sequence[Manifest]) -> set[Digest]:
        """The manifests, of these existing ones, that a list lacks: the subject's list of referrers under its fallback
        tag, or an OCI layout's `index.json`. A copy ended between writing the manifest and its entry; putting the
        manifest again writes the entry."""


class LayerUploads(Protocol):
    """Uploads of a blob in parts, which another process can continue after a crash."""

    def begin(self, repository: Location, digest: Digest) -> str:
        """Begin an upload; return its session."""

    def send_part(self, repository: Location, session: str, first: int, part: bytes) -> int:
        """Add the bytes of the blob from offset `first` on; return how many bytes of the blob the registry then has,
        the offset at which to continue. It may differ from what was sent. Raises UploadExpired: begin again."""

    def complete(self, repository: Location, session: str, digest: Digest) -> None:
        """End the upload; the registry checks the digest. Raises UploadExpired: begin again. Raises DigestMismatch: the
        registry keeps nothing."""


class InParts(Protocol):
    """Uploads of large blobs that a later run can continue."""

    def suits(self, repository: Location, size: int) -> bool:
        """Whether a blob of `size` bytes is uploaded in parts."""

    def offset(self, repository: Location, digest: Digest) -> int:
        """The number of bytes that the registry has of an upload that was begun; 0: there is none."""

    def upload(self, repository: Location, digest: Digest, size: int, start: int, chunks: Iterable[bytes]) -> None:
        """Upload a blob of `size` bytes; `chunks`: its bytes from the offset `start` on."""

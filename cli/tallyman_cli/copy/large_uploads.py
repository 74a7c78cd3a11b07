"""Uploads large layers in parts, which a later run can continue: `InParts` of `tallyman copy` for every kind of target.

To ECR with its own calls for parts (services/copying/parts.py), to other registries with OCI's chunked upload. Imported
only if a layer is that large.
"""

import threading
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from tallyman.adapters.oci.uploads import OciUploads
from tallyman.domain.locations import OciHost
from tallyman.domain.names import Digest, Location, Place
from tallyman.errors import DigestMismatch, TallymanError, Unreachable, Unsupported, UploadExpired
from tallyman.services.copying.parts import Parts
from tallyman.state.uploads import KEPT, UPLOADS, Upload, key
from tallyman_cli.copy.kept_uploads import KeptUploads
from tallyman_cli.shared.caches import cache

PART = 64 * 1024 * 1024
"""Bytes of a part to a registry other than ECR. It is streamed, so its length costs no memory."""


class LargeUploads:
    """`transports`: writes to every target (transports.Transports)."""

    def __init__(self, transports: Any) -> None:
        self._transports = transports
        self._kept = KeptUploads(cache("uploads"))
        self._whole: set[Place] = set()
        self._making = threading.Lock()
        self._parts: Parts | None = None

    def takes(self, repository: Location) -> bool:
        """Whether the registry may take parts: it has not refused any yet."""
        return repository.registry not in self._whole

    def offset(self, repository: Location, digest: Digest) -> int:
        """Bytes that the registry has of an upload that was begun; 0 if there is none, or another run has it."""
        if not self._kept.take(repository, digest):
            return 0
        if not isinstance(repository.registry, OciHost):
            return self._ecr.offset(repository, digest)
        try:
            upload = UPLOADS.get(self._kept, key(repository, digest))
            if upload is None:
                return 0
            have, session = self._oci.reached(repository, upload.session)
            if upload.size is not None and have <= upload.size:
                self._save(repository, digest, session, have, upload.size)
                return have
        except (TallymanError, LookupError, ValueError):
            pass  # start from the beginning: if the cause persists, that reports it
        self._drop(repository, digest)
        return 0

    def upload(self, repository: Location, digest: Digest, size: int, start: int, chunks: Iterable[bytes]) -> None:
        """As `Parts.upload`; in one piece if another run uploads this blob there."""
        if not self._kept.holds(repository, digest):
            self._transports.upload(repository, digest, size, chunks)
            return
        try:
            if isinstance(repository.registry, OciHost):
                self._chunked(repository, digest, size, start, chunks)
            else:
                self._ecr.upload(repository, digest, size, start, chunks)
        finally:
            self._kept.release(repository, digest)

    def _chunked(self, repository: Location, digest: Digest, size: int, start: int, chunks: Iterable[bytes]) -> None:
        upload = UPLOADS.get(self._kept, key(repository, digest))
        if upload is None and start:
            raise UploadExpired(f"the upload of {digest} to {repository} was given up: it starts from the beginning")
        first = have = upload.offset if upload else 0
        try:
            session = upload.session if upload else self._oci.begin(repository, digest)
            self._save(repository, digest, session, have, size)
            rest = _Rest(chunks, have - start)
            while have < size:
                length = min(PART, size - have)
                found, session = self._oci.send_part(repository, session, have, length, rest.take(length))
                if found != have + length:
                    raise Unreachable(f"{repository} has {found} bytes of {digest}, not {have + length}")
                have = found
                self._save(repository, digest, session, have, size)
            self._oci.complete(repository, session, digest)
        except UploadExpired:
            self._drop(repository, digest)
            raise
        except Unsupported as error:
            self._drop(repository, digest)
            self._whole.add(repository.registry)
            raise UploadExpired(f"{repository} takes no parts, {digest} goes whole: {error}") from error
        except DigestMismatch as error:
            self._drop(repository, digest)
            if not first:
                raise
            raise UploadExpired(
                f"the parts of {digest} do not make its content, it starts from the beginning: {error}"
            ) from error
        self._drop(repository, digest)

    @property
    def _oci(self) -> OciUploads:
        return OciUploads(self._transports.push_client)

    @property
    def _ecr(self) -> Parts:
        """One for all threads, because it limits how many parts are in memory at once."""
        from tallyman.adapters.ecr.layer_uploads import EcrLayerUploads

        with self._making:
            self._parts = self._parts or Parts(EcrLayerUploads(self._transports.own), self._kept, _now)
            return self._parts

    def _save(self, repository: Location, digest: Digest, session: str, offset: int, size: int) -> None:
        entry = UPLOADS.read(self._kept, key(repository, digest))
        self._kept.put(entry.write(Upload(session, offset, size), _now() + KEPT))

    def _drop(self, repository: Location, digest: Digest) -> None:
        self._kept.drop(*key(repository, digest))


class _Rest:
    """Cuts chunks at the ends of parts. `skip`: bytes to leave out at the beginning."""

    def __init__(self, chunks: Iterable[bytes], skip: int) -> None:
        self._chunks, self._skip, self._left = iter(chunks), skip, b""

    def take(self, length: int) -> Iterator[bytes]:
        """The next `length` bytes. Raises DigestMismatch if there are fewer: the registry would wait for the rest."""
        while length:
            chunk, self._left = self._left or next(self._chunks, b""), b""
            if not chunk:
                raise DigestMismatch(f"{length} bytes fewer came than its descriptor says")
            if self._skip:
                chunk, self._skip = chunk[self._skip :], max(0, self._skip - len(chunk))
            if len(chunk) > length:
                chunk, self._left = chunk[:length], chunk[length:]
            length -= len(chunk)
            if chunk:
                yield chunk


def _now() -> datetime:
    return datetime.now(UTC)

"""Uploads large blobs in parts and keeps the progress, so that an upload outlives its run, a crash, a lost connection.

The progress (`tallyman.state.uploads`) is written after each part, so that at most one part is sent twice. A session
that the registry no longer knows, or no longer accepts, is dropped: the next try begins a new one at byte 0.
"""

import threading
from collections.abc import Callable, Iterable
from dataclasses import field
from typing import Protocol

from tallyman.domain.names import Digest, Location
from tallyman.errors import DigestMismatch, Unreachable, UploadExpired
from tallyman.ports.clocks import Clock
from tallyman.ports.copying import LayerUploads
from tallyman.state.items import Entry, StateChange, StateItem
from tallyman.state.uploads import KEPT, UPLOADS, Upload, key
from tallyman.values import value

LARGE = 128 * 1024 * 1024
"""The smallest blob that is sent in parts, in bytes: to send a smaller one again is faster than to record progress."""

PART = 8 * 1024 * 1024
"""The size of a part in bytes. ECR accepts 5 to 10 MiB, and 4,200 parts."""

AT_ONCE = 3
"""Parts sent at once: each is in memory about three times while it is encoded for the API."""


def _always(repository: Location) -> bool:
    return True


class Progress(Protocol):
    """Keeps the progress of uploads; a `State` satisfies it."""

    def get(self, pk: str, sk: str) -> StateItem | None: ...

    def put(self, change: StateChange) -> None: ...


@value
class Parts:
    """Uploads that another process can continue. `takes`: whether a repository supports them; `large`, `part`:
    bytes."""

    uploads: LayerUploads
    state: Progress
    clock: Clock
    takes: Callable[[Location], bool] = _always
    large: int = LARGE
    part: int = PART
    _room: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(AT_ONCE))

    def suits(self, repository: Location, size: int) -> bool:
        """Whether a blob of this size is sent in parts there."""
        return size >= self.large and self.takes(repository)

    def offset(self, repository: Location, digest: Digest) -> int:
        """Bytes that the registry has of an upload that was begun; 0: no upload was begun."""
        upload = UPLOADS.get(self.state, key(repository, digest))
        return upload.offset if upload else 0

    def upload(self, repository: Location, digest: Digest, size: int, start: int, chunks: Iterable[bytes]) -> None:
        """Send the blob; `chunks` are its bytes from `start` on. The registry compares the digest.

        Raises Unreachable where the caller may try again from `offset`, UploadExpired where it has to begin at byte 0.
        """
        entry = UPLOADS.read(self.state, key(repository, digest))
        if entry.found is None:
            if start:
                raise UploadExpired(f"the upload of {digest} to {repository} was dropped: it begins again at byte 0")
            session = self.uploads.begin(repository, digest)
            entry = self._save(entry, Upload(session, 0))
        try:
            entry = self._send(repository, digest, entry, start, chunks)
            self.uploads.complete(repository, entry.value.session, digest)
        except UploadExpired:
            self._drop(repository, digest)
            raise
        except DigestMismatch as error:
            self._drop(repository, digest)
            if not start:
                raise
            raise UploadExpired(
                f"the registry assembled {digest} wrongly, the upload begins again at byte 0: {error}"
            ) from error
        self._drop(repository, digest)

    def _send(
        self, repository: Location, digest: Digest, entry: Entry[Upload], start: int, chunks: Iterable[bytes]
    ) -> Entry[Upload]:
        have, at = entry.value.offset, start
        held: list[bytes] = []
        length = 0
        if have < start:
            raise Unreachable(f"{repository} has {have} bytes of {digest}, not {start}: go on from there")
        for chunk in chunks:
            skip = min(len(chunk), max(0, have - at))
            at += len(chunk)
            held.append(chunk[skip:] if skip else chunk)
            length += len(chunk) - skip
            if length >= self.part:
                entry, rest = self._one(repository, digest, entry, held)
                have, held, length = entry.value.offset, [rest] if rest else [], len(rest)
        while length:
            entry, rest = self._one(repository, digest, entry, held)
            held, length = [rest], len(rest)
        return entry

    def _one(
        self, repository: Location, digest: Digest, entry: Entry[Upload], held: list[bytes]
    ) -> tuple[Entry[Upload], bytes]:
        """Send one part; return the entry and the bytes that the registry has not taken. An earlier run may have sent
        some of them, cut elsewhere."""
        first, session = entry.value.offset, entry.value.session
        part = b"".join(held)
        with self._room:
            have = self.uploads.send_part(repository, session, first, part)
        entry = self._save(entry, Upload(session, have))
        if have <= first:
            raise Unreachable(
                f"{repository} has {have} bytes of {digest}, not the {first + len(part)} sent: go on from there"
            )
        return entry, part[have - first :]

    def _save(self, entry: Entry[Upload], upload: Upload) -> Entry[Upload]:
        self.state.put(entry.write(upload, self.clock() + KEPT))
        return entry.written(upload)

    def _drop(self, repository: Location, digest: Digest) -> None:
        entry = UPLOADS.read(self.state, key(repository, digest))
        if entry.found is not None:
            self.state.put(entry.remove(self.clock()))

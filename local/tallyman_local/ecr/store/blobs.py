"""Blobs and uploads as files: content-addressed, hashed while they are written, never held in memory.

    <root>/blobs/<account>/<region>/<2 hex digits>/<64 hex digits>     a registry's blobs
    <root>/uploads/<upload id>                                         bytes of an upload in progress

Each registry has its own files, so that damage to one registry's copy does not affect the others. A blob is renamed to
its place after fsync: a killed process leaves a whole blob or none.
"""

import errno
import hashlib
import os
import shutil
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from tallyman.domain.names import Digest, EcrRegistry

CHUNK = 1 << 20


def is_full(error: Exception) -> bool:
    """Whether the error, of a file or of SQLite, means a full disk (or a quota, or a limit of file sizes)."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return isinstance(error, sqlite3.OperationalError) and "full" in str(error)


class ShortBody(Exception):
    """The client has gone, or sent fewer bytes than announced."""


class Upload:
    """One upload in progress. `size`: bytes on disk. `first_chunk`, `last_part`: bytes of the first and the latest
    part.

    `small_part`: whether a part before the last was too small, which the API refuses.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.size, self.first_chunk, self.parts, self.last_part = path, 0, 0, 0, 0
        self.small_part = False
        self.lock = threading.Lock()
        self._sha256 = hashlib.sha256()
        path.touch()

    def append(self, read: Callable[[int], bytes], length: int | None) -> None:
        """Append `length` bytes (None: all until the end), with at most 1 MiB in memory.

        Raises ShortBody, or what `read` raises; then nothing of this part is kept.
        """
        sha256, received = self._sha256.copy(), 0
        with self.path.open("r+b", buffering=0) as out:
            out.seek(self.size)
            try:
                while length is None or received < length:
                    data = read(CHUNK if length is None else min(CHUNK, length - received))
                    if not data:
                        break
                    out.write(data)
                    sha256.update(data)
                    received += len(data)
                if length is not None and received < length:
                    raise ShortBody(f"the body ended after {received} of {length} bytes")
            except BaseException:
                out.truncate(self.size)
                raise
        self._sha256 = sha256
        if received:
            self.parts, self.last_part = self.parts + 1, received
            self.first_chunk = self.first_chunk or received
            self.size += received

    def digest(self) -> Digest:
        """The digest of the bytes received so far."""
        return Digest("sha256:" + self._sha256.hexdigest())


class Blobs:
    """The files of all registries."""

    def __init__(self, root: Path) -> None:
        self._blobs, self._uploads = root / "blobs", root / "uploads"
        self._blobs.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self._uploads, ignore_errors=True)  # a killed process left them without their hash states
        self._uploads.mkdir()

    def path(self, registry: EcrRegistry, digest: Digest) -> Path:
        """The path of a blob, which may not exist."""
        return self._blobs / registry.account / registry.region / digest.hex[:2] / digest.hex

    def start(self, upload_id: str) -> Upload:
        """A new, empty upload."""
        return Upload(self._uploads / upload_id)

    def copy(self, registry: EcrRegistry, digest: Digest) -> Upload:
        """A blob's bytes as an upload, for another registry. Raises FileNotFoundError."""
        upload = self.start(str(uuid.uuid4()))
        try:
            with self.path(registry, digest).open("rb") as source:
                upload.append(source.read, None)
        except BaseException:
            self.discard(upload)
            raise
        return upload

    def discard(self, upload: Upload) -> None:
        """Remove an upload's bytes."""
        upload.path.unlink(missing_ok=True)

    def sync(self, upload: Upload) -> None:
        """Flush the upload's bytes to disk; may take long."""
        with upload.path.open("rb") as stream:
            os.fsync(stream.fileno())

    def keep(self, upload: Upload, registry: EcrRegistry) -> Digest:
        """Make the upload's bytes, which must be synced, a blob of the registry. Return its digest."""
        digest = upload.digest()
        target = self.path(registry, digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        upload.path.replace(target)
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return digest

    def remove(self, registry: EcrRegistry, digest: Digest) -> None:
        """Remove a blob's file."""
        self.path(registry, digest).unlink(missing_ok=True)

    def flip_a_byte(self, registry: EcrRegistry, digest: Digest) -> None:
        """Flip one byte in the middle of a blob; a second call repairs it."""
        with self.path(registry, digest).open("r+b") as file:
            middle = file.seek(0, os.SEEK_END) // 2
            file.seek(middle)
            byte = file.read(1)
            file.seek(middle)
            file.write(bytes([byte[0] ^ 0xFF]))

    def all(self) -> Iterator[tuple[EcrRegistry, Digest]]:
        """Every blob on disk."""
        for path in self._blobs.glob("*/*/*/*"):
            yield EcrRegistry(path.parts[-4], path.parts[-3]), Digest("sha256:" + path.name)


def stream(file: BinaryIO, first: int, count: int) -> Iterator[bytes]:
    """`count` bytes from `first`, in pieces of at most 1 MiB; closes the file."""
    with file:
        file.seek(first)
        while count > 0 and (data := file.read(min(CHUNK, count))):
            count -= len(data)
            yield data

"""Blobs and uploads as files: content-addressed, hashed while they are written, never held in memory.

    <root>/blobs/<account>/<region>/<2 hex digits>/<64 hex digits>     a registry's blobs
    <root>/uploads/<upload id>                                         bytes of an upload in progress

Each registry has files of its own, so that damaging one registry's copy leaves the others whole. A blob appears by
rename, after fsync: a killed process leaves a whole blob or none.
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
    """Whether the disk (or a quota, or a limit on files) takes no more: for files and for SQLite."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return isinstance(error, sqlite3.OperationalError) and "full" in str(error)


class ShortBody(Exception):
    """The client went away, or sent fewer bytes than it promised."""


class Upload:
    """One upload in progress. `size` bytes are on disk; `first_chunk` of them came with the first request.

    `last_part` is the size of the latest part; `small_part` is for the API's rule that only the last may be small.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.size, self.first_chunk, self.parts, self.last_part = path, 0, 0, 0, 0
        self.small_part = False
        self.lock = threading.Lock()
        self._sha256 = hashlib.sha256()
        path.touch()

    def append(self, read: Callable[[int], bytes], length: int | None) -> int:
        """Append `length` bytes (None: until the end), at most 1 MiB in memory. Returns how many.

        Raises ShortBody (or what `read` raises), and then nothing of this part is kept: a part is stored whole or
        not at all.
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
        return received

    def digest(self) -> Digest:
        """Of the bytes received so far."""
        return Digest("sha256:" + self._sha256.hexdigest())


class Blobs:
    """The files of all registries."""

    def __init__(self, root: Path) -> None:
        self._blobs, self._uploads = root / "blobs", root / "uploads"
        self._blobs.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self._uploads, ignore_errors=True)  # what a killed process left: its hash state is gone with it
        self._uploads.mkdir()

    def path(self, registry: EcrRegistry, digest: Digest) -> Path:
        """Where a blob is, if it is there."""
        return self._blobs / registry.account / registry.region / digest.hex[:2] / digest.hex

    def start(self, upload_id: str) -> Upload:
        """A new, empty upload."""
        return Upload(self._uploads / upload_id)

    def copy(self, registry: EcrRegistry, digest: Digest) -> Upload:
        """A blob's bytes as an upload, to be kept by another registry. Raises FileNotFoundError."""
        upload = self.start(str(uuid.uuid4()))
        try:
            with self.path(registry, digest).open("rb") as source:
                upload.append(source.read, None)
        except BaseException:
            self.discard(upload)
            raise
        return upload

    def discard(self, upload: Upload) -> None:
        """Forget an upload's bytes."""
        upload.path.unlink(missing_ok=True)

    def sync(self, upload: Upload) -> None:
        """Bring the upload's bytes to the disk; may take long."""
        with upload.path.open("rb") as stream:
            os.fsync(stream.fileno())

    def keep(self, upload: Upload, registry: EcrRegistry) -> Digest:
        """Make the upload's bytes, already synced, a blob of the registry, and return its digest."""
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
        """Damage a blob in its middle, its size unchanged; done twice, it is whole again."""
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

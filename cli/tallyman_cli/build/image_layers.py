"""Layers on their way from a builder to a registry: of one time, compressed the same way each time."""

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tallyman.domain.names import Digest
from tallyman.errors import Refused

LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
PIECE = 1024 * 1024
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob in a file, or in memory."""

    digest: Digest
    size: int
    media_type: str
    file: Path | None = None
    raw: bytes = b""

    def chunks(self) -> Iterator[bytes]:
        """Its bytes, a MiB at a time."""
        with self.file.open("rb") if self.file else io.BytesIO(self.raw) as stream:
            while piece := stream.read(PIECE):
                yield piece

    def descriptor(self) -> dict[str, object]:
        """What a manifest says of it."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


def unpack(source: IO[bytes], target: Path) -> Path:
    """The layer as it is without compression, gzip or none. Refused: it is compressed otherwise."""
    head = source.read(4)
    whole = _Rest(head, source)
    if head == _ZSTD:
        raise Refused(
            "a layer is compressed with zstd: have the builder compress with gzip, or take another base image"
        )
    with target.open("wb") as file:
        if head.startswith(_GZIP):
            with gzip.GzipFile(fileobj=whole, mode="rb") as plain:
                _copy(plain, file)
        else:
            _copy(whole, file)
    return target


class _Rest(io.RawIOBase):
    """What was read already, and the rest."""

    def __init__(self, head: bytes, rest: IO[bytes]) -> None:
        self._head, self._rest = head, rest

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        head, self._head = self._head, b""
        if size < 0:
            return head + self._rest.read()
        self._head = head[size:]
        return head[:size] if head else self._rest.read(size)


def _copy(source: io.IOBase, target: IO[bytes]) -> None:
    while piece := source.read(PIECE):
        target.write(piece)


def settle_times(plain: Path, epoch: int) -> None:
    """Every entry of a layer gets this time. When a file was really written depends on what the builder still had: a
    layer of its cache is as old as the build that made it, and would give another digest than one made anew."""
    settled = plain.with_suffix(".settled")
    with tarfile.open(plain) as source, tarfile.open(settled, "w", format=tarfile.PAX_FORMAT) as target:
        for entry in source:
            kept = {
                name: header for name, header in entry.pax_headers.items() if name not in ("mtime", "atime", "ctime")
            }
            changed = entry.replace(mtime=epoch, deep=True)
            changed.pax_headers = kept
            target.addfile(changed, source.extractfile(entry) if entry.isreg() else None)
    settled.replace(plain)


def compress(plain: Path) -> Blob:
    """The same bytes for the same layer: no name and no time in the head."""
    packed = plain.with_suffix(".gz")
    with (
        plain.open("rb") as source,
        packed.open("wb") as target,
        gzip.GzipFile(filename="", mode="wb", fileobj=target, compresslevel=6, mtime=0) as stream,
    ):
        while piece := source.read(PIECE):
            stream.write(piece)
    return Blob(digest_of(packed), packed.stat().st_size, LAYER, file=packed)


def digest_of(file: Path) -> Digest:
    """Of a file's bytes."""
    with file.open("rb") as stream:
        return Digest("sha256:" + hashlib.file_digest(stream, "sha256").hexdigest())

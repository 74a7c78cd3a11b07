"""Prepares a builder's layers for a registry: the same time for every file, the same compression each time."""

import gzip
import hashlib
import io
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tallyman.domain.images.manifest import OCI_LAYER
from tallyman.domain.names import Digest
from tallyman.errors import Refused

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
        """Its descriptor in a manifest."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


def unpack(source: IO[bytes], target: Path) -> Path:
    """Write a layer without its compression (gzip or none) to `target`. Raises Refused if it is compressed with
    zstd."""
    head = source.read(4)
    source.seek(0)
    if head == _ZSTD:
        raise Refused(
            "a layer is compressed with zstd: have the builder compress with gzip, or take another base image"
        )
    packed = head.startswith(_GZIP)
    with gzip.GzipFile(fileobj=source) if packed else nullcontext(source) as plain, target.open("wb") as file:
        shutil.copyfileobj(plain, file, PIECE)
    return target


def settle_times(plain: Path, epoch: int) -> None:
    """Set the time of every entry of a layer. The times that the builder wrote depend on its cache: a layer from there
    has those of an earlier build, and would get another digest than one that is built now."""
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
    """Compress a layer with gzip. The same layer gives the same bytes: the header has no name and no time."""
    packed = plain.with_suffix(".gz")
    with (
        plain.open("rb") as source,
        packed.open("wb") as target,
        gzip.GzipFile(filename="", mode="wb", fileobj=target, compresslevel=6, mtime=0) as stream,
    ):
        shutil.copyfileobj(source, stream, PIECE)
    return Blob(digest_of(packed), packed.stat().st_size, OCI_LAYER, file=packed)


def digest_of(file: Path) -> Digest:
    """The digest of a file."""
    with file.open("rb") as stream:
        return Digest("sha256:" + hashlib.file_digest(stream, "sha256").hexdigest())

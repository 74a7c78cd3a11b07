"""What `docker build` made, as an OCI image whose digest depends on the commit alone.

The engine stamps the time of the build into the configuration and into every file that it writes; here both become
the commit's. Layers in which nothing is newer, those of the base image, keep their bytes.
"""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tallyman.domain.manifest import Manifest
from tallyman.domain.names import Digest
from tallyman.domain.times import format_time

IMAGE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
EMPTY = "application/vnd.oci.empty.v1+json"
PIECE = 1024 * 1024


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


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """An image with its blobs. `platform`: os/architecture[/variant]; `packages`: name → version, found inside."""

    manifest: Manifest
    blobs: tuple[Blob, ...]
    platform: Mapping[str, str]
    packages: Mapping[str, str]


def in_memory(raw: bytes, media_type: str) -> Blob:
    """A small blob."""
    return Blob(Digest.of(raw), len(raw), media_type, raw=raw)


def to_json(document: Mapping[str, object]) -> bytes:
    """A document as it is stored; the same document gives the same bytes."""
    return json.dumps(document, separators=(",", ":"), sort_keys=False).encode()


def from_saved(
    saved: Path, at: datetime, annotations: Mapping[str, str], scratch: Path, platform: str | None = None
) -> BuiltImage:
    """From the file that `docker save` wrote. `scratch`: where the layers are put; `platform` (os/architecture): what
    the configuration is to say instead of what the engine wrote. Cost: each layer read twice and
    compressed once, bounded memory."""
    epoch = int(at.timestamp())
    with tarfile.open(saved) as archive:
        (listed,) = json.loads(_read(archive, "manifest.json"))
        config: dict[str, Any] = json.loads(_read(archive, listed["Config"]))
        layers, diff_ids = [], []
        packages: dict[str, str] = {}
        for number, name in enumerate(listed["Layers"]):
            plain = scratch / f"{number}.tar"
            with _open(archive, name) as source, plain.open("wb") as target:
                while piece := source.read(PIECE):
                    target.write(piece)
            _settle_times(plain, epoch)
            packages |= _packages(plain)
            diff_ids.append(_digest_of(plain))
            layers.append(_compressed(plain))
            plain.unlink()
    if platform:
        config["os"], _, config["architecture"] = platform.partition("/")
    stamp = format_time(at)
    config["created"] = stamp
    for entry in config.get("history", []):
        if str(entry.get("created", "")) > stamp:
            entry["created"] = stamp
    for changing in ("container", "container_config", "docker_version", "id", "parent"):
        config.pop(changing, None)
    config.get("config", {}).pop("Image", None)  # the engine's id of an image in between
    config["rootfs"] = {"type": "layers", "diff_ids": diff_ids}
    config_blob = in_memory(to_json(config), CONFIG)
    document = {
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "config": config_blob.descriptor(),
        "layers": [layer.descriptor() for layer in layers],
        "annotations": dict(annotations),
    }
    told = {key: config[key] for key in ("os", "architecture", "variant") if config.get(key)}
    return BuiltImage(Manifest(to_json(document), IMAGE), (config_blob, *layers), told, packages)


def index_of(children: list[tuple[Manifest, Mapping[str, str]]], annotations: Mapping[str, str]) -> Manifest:
    """The index of platform images; in the order of their platforms, whoever was built first."""
    listed = sorted(children, key=lambda child: tuple(child[1].values()))
    document = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [
            {
                "mediaType": child.media_type,
                "digest": child.digest,
                "size": len(child.raw),
                "platform": dict(platform),
            }
            for child, platform in listed
        ],
        "annotations": dict(annotations),
    }
    return Manifest(to_json(document), INDEX)


def attachment(subject: Manifest, kind: str, document: Mapping[str, object]) -> tuple[Manifest, tuple[Blob, ...]]:
    """A document as a referrer of an image: an artifact manifest, and its blobs."""
    content, empty = in_memory(to_json(document), kind), in_memory(b"{}", EMPTY)
    manifest = {
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "artifactType": kind,
        "config": empty.descriptor(),
        "layers": [content.descriptor()],
        "subject": {"mediaType": subject.media_type, "digest": subject.digest, "size": len(subject.raw)},
    }
    return Manifest(to_json(manifest), IMAGE), (empty, content)


def _settle_times(plain: Path, epoch: int) -> None:
    """Rewrites a layer in which something is newer than the commit; one that is older stays byte for byte."""
    with tarfile.open(plain) as archive:
        if all(entry.mtime <= epoch for entry in archive):
            return
    settled = plain.with_suffix(".settled")
    with tarfile.open(plain) as source, tarfile.open(settled, "w", format=tarfile.PAX_FORMAT) as target:
        for entry in source:
            entry = replace_times(entry, epoch)
            target.addfile(entry, source.extractfile(entry) if entry.isreg() else None)
    settled.replace(plain)


def replace_times(entry: tarfile.TarInfo, epoch: int) -> tarfile.TarInfo:
    """The entry, no newer than the commit, in whole seconds."""
    times = {key: value for key, value in entry.pax_headers.items() if key not in ("mtime", "atime", "ctime")}
    return entry.replace(mtime=min(int(entry.mtime), epoch), deep=True) if not entry.pax_headers else _with(
        entry, min(int(entry.mtime), epoch), times
    )  # fmt: skip


def _with(entry: tarfile.TarInfo, mtime: int, headers: dict[str, str]) -> tarfile.TarInfo:
    changed = entry.replace(mtime=mtime, deep=True)
    changed.pax_headers = headers
    return changed


def _compressed(plain: Path) -> Blob:
    packed = plain.with_suffix(".gz")
    with (
        plain.open("rb") as source,
        packed.open("wb") as target,
        gzip.GzipFile(filename="", mode="wb", fileobj=target, compresslevel=6, mtime=0) as stream,
    ):
        while piece := source.read(PIECE):
            stream.write(piece)
    return Blob(_digest_of(packed), packed.stat().st_size, LAYER, file=packed)


def _digest_of(file: Path) -> Digest:
    with file.open("rb") as stream:
        return Digest("sha256:" + hashlib.file_digest(stream, "sha256").hexdigest())


def _packages(plain: Path) -> dict[str, str]:
    """Debian and Python packages of a layer."""
    found: dict[str, str] = {}
    with tarfile.open(plain) as archive:
        for entry in archive:
            name = entry.name.removeprefix("./")
            if entry.isreg() and (name == "var/lib/dpkg/status" or name.startswith("var/lib/dpkg/status.d/")):
                for paragraph in _text(archive, entry).split("\n\n"):
                    fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line[:40])
                    if "Package" in fields and "Version" in fields:
                        found[f"deb/{fields['Package']}"] = fields["Version"]
            elif entry.isreg() and name.endswith(".dist-info/METADATA"):
                fields = dict(line.split(": ", 1) for line in _text(archive, entry).splitlines()[:40] if ": " in line)
                if "Name" in fields and "Version" in fields:
                    found[f"pypi/{fields['Name']}"] = fields["Version"]
    return found


def _text(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> str:
    stream = archive.extractfile(entry)
    return stream.read().decode(errors="replace") if stream else ""


def _open(archive: tarfile.TarFile, name: str) -> Any:
    stream = archive.extractfile(name)
    assert stream is not None, name  # what manifest.json lists are files
    return stream


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    with _open(archive, name) as stream:
        raw: bytes = stream.read()
        return raw

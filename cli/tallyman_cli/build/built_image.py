"""Turns what a builder made into an OCI image whose digest depends on the commit and the builder alone.

Builders write the time of the build into the configuration and into every file; both become the time of the commit.
Layers of the base image keep their bytes.
"""

import json
import shutil
import tarfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from tallyman.domain.images.manifest import OCI_CONFIG, OCI_EMPTY, OCI_INDEX, OCI_MANIFEST, Manifest
from tallyman.domain.names import Digest
from tallyman.domain.times import format_time
from tallyman.errors import Refused
from tallyman_cli.build.dockerfile import Base
from tallyman_cli.build.image_layers import PIECE, Blob, compress, digest_of, settle_times, unpack
from tallyman_cli.sbom.contents import UNKNOWN, Layer, combine, look_into
from tallyman_cli.sbom.packages import Contents

_VOLATILE = ("container", "container_config", "docker_version", "id", "parent", "moby.buildkit.cache.v0",
             "moby.buildkit.buildinfo.v1")  # fmt: skip


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """An image with its blobs. `platform`: os, architecture and, if any, variant; `contents`: the packages in it;
    `bases`: the images that it was built on, as the builder names them."""

    manifest: Manifest
    blobs: tuple[Blob, ...]
    platform: Mapping[str, str]
    contents: Contents
    bases: tuple[Base, ...] = ()


def in_memory(raw: bytes, media_type: str) -> Blob:
    """A small blob."""
    return Blob(Digest.of(raw), len(raw), media_type, raw=raw)


def to_json(document: Mapping[str, object]) -> bytes:
    """The bytes of a document; the same document gives the same bytes."""
    return json.dumps(document, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class Finish:
    """Finishes an image. `at`: the commit's time; `annotations`: the manifest's; `scratch`: a folder for layers;
    `base`: the layers that keep their bytes, by the digests that the builder uses; `platform` (os/architecture):
    replaces the one in the configuration."""

    at: datetime
    annotations: Mapping[str, str]
    scratch: Path
    base: Collection[str] = ()
    platform: str | None = None

    def from_saved(self, saved: Path) -> BuiltImage:
        """From the file of `docker save`, in which `base` are digests of unpacked layers (`diff_ids`). Cost: each layer
        is read twice and compressed once, in bounded memory."""
        with tarfile.open(saved) as archive:
            (listed,) = json.loads(_read(archive, "manifest.json"))
            config: dict[str, Any] = json.loads(_read(archive, listed["Config"]))
            named = config["rootfs"]["diff_ids"]
            layers = [
                self._layer(archive, name, number, named[number] in self.base)
                for number, name in enumerate(listed["Layers"])
            ]
        return self._image(config, layers)

    def from_layout(self, layout: Path) -> BuiltImage:
        """From an OCI archive, in which `base` are digests of compressed layers: those are copied as they are, others
        treated as above."""
        with tarfile.open(layout) as archive:
            manifest = layout_manifest(archive)
            config: dict[str, Any] = json.loads(_read(archive, _path(manifest["config"]["digest"])))
            layers = []
            for number, layer in enumerate(manifest["layers"]):
                if layer["digest"] in self.base:
                    kept = self._kept(archive, layer, number)
                    layers.append((kept, Digest(config["rootfs"]["diff_ids"][number]), self._look_into(kept, number)))
                else:
                    layers.append(self._layer(archive, _path(layer["digest"]), number, False))
        return self._image(config, layers)

    def _layer(self, archive: tarfile.TarFile, name: str, number: int, base: bool) -> tuple[Blob, Digest, Layer]:
        with _open(archive, name) as source:
            plain = unpack(source, self.scratch / f"{number}.tar")
        if not base:
            settle_times(plain, int(self.at.timestamp()))
        made = compress(plain), digest_of(plain), look_into(plain)
        plain.unlink()
        return made

    def _kept(self, archive: tarfile.TarFile, layer: Mapping[str, Any], number: int) -> Blob:
        file = self.scratch / f"{number}.kept"
        with _open(archive, _path(layer["digest"])) as source, file.open("wb") as target:
            shutil.copyfileobj(source, target, PIECE)
        return Blob(Digest.parse(layer["digest"]), file.stat().st_size, layer["mediaType"], file=file)

    def _look_into(self, kept: Blob, number: int) -> Layer:
        """The packages in a layer of the base image; one that is compressed with zstd is not read."""
        assert kept.file is not None  # it was just written
        if kept.media_type.endswith("zstd"):
            return UNKNOWN
        with kept.file.open("rb") as source:
            plain = unpack(source, self.scratch / f"{number}.tar")
        found = look_into(plain)
        plain.unlink()
        return found

    def _image(self, config: dict[str, Any], layers: Sequence[tuple[Blob, Digest, Layer]]) -> BuiltImage:
        if self.platform:
            config["os"], config["architecture"], *variant = self.platform.split("/")
            if variant:
                config["variant"] = variant[0]
        config["created"] = format_time(self.at)
        for entry in config.get("history", []):
            entry["created"] = config["created"]  # a step from the builder's cache has the time of an earlier build
        for changing in _VOLATILE:
            config.pop(changing, None)
        config.get("config", {}).pop("Image", None)  # the engine's id of an intermediate image
        config["rootfs"] = {"type": "layers", "diff_ids": [plain for _, plain, _ in layers]}
        config_blob = in_memory(to_json(config), OCI_CONFIG)
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": config_blob.descriptor(),
            "layers": [blob.descriptor() for blob, _, _ in layers],
            "annotations": dict(self.annotations),
        }
        platform = {key: config[key] for key in ("os", "architecture", "variant") if config.get(key)}
        inside = combine(found for _, _, found in layers)
        manifest = Manifest(to_json(document), OCI_MANIFEST)
        return BuiltImage(manifest, (config_blob, *(blob for blob, _, _ in layers)), platform, inside)


def layout_manifest(archive: tarfile.TarFile) -> dict[str, Any]:
    """The manifest of the image in an OCI archive. Raises Refused if it holds several."""
    listed: dict[str, Any] = json.loads(_read(archive, "index.json"))
    while "manifests" in listed:
        images = [m for m in listed["manifests"] if (m.get("platform") or {}).get("os") != "unknown"]
        if len(images) != 1:
            raise Refused(f"the builder made {len(images)} images where one was asked for")
        listed = json.loads(_read(archive, _path(images[0]["digest"])))
    return listed


def index_of(children: Sequence[tuple[Manifest, Mapping[str, str]]], annotations: Mapping[str, str]) -> Manifest:
    """The index of platform images, ordered by platform whichever was built first."""
    listed = sorted(children, key=lambda child: tuple(child[1].values()))
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [{**_pointer(child), "platform": dict(platform)} for child, platform in listed],
        "annotations": dict(annotations),
    }
    return Manifest(to_json(document), OCI_INDEX)


def attachment(
    subject: Manifest, kind: str, document: Mapping[str, object], annotations: Mapping[str, str] | None = None
) -> tuple[Manifest, tuple[Blob, ...]]:
    """A document as a referrer of an image: its artifact manifest, and the blobs of that. `kind`: its media type."""
    content, empty = in_memory(to_json(document), kind), in_memory(b"{}", OCI_EMPTY)
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": kind,
        "config": empty.descriptor(),
        "layers": [content.descriptor()],
        "subject": _pointer(subject),
        **({"annotations": dict(annotations)} if annotations else {}),
    }
    return Manifest(to_json(manifest), OCI_MANIFEST), (empty, content)


def _pointer(manifest: Manifest) -> dict[str, object]:
    return {"mediaType": manifest.media_type, "digest": manifest.digest, "size": len(manifest.raw)}


def _path(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _open(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    stream = archive.extractfile(name)
    assert stream is not None, name  # what the archive lists are files
    return stream


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    with _open(archive, name) as stream:
        return stream.read()

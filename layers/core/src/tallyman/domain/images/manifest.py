"""Manifests and indexes. A manifest is its raw bytes; the parsed form is a view of them.

Formats: OCI image specification 1.1 (manifest, index, descriptor), Docker image manifest version 2 schema 2,
and the artifact manifest of OCI's release candidates, which some registries still hold.
"""

import re
from collections.abc import Mapping
from dataclasses import field
from functools import cached_property
from typing import Any, Self

from tallyman.domain.images.documents import bad, kind, load_object, optional_text, same_case, show, text, texts
from tallyman.domain.names import Digest
from tallyman.errors import BadManifest, BadName
from tallyman.values import value

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"

INDEX_TYPES = frozenset({OCI_INDEX, DOCKER_LIST})
MANIFEST_TYPES = (OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST, OCI_ARTIFACT)
"""Every type that `Manifest.parse` knows, in the order for the header Accept of requests to a registry."""

MAX_MANIFEST_BYTES = 4 * 1024 * 1024
"""ECR's limit for a manifest, and the size that OCI requires a registry to accept."""

MAX_NESTING = 4
"""The largest number of indexes on the way to an image, including the outermost."""

FOREIGN_LAYERS = (
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
)
"""Prefixes of the media types of layers that a registry need not hold (base layers of Windows)."""

_MEDIA_TYPE = r"(?a)[A-Za-z0-9][\w.+!#$&^-]*/[A-Za-z0-9][\w.+!#$&^-]*(?: *;[ -~]*)?"
_KEYS = ("schemaVersion", "mediaType", "artifactType", "annotations", "subject")
_CONTENT_KEYS = ("config", "layers", "blobs", "manifests")
_DESCRIPTOR_KEYS = ("mediaType", "digest", "size", "platform", "artifactType", "annotations", "urls")


@value
class Platform:
    """The platform of an image, as OCI writes it; `unknown/unknown` marks an attestation."""

    os: str
    architecture: str
    variant: str | None = None

    @property
    def unknown(self) -> bool:
        """Whether it is `unknown/unknown`, which BuildKit gives to attestations so that nothing runs them."""
        return self.os == self.architecture == "unknown"

    def __str__(self) -> str:
        return "/".join(p for p in (self.os, self.architecture, self.variant) if p)


@value
class Descriptor:
    """A pointer to content: `size` in bytes."""

    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None
    artifact_type: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    urls: tuple[str, ...] = ()

    @classmethod
    def parse(cls, item: object, where: str) -> "Descriptor":
        """Parse a descriptor's JSON. Raises BadManifest that says what is wrong and `where`."""
        return _descriptor(item, where)

    @property
    def is_attestation(self) -> bool:
        """Whether it is a child of an index that nothing runs. Decided by the platform alone, as container runtimes do;
        they ignore the annotation `vnd.docker.reference.type`."""
        return self.platform is not None and self.platform.unknown

    @property
    def about(self) -> str | None:
        """The digest of the image that an attestation of buildx is about, by its annotation."""
        return self.annotations.get("vnd.docker.reference.digest") if self.is_attestation else None

    @property
    def is_foreign(self) -> bool:
        """Whether a registry need not hold it. `urls` alone do not make it foreign: they are further sources."""
        return self.media_type.startswith(FOREIGN_LAYERS)

    @property
    def is_manifest(self) -> bool:
        """Whether it points at a manifest or an index."""
        return self.media_type in MANIFEST_TYPES


@value(slots=False)
class Manifest:
    """A manifest or index exactly as received; it is never serialised again.

    The properties parse the bytes at first use, and may raise BadManifest then; `Manifest.parse` parses them at once.
    """

    raw: bytes = field(repr=False)
    media_type: str

    @classmethod
    def parse(cls, raw: bytes, media_type: str | None = None) -> Self:
        """Parse the bytes and check everything that they alone can show.

        `media_type` is the registry's (parameters such as `; charset=utf-8` are dropped); without it the document's own
        is used, and without that the one that fits its keys. Raises BadManifest, and nothing else, that says what is
        wrong and where (`layers[2].digest: …`).
        """
        declared = media_type.partition(";")[0].strip() if media_type else ""
        document = _load(raw)
        inner = optional_text(document, "mediaType")
        found = declared or inner
        if not found and not ("manifests" in document and "layers" in document):
            # mediaType is optional in OCI; each of the two types requires a key that the other must not have
            found = OCI_INDEX if "manifests" in document else OCI_MANIFEST if "config" in document else ""
        if inner and inner != found:
            bad("mediaType", f"is {show(inner)}, but the registry declared {show(declared)}")
        manifest = cls(raw, found)
        manifest.__dict__["_document"] = document  # fills the cached_property, so that it is not parsed twice
        _ = manifest._view
        return manifest

    @cached_property
    def digest(self) -> Digest:
        """The SHA-256 of the raw bytes."""
        return Digest.of(self.raw)

    @property
    def is_index(self) -> bool:
        """Whether it lists other manifests."""
        return self.media_type in INDEX_TYPES

    @property
    def children(self) -> tuple[Descriptor, ...]:
        """The descriptors that an index lists, including attestations; empty for an image."""
        return self._view.children

    @property
    def listed_blobs(self) -> tuple[Descriptor, ...]:
        """The blobs that an index lists, such as layers of a BuildKit cache."""
        return tuple(c for c in self.children if not c.is_manifest)

    @property
    def platform_children(self) -> tuple[Descriptor, ...]:
        """The children without the attestations."""
        return tuple(c for c in self.children if not c.is_attestation)

    @property
    def config(self) -> Descriptor | None:
        """An image's configuration; None for an index and for an artifact manifest."""
        return self._view.config

    @property
    def layers(self) -> tuple[Descriptor, ...]:
        """The layers in order, including foreign ones; the blobs of an artifact manifest."""
        return self._view.layers

    @property
    def subject(self) -> Descriptor | None:
        """The manifest that a referrer points at; None: it is not a referrer."""
        return self._view.subject

    @property
    def artifact_type(self) -> str | None:
        """The type in OCI's list of referrers: `artifactType`, else the media type of the configuration."""
        return self._view.artifact_type

    @property
    def annotations(self) -> Mapping[str, str]:
        """The document's annotations."""
        return self._view.annotations

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """The configuration and the layers that the registry must hold: each digest once, no foreign layers."""
        return tuple(self._distinct(foreign=False).values())

    @property
    def foreign(self) -> tuple[Descriptor, ...]:
        """The layers that the registry need not hold: each digest once, none that is also in `blobs`."""
        return tuple(self._distinct(foreign=True).values())

    @property
    def size(self) -> int | None:
        """The compressed bytes of configuration and layers, as listed; None for an index."""
        if self.is_index:
            return None
        return sum(b.size for b in self.layers) + (self.config.size if self.config else 0)

    def _distinct(self, *, foreign: bool) -> dict[Digest, Descriptor]:
        every = (*((self.config,) if self.config else ()), *self.layers)
        ours = {b.digest: b for b in reversed(every) if not b.is_foreign}
        chosen = {b.digest: b for b in every if b.is_foreign and b.digest not in ours} if foreign else ours
        return {b.digest: chosen[b.digest] for b in every if b.digest in chosen}

    @cached_property
    def _document(self) -> Mapping[str, Any]:
        return _load(self.raw)

    @cached_property
    def _view(self) -> "_View":
        return _parse(self._document, self.media_type)


def readable(manifest: Manifest | None) -> Manifest | None:
    """The manifest, parsed; None where there is none or its bytes are not a manifest."""
    try:
        return Manifest.parse(manifest.raw, manifest.media_type) if manifest else None
    except BadManifest:
        return None


@value
class _View:
    children: tuple[Descriptor, ...]
    config: Descriptor | None
    layers: tuple[Descriptor, ...]
    subject: Descriptor | None
    artifact_type: str | None
    annotations: Mapping[str, str]


def own_type(raw: bytes) -> str:
    """The media type of a manifest by its own bytes; empty where it is invalid: reading it then says what is wrong."""
    try:
        return Manifest.parse(raw).media_type
    except BadManifest:
        return ""


def _load(raw: bytes) -> dict[str, Any]:
    if len(raw) > MAX_MANIFEST_BYTES:
        raise BadManifest(f"manifest: {len(raw)} bytes; at most {MAX_MANIFEST_BYTES} (4 MiB) are allowed")
    return load_object(raw, "manifest")


def _parse(document: Mapping[str, Any], media_type: str) -> _View:
    if media_type not in MANIFEST_TYPES:
        known = ", ".join(MANIFEST_TYPES)
        bad("mediaType", f"{show(media_type)} is not a known type of manifest: expected one of {known}")
    inner = optional_text(document, "mediaType")
    if inner not in ("", media_type):
        bad("mediaType", f"is {show(inner)}, but the registry declared {show(media_type)}")
    same_case(document, (*_KEYS, *_CONTENT_KEYS))
    if media_type != OCI_ARTIFACT:
        version = document.get("schemaVersion")
        if version != 2 or not isinstance(version, int):
            bad("schemaVersion", f"expected 2, found {show(version)}")
    index = media_type in INDEX_TYPES
    wrong = [key for key in (("config", "layers", "blobs") if index else ("manifests",)) if key in document]
    if wrong:  # OCI and CVE-2021-41190: a document that could be read as either type must be refused
        bad(wrong[0], f"is not allowed in a document of type {media_type}")
    config: Descriptor | None = None
    children: tuple[Descriptor, ...] = ()
    layers: tuple[Descriptor, ...] = ()
    if index:
        children = _descriptors(document, "manifests", required=True)
    elif media_type == OCI_ARTIFACT:
        layers = _descriptors(document, "blobs", required=False)
    else:
        config = _descriptor(document.get("config"), "config")
        layers = _descriptors(document, "layers", required=True)
    subject = document.get("subject")
    return _View(
        children=children,
        config=config,
        layers=layers,
        subject=None if subject is None else _descriptor(subject, "subject"),
        artifact_type=optional_text(document, "artifactType") or (config.media_type if config else None),
        annotations=texts(document.get("annotations"), "annotations"),
    )


def _descriptors(document: Mapping[str, Any], key: str, *, required: bool) -> tuple[Descriptor, ...]:
    items = document.get(key)
    if items is None and not required:
        return ()
    if not isinstance(items, list):
        bad(key, f"expected a list of descriptors, found {kind(items)}")
    return tuple(_descriptor(item, f"{key}[{i}]") for i, item in enumerate(items))


def _descriptor(item: object, where: str) -> Descriptor:
    if not isinstance(item, dict):
        bad(where, f"expected a descriptor, found {kind(item)}")
    same_case(item, _DESCRIPTOR_KEYS, f"{where}.")
    media_type = item.get("mediaType")
    if not isinstance(media_type, str) or len(media_type) > 255 or not re.fullmatch(_MEDIA_TYPE, media_type):
        bad(f"{where}.mediaType", f"expected a media type, found {show(media_type)}")
    digest, size, urls = item.get("digest"), item.get("size"), item.get("urls")
    try:
        parsed = Digest.parse(digest)
    except BadName:
        bad(f"{where}.digest", f"expected sha256: and 64 hexadecimal digits, found {show(digest)}")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 2**63:
        bad(f"{where}.size", f"expected a number of bytes, found {show(size)}")
    if urls is not None and not (isinstance(urls, list) and all(isinstance(u, str) for u in urls)):
        bad(f"{where}.urls", f"expected a list of strings, found {show(urls)}")
    return Descriptor(
        media_type=media_type,
        digest=parsed,
        size=size,
        platform=_platform(item.get("platform"), f"{where}.platform"),
        artifact_type=optional_text(item, "artifactType", f"{where}.") or None,
        annotations=texts(item.get("annotations"), f"{where}.annotations"),
        urls=tuple(text(u, f"{where}.urls") for u in urls or ()),
    )


def _platform(item: object, where: str) -> Platform | None:
    if item is None:
        return None
    if not isinstance(item, dict):
        bad(where, f"expected an object, found {kind(item)}")
    os = optional_text(item, "os", f"{where}.")
    architecture = optional_text(item, "architecture", f"{where}.")
    if not os and not architecture:  # builders of artifacts write empty strings
        return None
    return Platform(os, architecture, optional_text(item, "variant", f"{where}.") or None)

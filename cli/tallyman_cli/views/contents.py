"""What an image consists of, read from its registry: manifests, configurations, packages of its SBOMs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tallyman.domain.images import sboms
from tallyman.domain.images.documents import loads, objects
from tallyman.domain.images.manifest import MAX_NESTING, Descriptor, Manifest, Platform
from tallyman.domain.images.verification import CONFIG_TYPES, MAX_CONFIG_BYTES
from tallyman.domain.names import Digest, Repository
from tallyman.errors import BadManifest, TallymanError
from tallyman_cli.shared.context import Stack
from tallyman_cli.views.reading import each

MAX_SBOM_BYTES = 32 * 1024 * 1024
"""A larger SBOM is not read."""

_ABOUT = "vnd.docker.reference.digest"
_LISTS = ("packages", "components", "artifacts")
"""The keys of the packages in SPDX, CycloneDX and Syft's own format."""


@dataclass
class Contents:
    """One image: `manifests` of everything beneath it that could be read, `children` as the indexes list them.

    `missing`: why a manifest could not be read, by digest; `archived`: those that the archive alone gave.
    """

    place: Repository
    digest: Digest
    manifests: dict[Digest, Manifest] = field(default_factory=dict)
    missing: dict[Digest, str] = field(default_factory=dict)
    archived: set[Digest] = field(default_factory=set)
    configs: dict[Digest, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def root(self) -> Manifest | None:
        """None: neither the registry nor the archive has it."""
        return self.manifests.get(self.digest)

    @property
    def answered(self) -> dict[Digest, Manifest]:
        """The manifests that the registry gave."""
        return {digest: manifest for digest, manifest in self.manifests.items() if digest not in self.archived}

    def images(self) -> list[tuple[str, Digest]]:
        """(platform, digest) of each image that something can run, in the order of the indexes."""
        return list(dict.fromkeys(self._images(self.digest, None, MAX_NESTING)))

    def attestations(self, image: Digest) -> list[Manifest]:
        """The attestations about an image that buildx put into the index."""
        children = [child for manifest in self.manifests.values() for child in manifest.children]
        about = [child for child in children if child.is_attestation and child.annotations.get(_ABOUT) == image]
        return [self.manifests[child.digest] for child in about if child.digest in self.manifests]

    def size(self, image: Digest) -> int | None:
        """Compressed bytes of configuration and layers; None: its manifest could not be read."""
        manifest = self.manifests.get(image)
        return manifest.size if manifest else None

    def _images(self, digest: Digest, listed: Descriptor | None, depth: int) -> Iterator[tuple[str, Digest]]:
        manifest = self.manifests.get(digest)
        if manifest is not None and manifest.is_index:
            for child in manifest.platform_children if depth else ():
                yield from self._images(child.digest, child, depth - 1)
            return
        platform = listed.platform if listed else None
        if platform is None:
            config = self.configs.get(digest, {})
            platform = Platform(
                text(config.get("os")) or "unknown",
                text(config.get("architecture")) or "unknown",
                config.get("variant"),
            )
        yield str(platform), digest


def load(stack: Stack, place: Repository, digest: Digest) -> Contents:
    """Reads the manifests of an image and of everything beneath it, from the registry, else from the archive; and the
    configuration of each platform image. Cost: a BatchGetImage for a hundred manifests of a level, a request for
    each configuration."""
    contents = Contents(place, digest)
    level = [digest]
    for _ in range(MAX_NESTING + 1):
        _read(stack, contents, level)
        read = [contents.manifests[d] for d in level if d in contents.manifests]
        level = [c.digest for m in read for c in m.children if c.digest not in contents.manifests]
        level = list(dict.fromkeys(d for d in level if d not in contents.missing))
        if not level:
            break
    wanted = [d for _, d in contents.images() if d in contents.manifests]
    found = each(lambda d: _config(stack, contents, d), wanted)
    contents.configs = {d: config for d, config in zip(wanted, found, strict=True) if config is not None}
    return contents


def _read(stack: Stack, contents: Contents, digests: Sequence[Digest]) -> None:
    try:
        answered = stack.source.manifests(contents.place, digests)
        reason = "it is not there"
    except TallymanError as error:
        answered, reason = {}, str(error)
    for digest in digests:
        manifest = answered.get(digest)
        if manifest is None:
            raw = stack.archive.get("manifests", digest)
            if raw is not None:
                manifest = Manifest(raw, "")
                contents.archived.add(digest)
        try:
            if manifest is None:
                contents.missing[digest] = reason
            elif Digest.of(manifest.raw) != digest:
                contents.missing[digest] = f"the registry gives other bytes: {Digest.of(manifest.raw)}"
            else:
                contents.manifests[digest] = Manifest.parse(manifest.raw, manifest.media_type or None)
        except BadManifest as error:
            contents.missing[digest] = str(error)


def _config(stack: Stack, contents: Contents, image: Digest) -> Mapping[str, Any] | None:
    """The configuration of an image as JSON data; None where there is none, or it can't be read."""
    descriptor = contents.manifests[image].config
    if descriptor is None or descriptor.media_type not in CONFIG_TYPES or descriptor.size > MAX_CONFIG_BYTES:
        return None
    return _json(stack, contents.place, descriptor)


def packages(
    stack: Stack, contents: Contents, image: Digest, referrers: Sequence[Digest] = ()
) -> dict[str, str] | None:
    """The packages in the image's SBOMs, signed or not, version by name; None: it has no SBOM that can be read. A
    request for each SBOM."""
    found: dict[str, str] | None = None
    for manifest in [*contents.attestations(image), *_referrers(stack, contents.place, referrers)]:
        for layer in sboms.documents(manifest):
            document = _json(stack, contents.place, layer) if layer.size <= MAX_SBOM_BYTES else None
            if document is not None:
                found = {**(found or {}), **_packages(document)}
    return found


def _referrers(stack: Stack, place: Repository, digests: Sequence[Digest]) -> list[Manifest]:
    if not digests:
        return []
    try:
        answered = stack.source.manifests(place, digests)
        return [Manifest.parse(m.raw, m.media_type) for m in answered.values()]
    except TallymanError:
        return []


def _packages(document: Mapping[str, Any]) -> dict[str, str]:
    sbom = sboms.unwrapped(document)
    found = {}
    for package in (item for key in _LISTS for item in objects(sbom, key)):
        if name := text(package.get("name")):
            found[name] = text(package.get("versionInfo")) or text(package.get("version")) or ""
    return found


def _json(stack: Stack, place: Repository, descriptor: Descriptor) -> Mapping[str, Any] | None:
    try:
        with stack.source.open_blob(place, descriptor.digest) as blob:
            raw = b"".join(blob)
    except TallymanError:
        return None
    if Digest.of(raw) != descriptor.digest:
        return None
    try:
        document = loads(raw)
    except ValueError:
        return None
    return document if isinstance(document, Mapping) else None


def listed(value: object) -> list[Any]:
    """The value as a list, an empty one if it is something else: anybody may have written the document."""
    return list(value) if isinstance(value, list) else []


def text(value: object) -> str | None:
    """The value of such a document as a text; None if it is something else."""
    return value if isinstance(value, str) else None

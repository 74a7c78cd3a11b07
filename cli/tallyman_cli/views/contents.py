"""What an image consists of, read from its registry: manifests, configurations, packages of its SBOMs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tallyman.domain.images import sboms
from tallyman.domain.images.documents import loads, objects
from tallyman.domain.images.manifest import MAX_NESTING, Descriptor, Manifest, Platform
from tallyman.domain.images.verification import CONFIG_TYPES, MAX_CONFIG_BYTES, PlatformImage
from tallyman.domain.names import Digest, Repository
from tallyman.errors import BadManifest, DigestMismatch, NotFound, TallymanError, TransientError
from tallyman_cli.shared.context import Stack
from tallyman_cli.views.reading import each

MAX_SBOM_BYTES = 32 * 1024 * 1024
"""A larger SBOM is not read."""

_LISTS = ("packages", "components", "artifacts")
"""The keys of the packages in SPDX, CycloneDX and Syft's own format."""


@dataclass
class Contents:
    """One image: `manifests` of everything beneath it that could be read, from the registry, else from the archive.

    `silent`: the error of the registry, after which no manifest was requested there. `missing`: why a manifest could
    not be read, by digest. `configs`: the configurations as JSON data, by image; `unread`: why one could not be read.
    """

    place: Repository
    digest: Digest
    manifests: dict[Digest, Manifest] = field(default_factory=dict)
    silent: TallymanError | None = None
    missing: dict[Digest, TallymanError] = field(default_factory=dict)
    configs: dict[Digest, Mapping[str, Any]] = field(default_factory=dict)
    unread: dict[Digest, TallymanError] = field(default_factory=dict)

    @property
    def root(self) -> Manifest | None:
        """None: neither the registry nor the archive has it."""
        return self.manifests.get(self.digest)

    def platforms(self) -> list[PlatformImage]:
        """The images that something can run, in the order of the indexes; `unknown/unknown` where neither the index nor
        the configuration names the platform."""
        return list(dict.fromkeys(self._platforms(self.digest, None, set())))

    def images(self) -> list[tuple[str, Digest]]:
        """(platform, digest) of each of them."""
        return [(str(image.platform), image.digest) for image in self.platforms()]

    def attestations(self, image: Digest) -> list[Manifest]:
        """The attestations about an image that buildx put into the index."""
        children = (child for manifest in self.manifests.values() for child in manifest.children)
        about = [child.digest for child in children if child.about == image]
        return [self.manifests[digest] for digest in about if digest in self.manifests]

    def size(self, image: Digest) -> int | None:
        """Compressed bytes of configuration and layers; None: its manifest could not be read."""
        manifest = self.manifests.get(image)
        return manifest.size if manifest else None

    def _platforms(self, digest: Digest, listed: Descriptor | None, seen: set[Digest]) -> Iterator[PlatformImage]:
        manifest = self.manifests.get(digest)
        if manifest is not None and manifest.is_index:
            if digest not in seen:  # indexes may list one another many times
                seen.add(digest)
                for child in manifest.platform_children:
                    yield from self._platforms(child.digest, child, seen)
            return
        platform = (listed.platform if listed else None) or _platform(self.configs.get(digest, {}))
        yield PlatformImage(platform.os, platform.architecture, platform.variant, digest, self.size(digest))


def load(stack: Stack, place: Repository, digest: Digest, *, configs: bool = True) -> Contents:
    """Read the manifests of an image and of everything beneath it, from the registry, else from the archive; and the
    configuration of each platform image, without `configs` only of those whose platform no index names. Cost: a
    BatchGetImage for a hundred manifests of a level, a request for each configuration."""
    contents = Contents(place, digest)
    level = [digest]
    for _ in range(MAX_NESTING + 1):
        _read(stack, contents, level)
        read = [contents.manifests[d] for d in level if d in contents.manifests]
        level = [c.digest for m in read for c in m.children if c.digest not in contents.manifests]
        level = list(dict.fromkeys(d for d in level if d not in contents.missing))
        if not level:
            break
    if isinstance(contents.silent, TransientError):
        return contents
    wanted = [image.digest for image in contents.platforms() if configs or image.platform.unknown]
    described = {d: config for d in wanted if (config := _config(contents.manifests.get(d))) is not None}
    found = each(lambda config: _json(stack, place, config), described.values())
    for image, document in zip(described, found, strict=True):
        if isinstance(document, TallymanError):
            contents.unread[image] = document
        else:
            contents.configs[image] = document
    return contents


def _read(stack: Stack, contents: Contents, digests: Sequence[Digest]) -> None:
    place, answered = contents.place, dict[str, Manifest]()
    if contents.silent is None:
        try:
            answered = dict(stack.source.manifests(place, digests))
        except TallymanError as error:
            contents.silent = error
    for digest in digests:
        manifest = answered.get(digest)
        raw = manifest.raw if manifest is not None else stack.archive.get("manifests", digest)
        try:
            if raw is None:
                contents.missing[digest] = contents.silent or NotFound("it is not there")
            elif Digest.of(raw) != digest:
                what = f"{place} answers {Digest.of(raw)} when asked for {digest}: it is damaged there"
                contents.missing[digest] = DigestMismatch(what)
            else:
                contents.manifests[digest] = Manifest.parse(raw, (manifest and manifest.media_type) or None)
        except BadManifest as error:
            contents.missing[digest] = error


def _config(manifest: Manifest | None) -> Descriptor | None:
    """The descriptor of an image's configuration; None where there is none that is read."""
    config = manifest.config if manifest is not None else None
    readable = config is not None and config.media_type in CONFIG_TYPES and config.size <= MAX_CONFIG_BYTES
    return config if readable else None


def _platform(config: Mapping[str, Any]) -> Platform:
    system, architecture = text(config.get("os")), text(config.get("architecture"))
    if not system and not architecture:
        return Platform("unknown", "unknown")
    return Platform(system or "", architecture or "", text(config.get("variant")) or None)


def packages(
    stack: Stack, contents: Contents, image: Digest, referrers: Sequence[Digest] = ()
) -> dict[str, str] | None:
    """The packages in the image's SBOMs, signed or not, version by name; None: it has no SBOM that can be read. A
    request for each SBOM."""
    found: dict[str, str] | None = None
    for manifest in [*contents.attestations(image), *_referrers(stack, contents.place, referrers)]:
        for layer in sboms.documents(manifest):
            document = _json(stack, contents.place, layer) if layer.size <= MAX_SBOM_BYTES else None
            if isinstance(document, Mapping):
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


def _json(stack: Stack, place: Repository, descriptor: Descriptor) -> Mapping[str, Any] | TallymanError:
    """The JSON object that a blob holds, or why it can't be read."""
    try:
        with stack.source.open_blob(place, descriptor.digest) as blob:
            raw = b"".join(blob)
        document = loads(raw)
    except TallymanError as error:
        return error
    except ValueError as error:
        return BadManifest(f"{descriptor.digest} in {place} is not JSON: {error}")
    if Digest.of(raw) != descriptor.digest:
        return DigestMismatch(f"{descriptor.digest} in {place} is damaged")
    return document if isinstance(document, Mapping) else BadManifest(f"{descriptor.digest} in {place} is no object")


def listed(value: object) -> list[Any]:
    """The value as a list, an empty one if it is something else: anybody may have written the document."""
    return list(value) if isinstance(value, list) else []


def text(value: object) -> str | None:
    """The value of such a document as a text; None if it is something else."""
    return value if isinstance(value, str) else None

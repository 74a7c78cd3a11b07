"""The parts of an image by its manifests and configurations, and checks that these agree with each other."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tallyman.domain.images.manifest import MAX_NESTING, Descriptor, Manifest, Platform
from tallyman.domain.images.verification import (
    CONFIG_TYPES,
    ImageConfig,
    Notes,
    Verification,
    missing_platforms,
    same_platform,
)
from tallyman.domain.names import Digest
from tallyman.domain.text import counted
from tallyman.values import value


@value
class Image:
    """An image that can run, or an artifact (`platform` None). `size`: compressed bytes; None: its manifest was not
    read."""

    digest: Digest
    platform: Platform | None
    size: int | None


@dataclass
class Blob:
    """A blob as the manifests describe it. `sizes`: every size in bytes that they state for it."""

    sizes: set[int] = field(default_factory=set)
    config: bool = False  # it is the configuration of a manifest
    read: bool = False  # it is a configuration that names the platform, and is therefore read
    foreign: bool = True  # every manifest lists it as a layer that the registry need not hold
    owners: list[Digest] = field(default_factory=list)


class Composition:
    """The parts of one image, filled while it is read: the `manifests` that match their digests, each child's
    descriptors in the indexes (`listed`), the `blobs` that the manifests list, and the `configs` by the digests of
    their manifests. Contradictions become failures in `notes`."""

    def __init__(self, root: Digest, notes: Notes) -> None:
        self.root, self.notes = root, notes
        self.manifests: dict[Digest, Manifest] = {}
        self.listed: dict[Digest, list[Descriptor]] = {}
        self.blobs: dict[Digest, Blob] = {}
        self.configs: dict[Digest, ImageConfig] = {}

    def describe_manifests(self) -> None:
        """Compare the manifests with their descriptors, and collect the blobs that they list."""
        for digest, manifest in self.manifests.items():
            for descriptor in self.listed.get(digest, ()):
                if descriptor.size != len(manifest.raw):
                    self.notes.of("manifest_size").failed.append(
                        f"child {digest.short}: {len(manifest.raw)} bytes; its index states {descriptor.size}"
                    )
                if descriptor.media_type != manifest.media_type:
                    self.notes.of("media_types").failed.append(
                        f"child {digest.short}: is {manifest.media_type}; its index states {descriptor.media_type}"
                    )
            for item in (*manifest.blobs, *manifest.foreign, *manifest.layers):
                blob = self.blobs.setdefault(item.digest, Blob())
                blob.sizes.add(item.size)
                blob.foreign &= item.is_foreign
            if config := manifest.config:
                blob = self.blobs.setdefault(config.digest, Blob())
                blob.config = True
                if config.media_type in CONFIG_TYPES:
                    blob.read = True
                    blob.owners.append(digest)
        largest = max((len(m.raw) for m in self.manifests.values()), default=0)
        self.notes.of("manifest_digest").passed = f"{counted(len(self.manifests), 'manifest')} hashed"
        self.notes.of("manifest_size").passed = f"{largest} bytes at most"
        self.notes.of("media_types").passed = ", ".join(sorted({m.media_type for m in self.manifests.values()}))
        self.notes.of("children_present").passed = f"{counted(len(self.listed), 'manifest')} listed by an index"

    def images(self) -> list[Image]:
        """The images in the root at any depth, in the order of the indexes, without attestations."""
        found: list[Image] = []
        seen: set[Digest] = set()

        def walk(digest: Digest, platform: Platform | None, depth: int) -> None:
            manifest = self.manifests.get(digest)
            if manifest is None or not manifest.is_index:
                config = self.configs.get(digest)
                if not platform and config and config.platform and not config.platform.unknown:
                    platform = config.platform
                found.append(Image(digest, platform, manifest.size if manifest else None))
            elif depth == MAX_NESTING and manifest.children:
                self.too_deep(digest)
            elif digest not in seen:
                seen.add(digest)
                for child in manifest.platform_children:
                    walk(child.digest, child.platform, depth + 1)

        walk(self.root, None, 0)
        return found

    def compare_platforms(self, images: Sequence[Image], wanted: Sequence[str]) -> None:
        """Compare the platforms of descriptors with those of configurations, and both with those that the policy wants
        (`wanted`)."""
        agree = self.notes.of("platforms_agree")
        for digest, listed in self.listed.items():
            config = self.configs.get(digest)
            for platform in dict.fromkeys(d.platform for d in listed) if config else ():
                if platform and config and not (config.platform and same_platform(platform, config.platform)):
                    own = config.platform or "no platform"
                    agree.failed.append(
                        f"{digest}: its index states {platform}, its configuration {own}: build the index again"
                    )
        agree.passed = ", ".join(dict.fromkeys(str(i.platform) for i in images if i.platform)) or "no platform"
        if not wanted or self.root not in self.manifests:
            return
        found = [i.platform for i in images if i.platform]
        note = self.notes.of("platforms_wanted")
        missing = ", ".join(missing_platforms(wanted, found))
        if missing:
            unread = any(i.size is None or not i.platform for i in images) and self.notes.doubtful
            there = ", ".join(map(str, found)) or "none"
            (note.unknown if unread else note.failed).append(f"{missing} is missing; there is {there}")
        note.passed = ", ".join(wanted)

    def verification(self) -> Verification:
        """The checks in the order in which they were begun. Of an image whose root can't be read, only those that did
        not pass: nothing is known about its parts."""
        made = self.notes.checks()
        return Verification(tuple(c for c in made if self.root in self.manifests or c.verdict != "passed"))

    def too_deep(self, digest: Digest) -> None:
        """Note that the index `digest` is nested too deep."""
        self.notes.of("children_present").failed.append(f"indexes are nested more than {MAX_NESTING} deep, at {digest}")

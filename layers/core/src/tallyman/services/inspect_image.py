"""Looks at every part of one image family in one registry, and notes what it finds check by check.

The parts of `verify_image`, in the order in which it calls them. A note that fails or doubts never stops the others.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import field
from typing import TypeVar

from tallyman.domain.manifest import MAX_MANIFEST_BYTES, MAX_NESTING, Descriptor, Manifest, Platform
from tallyman.domain.names import Digest, Repository
from tallyman.domain.values import dataclass
from tallyman.domain.verify import (
    CONFIG_TYPES,
    MAX_CONFIG_BYTES,
    ImageConfig,
    Verification,
    check,
    missing_platforms,
    same_platform,
)
from tallyman.errors import BadManifest, NotFound, Passing, TallymanError, Unsupported
from tallyman.ports import Deadline, ImageSource
from tallyman.services.blobs import Read, enough_time, read_blob

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Referrer:
    """`descriptor` points at a signature, SBOM or attestation of `subject`."""

    subject: Digest
    descriptor: Descriptor


@dataclass(frozen=True, slots=True)
class Image:
    """An image that something can run, or an artifact: `platform` None. `size`: compressed bytes, if it was read."""

    digest: Digest
    platform: Platform | None
    size: int | None


@dataclass
class _Finding:
    """What speaks against a check's passing, and what to say if nothing does."""

    failed: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    passed: str = ""


@dataclass
class _Blob:
    """A blob as the manifests describe it; `sizes`: every size that they state for it."""

    sizes: set[int] = field(default_factory=set)
    config: bool = False  # the configuration of some manifest
    read: bool = False  # a configuration that says what the image runs on, therefore read
    foreign: bool = True  # only ever listed as a layer that the registry need not hold
    owners: list[Digest] = field(default_factory=list)


class Inspection:
    """One look at one image. The threads of the pool only ask the registry; what they bring is noted by one thread."""

    def __init__(
        self,
        source: ImageSource,
        repository: Repository,
        root: Digest,
        deadline: Deadline,
        pool: ThreadPoolExecutor,
    ) -> None:
        self.source, self.repository, self.root = source, repository, root
        self.deadline, self.pool = deadline, pool
        self.manifests: dict[Digest, Manifest] = {}
        self.listed: dict[Digest, list[Descriptor]] = {}  # how the indexes describe each child
        self.blobs: dict[Digest, _Blob] = {}
        self.configs: dict[Digest, ImageConfig] = {}  # by the digest of the image's manifest
        self.referrers: list[Referrer] = []
        self.notes: dict[str, _Finding] = {}
        self.absent: set[Digest] = set()
        self.hashed = 0

    def read_manifests(self) -> None:
        asked: set[Digest] = set()
        level = [self.root]
        for _ in range(MAX_NESTING + 1):
            asked.update(level)
            following: dict[Digest, None] = {}
            for digest, answer in self.each(level, lambda d: self.source.manifest(self.repository, d)):
                manifest = self.accept(digest, answer)
                for child in manifest.children if manifest else ():
                    self.listed.setdefault(child.digest, []).append(child)
                    if child.digest not in asked:
                        following[child.digest] = None
            level = list(following)
            if not level:
                break
        else:
            self.too_deep(level[0])
        self.describe_manifests()

    def accept(self, digest: Digest, answer: Manifest | Exception | None) -> Manifest | None:
        """The manifest, if it is one and the right one; else notes why not."""
        where = f"{'child ' if digest != self.root else ''}{digest.short}"
        if isinstance(answer, Passing):
            name = "manifest_digest" if digest == self.root else "children_present"
            self.note(name).unknown.append(f"{where}: {answer}")
        elif isinstance(answer, BadManifest):
            self.note("media_types").failed.append(f"{where}: {answer}")
        elif isinstance(answer, Exception):
            raise answer
        elif answer is None and digest == self.root:
            raise NotFound(f"{self.repository.at(digest)} is not there: it was removed, or never pushed")
        elif answer is None:
            self.note("children_present").failed.append(
                f"{digest} is listed but not there: push the index again with all its images"
            )
        elif answer.digest != digest:
            self.note("manifest_digest").failed.append(
                f"asked for {digest}, got {len(answer.raw)} bytes of {answer.digest}: push the image again"
            )
        elif len(answer.raw) > MAX_MANIFEST_BYTES:
            self.note("manifest_size").failed.append(
                f"{where}: {len(answer.raw)} bytes; at most {MAX_MANIFEST_BYTES} (4 MiB) are allowed"
            )
        else:
            try:
                self.manifests[digest] = Manifest.parse(answer.raw, answer.media_type)
            except BadManifest as error:
                self.note("media_types").failed.append(f"{where}: {error}")
            return self.manifests.get(digest)
        return None

    def describe_manifests(self) -> None:
        """Compares the manifests with their descriptors, and collects the blobs that they name."""
        for digest, manifest in self.manifests.items():
            for descriptor in self.listed.get(digest, ()):
                if descriptor.size != len(manifest.raw):
                    self.note("manifest_size").failed.append(
                        f"child {digest.short}: {len(manifest.raw)} bytes; its index states {descriptor.size}"
                    )
                if descriptor.media_type != manifest.media_type:
                    self.note("media_types").failed.append(
                        f"child {digest.short}: is {manifest.media_type}; its index states {descriptor.media_type}"
                    )
            for item in (*manifest.blobs, *manifest.foreign, *manifest.layers):
                blob = self.blobs.setdefault(item.digest, _Blob())
                blob.sizes.add(item.size)
                blob.foreign &= item.is_foreign
            if config := manifest.config:
                blob = self.blobs.setdefault(config.digest, _Blob())
                blob.config = True
                if config.media_type in CONFIG_TYPES:
                    blob.read = True
                    blob.owners.append(digest)
        largest = max((len(m.raw) for m in self.manifests.values()), default=0)
        self.note("manifest_digest").passed = f"{_many(len(self.manifests), 'manifest')} hashed"
        self.note("manifest_size").passed = f"{largest} bytes at most"
        self.note("media_types").passed = ", ".join(sorted({m.media_type for m in self.manifests.values()}))
        self.note("children_present").passed = f"{_many(len(self.listed), 'manifest')} listed by an index"

    def read_configs(self) -> None:
        note = self.note("config_present")
        wanted = [d for d, b in self.blobs.items() if b.read]
        for digest in [d for d in wanted if max(self.blobs[d].sizes) > MAX_CONFIG_BYTES]:
            note.failed.append(f"{digest}: {max(self.blobs[digest].sizes)} bytes; at most 8 MiB are read")
            wanted.remove(digest)
        for digest, answer in self.each(wanted, lambda d: self.read(d, MAX_CONFIG_BYTES)):
            read = self.arrived("config_present", digest, answer)
            if read is None:
                continue
            try:
                config = ImageConfig.parse(read.kept)
            except BadManifest as error:
                self.note("platforms_agree").failed.append(f"configuration {digest.short}: {error}")
                continue
            self.configs.update(dict.fromkeys(self.blobs[digest].owners, config))
        note.passed = f"{_many(sum(b.config for b in self.blobs.values()), 'configuration')}, {len(wanted)} read"

    def look_for_blobs(self) -> None:
        """Asks for all blobs that were not read: for the foreign ones too, which may be there."""
        wanted = [d for d, b in self.blobs.items() if not b.read]
        note = self.note("layers_present")
        try:
            enough_time(self.deadline, "asking for layers")
            self.absent = self.source.missing_blobs(self.repository, wanted) if wanted else set()
        except Passing as error:
            note.unknown.append(str(error))
        foreign = 0
        for digest in wanted:
            blob = self.blobs[digest]
            if len(blob.sizes) > 1:
                stated = " and ".join(str(size) for size in sorted(blob.sizes))
                note.failed.append(f"{digest}: {stated} bytes stated in the same family")
            if digest in self.absent and blob.foreign:
                foreign += 1
            elif digest in self.absent:
                name = "config_present" if blob.config else "layers_present"
                self.note(name).failed.append(f"{digest} ({max(blob.sizes)} bytes) is not there: push the image again")
        note.passed = _many(len(wanted) - foreign, "layer")
        if foreign:
            note.passed += f"; {_many(foreign, 'foreign layer')} not held by the registry, as is allowed"

    def hash_blobs(self) -> None:
        """Streams and hashes every blob that is there and was not read before, the largest first."""
        wanted = [d for d, b in self.blobs.items() if not b.read and d not in self.absent]
        wanted.sort(key=lambda d: -max(self.blobs[d].sizes))
        for digest, answer in self.each(wanted, self.read):
            self.arrived("layer_content", digest, answer)
        self.note("layer_content").passed = f"{_many(len(wanted), 'blob')} hashed, {self.hashed} bytes in all"

    def list_referrers(self) -> None:
        note = self.note("referrers")
        hidden = {d for d, found in self.listed.items() if all(x.is_attestation for x in found)}
        subjects = [d for d in self.manifests if d not in hidden]
        for subject, answer in self.each(subjects, lambda d: self.source.referrers(self.repository, d)):
            if isinstance(answer, Passing):
                note.unknown.append(f"{subject.short}: {answer}")
            elif isinstance(answer, Exception):
                if not isinstance(answer, (NotFound, Unsupported)):
                    raise answer
                # The registry knows no referrers, or the image was removed just now: there are none to list.
            else:
                self.referrers += [Referrer(subject, found) for found in answer]
        kinds = sorted({r.descriptor.artifact_type or r.descriptor.media_type for r in self.referrers})
        note.passed = f"{_many(len(self.referrers), 'referrer')}{': ' if kinds else ''}{', '.join(kinds)}"

    def images(self) -> list[Image]:
        """What the root holds at any depth, in the order of the indexes, without attestations."""
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
        """Descriptors against configurations, and what there is against what the policy wants."""
        agree = self.note("platforms_agree")
        for digest, listed in self.listed.items():
            config = self.configs.get(digest)
            for platform in dict.fromkeys(d.platform for d in listed) if config else ():
                if platform and config and not (config.platform and same_platform(platform, config.platform)):
                    own = config.platform or "no platform"
                    agree.failed.append(
                        f"{digest}: its index says {platform}, its configuration {own}: build the index again"
                    )
        agree.passed = ", ".join(dict.fromkeys(str(i.platform) for i in images if i.platform)) or "no platform"
        if not wanted or self.root not in self.manifests:
            return
        found = [i.platform for i in images if i.platform]
        note = self.note("platforms_wanted")
        missing = ", ".join(missing_platforms(wanted, found))
        if missing:
            unread = any(i.size is None or not i.platform for i in images) and self.doubtful()
            there = ", ".join(map(str, found)) or "none"
            (note.unknown if unread else note.failed).append(f"{missing} is missing; there is {there}")
        note.passed = ", ".join(wanted)

    def verification(self) -> Verification:
        """The checks in the order in which they were begun; only those that tell against an image that can't be
        read, since about its parts nothing is known then."""
        made = [check(name, n.failed, n.unknown, n.passed) for name, n in self.notes.items()]
        return Verification(tuple(c for c in made if self.root in self.manifests or c.verdict != "passed"))

    def too_deep(self, digest: Digest) -> None:
        self.note("children_present").failed.append(
            f"indexes lie more than {MAX_NESTING} deep in each other, at {digest}"
        )

    def note(self, name: str) -> _Finding:
        return self.notes.setdefault(name, _Finding())

    def doubtful(self) -> bool:
        """Whether something could not be read for now."""
        return any(n.unknown for n in self.notes.values())

    def read(self, digest: Digest, keep: int = 0) -> Read:
        return read_blob(self.source, self.repository, digest, self.deadline, keep)

    def arrived(self, name: str, digest: Digest, answer: Read | Exception) -> Read | None:
        """The blob, if its bytes are what its digest and every descriptor say; else notes why not."""
        note, sizes = self.note(name), self.blobs[digest].sizes
        stated = " and ".join(str(size) for size in sorted(sizes))
        if isinstance(answer, Passing):
            note.unknown.append(f"{digest.short}: {answer}")
        elif isinstance(answer, NotFound):
            note.failed.append(f"{digest} ({stated} bytes) is not there: push the image again")
        elif isinstance(answer, Exception):
            raise answer
        else:
            self.hashed += answer.size
            if answer.digest != digest:
                note.failed.append(
                    f"{digest}: its {answer.size} bytes ({stated} stated) hash to {answer.digest}: the registry's "
                    "copy is damaged; remove the image and push it again"
                )
            elif sizes != {answer.size}:
                note.failed.append(f"{digest}: {answer.size} bytes; {stated} are stated: build the image again")
            else:
                return answer
        return None

    def each(
        self, items: Sequence[Digest], ask: Callable[[Digest], _Answer]
    ) -> Iterator[tuple[Digest, _Answer | TallymanError]]:
        """What was answered for each, in their order; asked in parallel. Errors of ours are answers too."""

        def one(item: Digest) -> _Answer | TallymanError:
            try:
                enough_time(self.deadline, item)
                return ask(item)
            except TallymanError as error:
                return error

        waiting: list[Future[_Answer | TallymanError]] = [self.pool.submit(one, item) for item in items]
        try:
            for item, future in zip(items, waiting, strict=True):
                yield item, future.result()
        finally:
            for future in waiting:
                future.cancel()


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"

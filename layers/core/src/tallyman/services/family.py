"""An image with everything that belongs to it: children, attestations, and the referrers of each."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from typing import TypeVar

from tallyman.domain.manifest import MAX_NESTING, Descriptor, Manifest
from tallyman.domain.names import Digest, Repository
from tallyman.errors import BadManifest, DigestMismatch, NotFound, Unsupported
from tallyman.ports import Deadline, ImageSource
from tallyman.services.blobs import enough_time

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Family:
    """`images`: the root, its children at any depth and their attestations, each after what it lists: the root is
    the last. `referrers`: what points at one of them, or at another referrer, each after what it points at and
    lists. `blobs`: what all these name, each digest once, with foreign layers only where the source holds them."""

    repository: Repository
    digest: Digest
    images: tuple[Manifest, ...] = field(repr=False)
    referrers: tuple[Manifest, ...] = field(repr=False)
    blobs: Mapping[Digest, Descriptor] = field(repr=False)

    @property
    def root(self) -> Manifest:
        """The image's or index's own manifest."""
        return self.images[-1]

    @property
    def manifests(self) -> tuple[Manifest, ...]:
        """All, in the order in which to push them."""
        return (*self.images, *self.referrers)

    @property
    def digests(self) -> tuple[Digest, ...]:
        """Of all manifests, in that order."""
        return tuple(m.digest for m in self.manifests)

    @property
    def size(self) -> int:
        """Bytes of all distinct blobs."""
        return sum(blob.size for blob in self.blobs.values())

    def blobs_of(self, manifest: Manifest) -> set[Digest]:
        """Those of the family's blobs that the manifest names."""
        return {d.digest for d in chain(manifest.blobs, manifest.foreign) if d.digest in self.blobs}


def _no_limit() -> float:
    return float("inf")


def family(
    source: ImageSource,
    repository: Repository,
    digest: Digest,
    *,
    deadline: Deadline = _no_limit,
    parallel: int = 4,
) -> Family:
    """Reads the family of an image; every manifest's bytes are hashed.

    Cost: one read and one question for referrers a manifest, `parallel` at once. Raises NotFound where the image or
    a child is not there, DigestMismatch where bytes are wrong, BadManifest where they are no manifest or indexes lie
    too deep in each other, and whatever passes. A referrer that disappears meanwhile is left out.
    """
    with ThreadPoolExecutor(parallel, thread_name_prefix="family") as pool:
        reader = _Reader(source, repository, deadline, pool)
        reader.read([digest])
        images = reader.bottom_up([digest])
        referrers: list[Manifest] = []
        subjects: Sequence[Manifest] = images
        known = {m.digest for m in images}
        while subjects:  # ends: each round is over manifests that no round before knew
            found = [d for d in reader.pointing_at(subjects) if d not in known]
            reader.read(found, optional=True)
            subjects = [m for m in reader.bottom_up(found) if m.digest not in known]
            known.update(m.digest for m in subjects)
            referrers += subjects
    members = (*images, *referrers)
    blobs = {blob.digest: blob for m in members for blob in m.blobs}
    foreign = {blob.digest: blob for m in members for blob in m.foreign if blob.digest not in blobs}
    if foreign:
        enough_time(deadline, "asking for foreign layers")
        absent = source.missing_blobs(repository, list(foreign))
        blobs.update({d: blob for d, blob in foreign.items() if d not in absent})
    return Family(repository, digest, tuple(images), tuple(referrers), blobs)


class _Reader:
    def __init__(
        self, source: ImageSource, repository: Repository, deadline: Deadline, pool: ThreadPoolExecutor
    ) -> None:
        self.source, self.repository, self.deadline, self.pool = source, repository, deadline, pool
        self.manifests: dict[Digest, Manifest] = {}

    def read(self, roots: Iterable[Digest], *, optional: bool = False) -> None:
        """Reads the roots and everything that they list. `optional`: a root that is gone is left out."""
        level = [d for d in dict.fromkeys(roots) if d not in self.manifests]
        for depth in range(MAX_NESTING + 1):
            found: dict[Digest, None] = {}
            for digest, manifest in self.each(level, lambda d: self.source.manifest(self.repository, d)):
                if manifest is None:
                    if optional and depth == 0:
                        continue
                    raise NotFound(f"{self.repository.at(digest)} is not there, and cannot be copied")
                if manifest.digest != digest:
                    raise DigestMismatch(
                        f"{self.repository} answers {manifest.digest} when asked for {digest}: push the image again"
                    )
                self.manifests[digest] = Manifest.parse(manifest.raw, manifest.media_type)
                found.update(dict.fromkeys(child.digest for child in self.manifests[digest].children))
            level = [d for d in found if d not in self.manifests]
            if not level:
                return
        raise _too_deep(level[0])

    def bottom_up(self, roots: Iterable[Digest]) -> list[Manifest]:
        """What was read of the roots and of what they list, each after what it lists."""
        ordered: dict[Digest, Manifest] = {}
        visited: set[Digest] = set()

        def visit(digest: Digest, depth: int) -> None:
            if digest in self.manifests and digest not in visited:
                visited.add(digest)
                children = self.manifests[digest].children
                if children and depth == MAX_NESTING:
                    raise _too_deep(digest)
                for child in children:
                    visit(child.digest, depth + 1)
                ordered[digest] = self.manifests[digest]

        for root in roots:
            visit(root, 0)
        return list(ordered.values())

    def pointing_at(self, subjects: Sequence[Manifest]) -> Iterator[Digest]:
        digests = [m.digest for m in subjects]
        for _, found in self.each(digests, self.referrers):
            yield from (referrer.digest for referrer in found)

    def referrers(self, digest: Digest) -> Sequence[Descriptor]:
        try:
            return self.source.referrers(self.repository, digest)
        except Unsupported:  # a registry that knows no referrers has none
            return ()

    def each(self, digests: Sequence[Digest], ask: Callable[[Digest], _Answer]) -> Iterator[tuple[Digest, _Answer]]:
        def one(digest: Digest) -> _Answer:
            enough_time(self.deadline, digest)
            return ask(digest)

        waiting = [self.pool.submit(one, digest) for digest in digests]
        try:
            for digest, future in zip(digests, waiting, strict=True):
                yield digest, future.result()
        finally:
            for future in waiting:
                future.cancel()


def _too_deep(digest: Digest) -> BadManifest:
    return BadManifest(f"indexes lie more than {MAX_NESTING} deep in each other, at {digest}")

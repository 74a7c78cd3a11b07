"""The order of putting manifests: each after its blobs, and after the manifests that it lists or refers to."""

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Literal

from tallyman.domain.images.manifest import Manifest
from tallyman.domain.names import Digest

Kind = Literal["blob", "manifest"]
"""What a digest names: a document may name the digest of a manifest as a blob."""

_Part = tuple[Kind, Digest]


class Order:
    """The order of the manifests that a target needs. Safe between threads."""

    def __init__(self, manifests: Sequence[Manifest], blobs: Mapping[Digest, Collection[Digest]]) -> None:
        """`manifests`: each after those that it lists or refers to. `blobs`: the missing blobs of each manifest."""
        self._manifests = manifests
        self._lock = threading.Lock()
        self._lacking: dict[Digest, set[_Part]] = {}
        self._wanted_by: dict[_Part, list[Manifest]] = {}
        coming = {m.digest for m in manifests}
        for manifest in manifests:
            parts: set[_Part] = {("blob", d) for d in blobs[manifest.digest]}
            parts |= {("manifest", d) for d in below(manifest) if d in coming}
            self._lacking[manifest.digest] = parts
            for part in parts:
                self._wanted_by.setdefault(part, []).append(manifest)

    def arrived(self, kind: Kind, digest: Digest) -> list[Manifest]:
        """Note that this blob or manifest is there now; return the manifests that waited for nothing else."""
        ready = []
        with self._lock:
            for manifest in self._wanted_by.pop((kind, digest), ()):
                self._lacking[manifest.digest].discard((kind, digest))
                if not self._lacking[manifest.digest]:
                    ready.append(manifest)
        return ready

    def levels(self, done: Collection[str]) -> Iterator[list[Manifest]]:
        """The manifests except `done`, level by level: a manifest needs only those of earlier levels."""
        depth: dict[Digest, int] = {}
        levels: list[list[Manifest]] = []
        for manifest in self._manifests:
            if manifest.digest in done:
                continue
            level = max((depth[d] + 1 for d in below(manifest) if d in depth), default=0)
            depth[manifest.digest] = level
            levels += [[] for _ in range(level + 1 - len(levels))]
            levels[level].append(manifest)
        return iter(levels)


def below(manifest: Manifest) -> list[Digest]:
    """The digests of the manifests that have to be there before this one."""
    found = [child.digest for child in manifest.children]
    if manifest.subject:
        found.append(manifest.subject.digest)
    return found

"""The order of putting manifests: each after its blobs, and after the manifests that it lists or refers to."""

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence

from tallyman.domain.images.manifest import Manifest
from tallyman.domain.names import Digest


class Order:
    """The order of the manifests that a target needs. Safe between threads."""

    def __init__(self, manifests: Sequence[Manifest], blobs: Mapping[Digest, Collection[Digest]]) -> None:
        """`manifests`: each after those that it lists or refers to. `blobs`: the missing blobs of each manifest."""
        self._manifests = manifests
        self._lock = threading.Lock()
        self._lacking: dict[Digest, set[Digest]] = {}
        self._wanted_by: dict[Digest, list[Manifest]] = {}
        coming = {m.digest for m in manifests}
        for manifest in manifests:
            self._lacking[manifest.digest] = {*blobs[manifest.digest], *(d for d in below(manifest) if d in coming)}
            for digest in self._lacking[manifest.digest]:
                self._wanted_by.setdefault(digest, []).append(manifest)

    def arrived(self, digest: Digest) -> list[Manifest]:
        """Note that this blob or manifest is there now; return the manifests that waited for nothing else."""
        ready = []
        with self._lock:
            for manifest in self._wanted_by.pop(digest, ()):
                self._lacking[manifest.digest].discard(digest)
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

"""What one target of a copy lacks: asked, and nothing is written."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import field

from tallyman.domain.images.manifest import Manifest
from tallyman.domain.names import Digest, Location
from tallyman.errors import DigestMismatch, TallymanError
from tallyman.ports.clocks import Deadline
from tallyman.ports.copying import Destination, InParts
from tallyman.services.copying.blobs import enough_time
from tallyman.services.copying.image_graph import ImageGraph
from tallyman.services.copying.progress import CopyProgress
from tallyman.services.copying.streams import MOST
from tallyman.values import value

Held = Mapping[str, Manifest | None]
"""What a target answered when it was asked for manifests: by tag or digest, None for what is not there."""


@value
class CopyOptions:
    """How content is brought to targets.

    `parallel`: blobs on their way at once; None: found out by measuring. `parts`: where the progress of large blobs is
    kept, if they are to go on in another run. `tags`: roots that may be put by this tag at once, because nothing has
    to wait for them: only for one target. `unseen`: roots that no target is asked for first, because it is known not to
    have them. `empty`: targets without any tag, asked for the largest blobs only unless one of these is there. `held`:
    what targets answered a moment ago; `seconds`: how long the nearest took for that.
    """

    deadline: Deadline
    parallel: int | None = None
    parts: InParts | None = None
    watch: CopyProgress = field(default_factory=CopyProgress)
    tags: Mapping[Digest, str] = field(default_factory=dict)
    unseen: Collection[Digest] = ()
    empty: Collection[Location] = ()
    held: Mapping[Location, Held] = field(default_factory=dict)
    seconds: float = 0.0


class TargetPlan:
    """One target. `error` ends it; `broken` ends what needs that blob or manifest, and nothing else. `needed`:
    manifests that are to be put; `lacking`: blobs that are to be brought first."""

    def __init__(
        self, origin: Location, port: Destination, repository: Location, graph: ImageGraph, options: CopyOptions
    ) -> None:
        self.origin, self.port, self.repository, self.graph = origin, port, repository, graph
        self.options, self.deadline, self.watch = options, options.deadline, options.watch
        self.tags = {} if graph.referrers else options.tags  # a referrer comes after its subject, a tag after both
        self.error: TallymanError | None = None
        self.broken: dict[Digest, TallymanError] = {}
        self.refused: dict[str, str] = dict(graph.unreadable)
        self.needed: list[Manifest] = []
        self.lacking: set[Digest] = set()
        self.tagged: set[Digest] = set()
        self._referrers = {m.digest for m in graph.referrers}

    def guard(self, step: Callable[[], None]) -> None:
        """Runs a step unless one before failed; what it raises is this target's outcome, and nobody else's."""
        if not self.error:
            try:
                step()
            except TallymanError as error:
                self.error = error

    def look(self) -> None:
        """Finds out which manifests are missing.

        An image that is there has all that it needs: a registry takes no manifest before its blobs and children,
        and ECR removes no image that an index lists.
        """
        named = set(self.graph.roots)
        roots = [m for m in self.graph.images if m.digest in named]
        asked = [*(m for m in roots if m.digest not in self.options.unseen), *self.graph.referrers]
        there = self._there(asked, self.tags, self.options.held.get(self.repository))
        self.tagged = there & self.tags.keys()
        wanted = self._beneath([m for m in roots if m.digest not in there])
        untagged = [m for m in roots if m.digest not in self.tags]
        unlisted = self._unlisted([*untagged, *self.graph.referrers], there)
        self.needed = [m for m in self.graph.images if m.digest in wanted | unlisted]
        self.needed += [m for m in self.graph.referrers if m.digest not in there or m.digest in unlisted]

    def prepare(self) -> None:
        """Finds out which blobs are missing, and leaves out children that are there."""
        wanted = {d for m in self.needed for d in self.graph.blobs_of(m)}
        if wanted:
            enough_time(self.deadline, f"asking {self.repository} for blobs")
            self.lacking = self._missing(wanted)
        sizes = {d: self.graph.blobs[d].size for d in self.lacking}
        self.watch.lacking(self.repository, sizes, len(self.graph.blobs) - len(sizes))
        known = {*self.graph.roots, *self._referrers}
        unknown = [m for m in self.needed if m.digest not in known and not self.graph.blobs_of(m) & self.lacking]
        if unknown:
            there = self._there(unknown)
            there -= self._unlisted([m for m in unknown if m.subject], there)
            self.needed = [m for m in self.needed if m.digest not in there]

    def _unlisted(self, manifests: Sequence[Manifest], there: Collection[Digest]) -> set[Digest]:
        held = [m for m in manifests if m.digest in there and m.digest not in self.refused.keys() | self.broken.keys()]
        return self.port.unlisted(self.repository, held) if held else set()

    def _missing(self, wanted: set[Digest]) -> set[Digest]:
        """Blobs go the largest first, MOST at once: where none of the MOST largest is there, no copy of ours that
        broke off has brought any other."""
        if self.repository in self.options.empty and len(wanted) > MOST:
            largest = sorted(wanted, key=self.graph.order)[:MOST]
            if self.port.missing_blobs(self.repository, largest) >= set(largest):
                return set(wanted)
        return self.port.missing_blobs(self.repository, sorted(wanted)) & wanted

    def _there(
        self,
        manifests: Sequence[Manifest],
        tags: Mapping[Digest, str] | None = None,
        held: Held | None = None,
        ours: Collection[Digest] = (),
    ) -> set[Digest]:
        """Those of which the repository gives back exactly these bytes; where it gives others, that is an error.
        `ours`: those that were put a moment ago, whose tags name no other image."""
        if not manifests:
            return set()
        enough_time(self.deadline, f"asking {self.repository} for {manifests[0].digest}")
        names = {m.digest: (tags or {}).get(m.digest, m.digest) for m in manifests}
        found: dict[str, Manifest | None] = dict(held or {})
        asked = [name for name in names.values() if name not in found]
        if asked:
            found.update(self.port.manifests(self.repository, asked))
        there = set()
        for manifest in manifests:
            answer = found.get(names[manifest.digest])
            if answer is None:
                continue
            if answer.raw == manifest.raw:
                there.add(manifest.digest)
                continue
            if manifest.digest in (tags or {}) and manifest.digest not in ours:
                continue  # the tag names another image
            what = f"{self.repository} answers {answer.digest} when asked for {names[manifest.digest]}"
            if manifest.digest in self._referrers:
                self.refused[manifest.digest] = what
                there.add(manifest.digest)
            else:
                self.broken[manifest.digest] = DigestMismatch(f"{what}: remove it there")
        return there

    def _beneath(self, roots: Sequence[Manifest]) -> set[Digest]:
        """The roots and all that they list."""
        known = {m.digest: m for m in self.graph.images}
        found: set[Digest] = set()
        level = [m.digest for m in roots if m.digest not in self.broken]
        while level:
            found.update(level)
            level = [c.digest for d in level for c in known[d].children if c.digest in known and c.digest not in found]
        return found

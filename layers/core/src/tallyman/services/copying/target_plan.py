"""Finds what one target of a copy lacks. Writes nothing."""

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
"""A target's manifests by the tag or digest that was requested; None: it is not there."""


@value
class CopyOptions:
    """The options of a copy to targets.

    `parallel`: blobs copied at once; None: found by measuring. `parts`: uploads of large blobs that another run can
    continue. `tags`: roots that may be put under this tag at once; only with one target, for which no other has to
    wait. `unseen`: roots that the targets are known to lack, so they are not asked. `empty`: targets without any tag,
    which are asked for the largest blobs only, unless one of those is there. `held`: what targets answered a moment
    ago; `seconds`: the round trip to the nearest target.
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
    """The content that one target lacks. `error`: the error that ends the target; `lost`, `broken`: errors of single
    blobs and of single manifests, which end only what needs them. `needed`: manifests to put; `lacking`: blobs to copy
    first."""

    def __init__(
        self, origin: Location, port: Destination, repository: Location, graph: ImageGraph, options: CopyOptions
    ) -> None:
        self.origin, self.port, self.repository, self.graph = origin, port, repository, graph
        self.options, self.deadline, self.watch = options, options.deadline, options.watch
        self.tags = {} if graph.referrers else options.tags  # a referrer comes after its subject, a tag after both
        self.error: TallymanError | None = None
        self.lost: dict[Digest, TallymanError] = {}
        self.broken: dict[Digest, TallymanError] = {}
        self.refused: dict[str, str] = dict(graph.unreadable)
        self.needed: list[Manifest] = []
        self.lacking: set[Digest] = set()
        self.tagged: set[Digest] = set()
        self._referrers = {m.digest for m in graph.referrers}

    def guard(self, step: Callable[[], None]) -> None:
        """Run a step unless an earlier one failed. Its error becomes the result of this target."""
        if not self.error:
            try:
                step()
            except TallymanError as error:
                self.error = error

    def look(self) -> None:
        """Find out which manifests are missing.

        An image that is there is complete: a registry accepts no manifest before its blobs and children, and ECR
        removes no image that an index lists.
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
        """Find out which blobs are missing, and drop children that are there from `needed`."""
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
        """Those of the blobs that the target lacks. An empty target is asked for the MOST largest blobs only: these are
        sent first, so where none of them is there, an interrupted copy of ours has sent no other."""
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
        """The manifests that the repository returns with exactly these bytes; other bytes are an error. `ours`:
        manifests that were put a moment ago, so that their tags can't name another image."""
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
            listed = dict.fromkeys(child.digest for d in level for child in known[d].children)
            level = [digest for digest in listed if digest in known and digest not in found]
        return found

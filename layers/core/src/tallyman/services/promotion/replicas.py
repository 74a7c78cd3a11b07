"""Stages images where ECR replicates them: copies to the first registry only, and waits for ECR to fill the others.

    replicas ask ─▶ rules ─▶ copy to the first ─▶ ask ─▶ all there: staged
                                                   └──▶ under way: tried again (an arrival wakes it), for LONGEST
                                                   └──▶ failed, late or in part: copied, and people are notified

The image is pushed by digest, so that no tag is set before the content is everywhere: ECR replicates a tag as soon as
it is set in the first registry. The promotion then sets the tags in every registry itself, because ECR silently leaves
out a tag that it can't set.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

from tallyman.domain.decide import Decision
from tallyman.domain.names import Digest, Repository
from tallyman.domain.policy import format_duration
from tallyman.domain.replication import destinations
from tallyman.domain.times import format_time
from tallyman.errors import TallymanError, TransientError, UnderWay
from tallyman.ports.clocks import Clock
from tallyman.ports.messages import Notices
from tallyman.ports.registries import ImageReplication, ImageSource, ImageTarget
from tallyman.services.copying.image_graph import ImageGraph
from tallyman.services.copying.target_copy import Staged
from tallyman.services.promotion import notices
from tallyman.values import value

LONGEST = timedelta(minutes=30)
"""How long after its push to the first registry an image may take to arrive; then it is copied. ECR says that most
images take less (https://docs.aws.amazon.com/AmazonECR/latest/userguide/replication.html)."""


class _Lacking(UnderWay):
    """The replica lacks a part of the image. `last`: the last in push order of the manifests that it lacks; None: it
    lacks only blobs."""

    def __init__(self, text: str, last: Digest | None) -> None:
        super().__init__(text)
        self.last = last


Outcome = Staged | TallymanError
Copy = Callable[[Sequence[Repository]], dict[Repository, Outcome]]


@value
class Replicas:
    """Stages an image where ECR replicates it."""

    replication: ImageReplication
    source: ImageSource
    target: ImageTarget
    notices: Notices
    clock: Clock

    def stage(
        self,
        decision: Decision,
        places: Sequence[Repository],
        answering: Collection[Repository],
        graph: ImageGraph,
        copy: Copy,
    ) -> dict[Repository, Outcome]:
        """Stage the image; return the result of each place that was tried, as `stage` does. UnderWay: ECR still
        replicates.

        `places`: `copy` copies to the first; ECR replicates to the others. Nothing is pushed while a replication rule
        is missing, because ECR does not replicate what was pushed before its rule. Cost beyond the copy to the first:
        two calls for a hundred manifests and blobs of each replica, and two again for each that lacks some; a
        DescribeRegistry, a DescribeImageReplicationStatus and a DescribeImages where one does.
        """
        first, *others = places
        found = self._look([place for place in others if place in answering], graph, ())
        lacking = [place for place, outcome in found.items() if isinstance(outcome, _Lacking)]
        missing = self._without_rule(first, lacking, decision.target)
        if missing or first not in answering:
            return {**found, **missing}
        outcome = found[first] = copy([first])[first]
        if not lacking or not isinstance(outcome, Staged):
            return found
        refused = outcome.refused_referrers
        found.update(self._look(lacking, graph, refused))
        reasons = {}
        for place in lacking:
            if isinstance(lacks := found[place], _Lacking):
                waits, why = self._status(first, place, lacks.last)
                if waits:
                    found[place] = UnderWay(why)
                else:
                    reasons[place] = why
        if reasons:
            found.update(self._copy(decision, reasons, graph, refused, copy))
        return found

    def _look(
        self, replicas: Sequence[Repository], graph: ImageGraph, refused: Collection[str]
    ) -> dict[Repository, Outcome]:
        """Check whether each replica has the whole image: every manifest byte for byte, and every blob. `refused`:
        referrers that the first registry refused."""
        if not replicas:
            return {}
        with ThreadPoolExecutor(min(8, len(replicas)), thread_name_prefix="replica") as pool:
            return dict(zip(replicas, pool.map(partial(self._ask, graph, refused), replicas), strict=True))

    def _ask(self, graph: ImageGraph, refused: Collection[str], place: Repository) -> Outcome:
        wanted = [manifest for manifest in graph.manifests if manifest.digest not in refused]
        blobs: set[Digest] = {digest for m in wanted for digest in graph.blobs_of(m)}
        try:
            there = self.target.manifests(place, [manifest.digest for manifest in wanted])
            lacks = [m.digest for m in wanted if m.digest not in there or there[m.digest].raw != m.raw]
            if lacks:
                return _Lacking(f"{place} lacks {lacks[-1]}", lacks[-1])
            if absent := self.target.missing_blobs(place, sorted(blobs)):
                return _Lacking(f"{place} lacks the blob {min(absent)}", None)
        except TallymanError as error:
            return error
        return Staged(place)

    def _without_rule(
        self, first: Repository, lacking: Sequence[Repository], environment: str
    ) -> dict[Repository, Outcome]:
        """The replicas that lack the image and that no replication rule reaches, with an error. One
        DescribeRegistry."""
        if not lacking:
            return {}
        reached = destinations(self.replication.rules(first.registry), first.name)
        return {
            place: TransientError(
                f"no replication rule of {first.registry} carries {first.name} there, and {environment} says "
                "`replicate: native`: `tallyman doctor` prints the rule to set"
            )
            for place in lacking
            if place.registry not in reached
        }

    def _status(self, first: Repository, place: Repository, digest: Digest | None) -> tuple[bool, str]:
        """Whether to wait for the replication of what a replica lacks, and the reason."""
        if digest is None:
            return False, "its manifests were replicated, but some of its layers are missing"
        status = self.replication.statuses(first, digest).get(place.registry)
        if status is not None and status.status == "failed":
            return False, f"the replication failed ({status.failure or 'ECR does not say why'})"
        if status is not None and status.status == "complete":
            return False, f"the replication is complete, and {digest} is not there"
        pushed = [detail.pushed_at for detail in self.source.describe(first, [digest])]
        if not pushed or self.clock() - pushed[0] >= LONGEST:
            return False, f"{digest} did not come within {format_duration(LONGEST)} of its push to {first.registry}"
        longest = format_duration(LONGEST)
        return True, f"ECR replicates it since {format_time(pushed[0])}; after {longest} it is copied"

    def _copy(
        self,
        decision: Decision,
        reasons: Mapping[Repository, str],
        graph: ImageGraph,
        refused: Collection[str],
        copy: Copy,
    ) -> dict[Repository, Outcome]:
        """Copy to the replicas in `reasons` (each with why), and check them again: a copy assumes that an image that
        is there is complete."""
        found = copy(list(reasons))
        copied = [place for place, outcome in found.items() if isinstance(outcome, Staged) and not outcome.was_there]
        for place, outcome in self._look([p for p in found if isinstance(found[p], Staged)], graph, refused).items():
            if isinstance(outcome, _Lacking) and not _refused(found[place]):
                found[place] = TransientError(f"{outcome}, although it was replicated and copied")
        if copied:
            why = {str(place.registry): reasons[place] for place in copied}
            notices.not_replicated(self.notices, decision, why)
        return found


def _refused(outcome: Outcome) -> bool:
    """Whether a copy left out referrers that the replica refused."""
    return isinstance(outcome, Staged) and bool(outcome.refused_referrers)

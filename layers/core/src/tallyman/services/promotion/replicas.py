"""Registries that ECR's own replication fills: the image is copied to the first one of the environment alone.

    replicas ask ─▶ rules ─▶ copy to the first ─▶ ask ─▶ all there: staged
                                                   └──▶ under way: tried again (an arrival wakes it), for LONGEST
                                                   └──▶ failed, late or in part: copied, and people are notified

The image is pushed by digest, so that no tag is anywhere before its content is everywhere: ECR carries a tag on as soon
as it is set in the first registry. The tags are then set in every registry by the promotion itself, because ECR leaves
one out that it can't set, and says nothing.
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
"""After its push to the first registry an image that has not arrived is copied: ECR says that most take less than that
(https://docs.aws.amazon.com/AmazonECR/latest/userguide/replication.html)."""


class _Lacking(UnderWay):
    """The replica lacks a part of the image. `last`: of the manifests that it lacks the one that is pushed last; None:
    it lacks blobs alone."""

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
        """What came of each place that was tried: as `stage` answers. UnderWay: ECR still replicates.

        `places`: the first is copied to with `copy`, the others are left to ECR. Nothing is pushed while a rule is
        missing, because ECR never replicates what was pushed before its rule. Cost beyond the copy to the first: two
        calls for a hundred manifests and blobs of each replica, as often again for those that lack some; a
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
        """Whether each replica has all of the image: every manifest with its very bytes, and every blob. `refused`:
        referrers that the first registry does not take."""
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
        """Those that lack the image and to which no rule would bring it. One DescribeRegistry."""
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
        """Whether the replication of what a replica lacks is to be waited for, and why or why not."""
        if digest is None:
            return False, "its manifests were replicated, and some of its layers are not there"
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
        """Copies to the replicas of which `reasons` say why, and looks again: a copy takes an image that is there for
        whole."""
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
    """Whether a copy left out referrers that the replica does not take."""
    return isinstance(outcome, Staged) and bool(outcome.refused_referrers)

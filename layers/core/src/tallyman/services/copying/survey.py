"""Reports what a copy would do, without doing it."""

from collections.abc import Sequence
from dataclasses import dataclass

from tallyman.domain.names import Digest, Location
from tallyman.errors import TallymanError
from tallyman.ports.clocks import Deadline
from tallyman.ports.copying import Destination
from tallyman.services.copying.image_graph import ImageGraph
from tallyman.services.copying.target_plan import CopyOptions, TargetPlan


@dataclass(slots=True)
class Survey:
    """The manifests, and the blobs with their sizes in bytes, that a target lacks. `mounts`: the registry could mount
    the blobs."""

    manifests: dict[Digest, None]
    blobs: dict[Digest, int]
    mounts: bool

    def add(self, other: "Survey") -> None:
        """Add another survey; what both name is counted once."""
        self.manifests.update(other.manifests)
        self.blobs.update(other.blobs)


def survey(
    origin: Location,
    target: Destination,
    targets: Sequence[Location],
    graph: ImageGraph,
    *,
    deadline: Deadline,
) -> dict[Location, Survey | TallymanError]:
    """Make the same requests as `stage` to find what each target lacks, and write nothing."""
    found: dict[Location, Survey | TallymanError] = {}
    for place in dict.fromkeys(targets):
        plan = TargetPlan(origin, target, place, graph, CopyOptions(deadline))
        plan.guard(plan.look)
        plan.guard(plan.prepare)
        found[place] = plan.error or Survey(
            dict.fromkeys(m.digest for m in plan.needed),
            {digest: graph.blobs[digest].size for digest in sorted(plan.lacking)},
            place.registry == origin.registry,
        )
    return found

"""What a copy would bring, without bringing it."""

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
    """What a copy would bring to a target: manifests, and blobs with their sizes in bytes."""

    manifests: dict[Digest, None]
    blobs: dict[Digest, int]
    mounts: bool

    def add(self, other: "Survey") -> None:
        """What both would bring is counted once."""
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
    """Asks what `stage` would ask, and does nothing. `mounts`: the blobs could be taken over in the registry."""
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

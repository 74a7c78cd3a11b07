"""Plans the retention of a repository from its present state, and again right before each removal."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from tallyman.domain.names import Digest, Repository
from tallyman.domain.retention import Inventory, Plan, Reading, plan_retention
from tallyman.ports.clocks import Deadline
from tallyman.services.retention.inputs import ReadInputs
from tallyman.services.retention.inventory import TakeInventory
from tallyman.services.retention.release_log import ReleaseLog
from tallyman.state.marks import Mark


@dataclass(slots=True)
class Look:
    """One look at a repository and at everything that could need its images: the plan, and the data that the next look
    reuses. The registry is read first, usage last.

    `removed`: whether retention removed an image that is gone.
    """

    reader: ReadInputs
    inventories: TakeInventory
    plan: Plan
    readings: list[Reading]
    log: ReleaseLog
    moved: dict[Digest, datetime]
    removed: dict[Digest, bool] = field(default_factory=dict)

    @classmethod
    def first(cls, reader: ReadInputs, inventories: TakeInventory, repository: Repository, left: Deadline) -> "Look":
        """Read everything. Raises NotFound, OutOfTime. Write nothing."""
        inventory = inventories.of(repository, left)
        removed: dict[Digest, bool] = {}
        log, moved = reader.log(inventory), reader.moved(inventory)
        begun = reader.begun(inventory, reader.marks(inventory), removed)
        plan, readings = _plan(reader, inventory, log, moved, begun)
        return cls(reader, inventories, plan, readings, log, moved, removed)

    def again(
        self,
        digests: Sequence[Digest],
        marks: Mapping[Digest, Mark],
        removed: Iterable[Digest],
        left: Deadline,
    ) -> "Look":
        """Look again, for the removal of these images. `marks`: those of the repository; `removed`: by this run.

        Lists the repository and makes the whole plan again; reuses only what never changes (manifests) and what can't
        affect these images. Raises as `first`. Write nothing.
        """
        before = self.plan.inventory
        inventory = self.inventories.again(before, left)
        self.removed.update(dict.fromkeys(removed, True))
        for digest in [digest for digest in self.removed if digest in inventory.rows]:
            del self.removed[digest]  # it was pushed again
        moved = {**self.moved, **self.reader.moved(inventory, _near(inventory, before, digests))}
        begun = self.reader.begun(inventory, marks, self.removed)
        plan, readings = _plan(self.reader, inventory, self.log, moved, begun)
        return replace(self, plan=plan, readings=readings, moved=moved)


def _plan(
    reader: ReadInputs,
    inventory: Inventory,
    log: ReleaseLog,
    moved: dict[Digest, datetime],
    begun: frozenset[Digest],
) -> tuple[Plan, list[Reading]]:
    inputs = replace(reader.read(inventory, log, moved), begun=begun)
    readings = reader.readings()
    inputs = replace(inputs, started=reader.started(inventory, readings))
    return plan_retention(reader.policy, inventory, readings, inputs, reader.clock()), readings


def _near(inventory: Inventory, before: Inventory, digests: Iterable[Digest]) -> set[int]:
    """The rows whose tags affect these images: their own, those of their holders, and those whose tags changed."""
    links = inventory.links()
    waiting = [row for digest in digests if (row := inventory.rows.get(digest)) is not None]
    near = set(waiting)
    while waiting:
        for holder in links.holders(waiting.pop()):
            if holder not in near:
                near.add(holder)
                waiting.append(holder)
    for row, digest in enumerate(inventory.digests):
        was = before.rows.get(digest)
        if was is None or before.tags[was] != inventory.tags[row]:
            near.add(row)
    return near

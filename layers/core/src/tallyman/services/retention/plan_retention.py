"""The plan of a repository, from what is so now; and again for a few of its images, right before these are removed."""

from collections.abc import Sequence
from dataclasses import replace

from tallyman.domain.names import Digest, Repository
from tallyman.domain.retention import Plan, Reading, plan_retention
from tallyman.domain.retention.inventory import NEVER, millis
from tallyman.ports.clocks import Deadline
from tallyman.services.retention.inputs import Needs
from tallyman.services.retention.inventory import TakeInventory


def planned(
    needs: Needs, inventories: TakeInventory, repository: Repository, left: Deadline
) -> tuple[Plan, list[Reading]]:
    """The plan of the repository as of now, and the readings of usage that it goes by. Writes nothing."""
    inventory = inventories.of(repository, left)
    readings = needs.readings()
    known = replace(needs.known(inventory, readings), begun=needs.begun(inventory))
    return plan_retention(needs.policy, inventory, readings, known, needs.clock()), readings


def planned_again(
    needs: Needs, inventories: TakeInventory, plan: Plan, digests: Sequence[Digest]
) -> tuple[Plan, list[Reading], list[Digest]]:
    """The same inventory, with what these images are now (it is changed); then everybody who could need one is asked
    anew. With the readings, and those of the images that are gone. Writes nothing."""
    inventory = plan.inventory
    there = {detail.digest: detail for detail in inventories.source.describe(inventory.repository, digests)}
    gone = []
    for digest in digests:
        row, detail = inventory.rows[digest], there.get(digest)
        if detail is None:
            gone.append(digest)
            continue
        inventory.tags[row] = tuple(sorted(detail.tags))
        inventory.pulled[row] = millis(detail.pulled_at) if detail.pulled_at else NEVER
        inventory.pushed[row] = millis(detail.pushed_at)
        inventory.archived[row] = detail.archived
    readings = needs.readings()
    known = replace(needs.known(inventory, readings), begun=plan.begun)
    return plan_retention(needs.policy, inventory, readings, known, needs.clock()), readings, gone

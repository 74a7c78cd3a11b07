"""Removes images that were marked long enough ago: looks again under their leases, proves, removes by digest.

Between the last look and the removal passes the time of a few calls; a use that begins in that time is not seen.
"""

import secrets
from collections.abc import Sequence
from contextlib import ExitStack

from tallyman.domain.names import Digest
from tallyman.domain.policy import Policy, Removal
from tallyman.domain.retention import Plan, Reading
from tallyman.domain.retention.proof import FOLDER, proof
from tallyman.domain.times import format_time, whole_millis
from tallyman.errors import BadInput, LeaseHeld, Refused, RevisionConflict
from tallyman.ports.clocks import Clock, Deadline
from tallyman.ports.records import Archive
from tallyman.ports.registries import ImageRemover, ImageSource
from tallyman.services.retention.marks import Marks
from tallyman.services.retention.plan_retention import Look
from tallyman.services.retention.runs import Run
from tallyman.services.shared.lease import Leases
from tallyman.state import leases
from tallyman.state.items import Entry
from tallyman.state.marks import Mark
from tallyman.values import value


@value
class RemoveImages:
    """Removes, or puts into ECR's archive, as the policy says."""

    policy: Policy
    source: ImageSource
    remover: ImageRemover
    archive: Archive
    marks: Marks
    leases: Leases
    clock: Clock

    def remove(self, run: Run, look: Look, due: Sequence[tuple[Digest, Entry[Mark]]], left: Deadline) -> Look:
        """Look again under the leases of a few images, usage last, and remove those that the new plan still removes.
        Return the new look.

        The run has the result of each image: removed, failed or unmarked. Cost besides the look: a read of the
        manifests; for each image one or two objects, a write before the removal and two after it. Raises OutOfTime
        before anything is done.
        """
        policy, inventory = self.policy, run.plan.inventory
        environments = dict.fromkeys(
            [p.target for p in policy.repository(inventory.name).promotions]
            + ([inventory.environment] if inventory.environment else [])
        )
        with ExitStack() as held:
            owner, free, checks = secrets.token_hex(8), [], []
            for digest, item in due:
                try:
                    for environment in environments:
                        what = leases.of_image(inventory.name, digest)
                        checks.append(held.enter_context(self.leases.hold(environment, what, owner)).check)
                except LeaseHeld as error:
                    run.failed[digest] = str(error)
                    continue
                free.append((digest, item))
            look = look.again([d for d, _ in free], run.marks, run.removed, left)
            plan = look.plan
            gone = [digest for digest, _ in free if digest not in plan.inventory.rows]
            run.failed.update(dict.fromkeys(gone, "it is gone already"))
            if plan.refused:
                run.failed.update(dict.fromkeys((digest for digest, _ in free), plan.refused[0]))
                return look
            for digest, item in free:
                if digest not in run.failed and not plan.goes(digest):  # something needs it now
                    reason = plan.image(plan.inventory.rows[digest]).reason
                    self.marks.drop(run, item, reason, whole_millis(self.clock()))
            proven = self._prove(run, plan, look.readings, [pair for pair in free if plan.goes(pair[0])])
            for check in checks:
                check()
            self._send(run, plan, proven)
        return look

    def _prove(
        self, run: Run, plan: Plan, readings: Sequence[Reading], going: Sequence[tuple[Digest, Entry[Mark]]]
    ) -> list[tuple[Digest, Entry[Mark]]]:
        """Write the proofs and manifests before anything is removed, and the proofs' digests into the marks; return
        the images that may go."""
        order = {plan.inventory.digests[row]: n for n, row in enumerate(plan.removed)}
        wanted = sorted((d for d, _ in going if d not in run.failed), key=lambda d: order[d])
        items = dict(going)
        readable = [d for d in wanted if not plan.inventory.archived[plan.inventory.rows[d]]]
        manifests = self.source.manifests(run.repository, readable) if readable else {}
        proven = []
        for digest in wanted:
            manifest, item = manifests.get(digest), items[digest]
            if manifest is not None:
                self.archive.put("manifests", manifest.raw)
            written = self.archive.put(
                FOLDER, proof(plan, run.repository, digest, manifest, readings, format_time(item.value.marked_at))
            )
            try:
                proven.append((digest, self.marks.prove(item, written)))
            except RevisionConflict:
                run.failed[digest] = "another run is removing it"
        return proven

    def _send(self, run: Run, plan: Plan, proven: Sequence[tuple[Digest, Entry[Mark]]]) -> None:
        digests = [digest for digest, _ in proven]
        if not digests:
            return
        failed: dict[Digest, str] = {}
        if plan.retention.action is Removal.ARCHIVE:
            for digest in digests:
                try:
                    self.remover.store(run.repository, digest, archive=True)
                except (Refused, BadInput) as error:
                    failed[digest] = str(error)
        else:
            failed = self.remover.remove(run.repository, digests)
        for digest, item in proven:
            if digest in failed:
                run.failed[digest] = failed[digest]
                self.marks.fail(item, run.failed[digest])
            else:
                self.marks.removed(run, item)

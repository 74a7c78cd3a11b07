"""Marks of retention: what is to go, since when, why and with what; each begins and ends with a fact."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from tallyman.domain.history.facts import Fact, Kind, Via, fact_id
from tallyman.domain.names import Digest, Repository
from tallyman.domain.times import format_time, whole_millis
from tallyman.errors import RevisionConflict
from tallyman.ports.clocks import Clock
from tallyman.ports.records import Ledger, State, StateChange, StateItem
from tallyman.services.retention.runs import Run
from tallyman.values import value

_HOLDERS = 100
"""Indexes and subjects that a mark names: an item of the table takes many more."""


def marks_partition(repository: Repository) -> str:
    """The partition of the state table with an item for each image that is to go, sk its digest.

    `data`: {marked_at, reason, id, with: the indexes and subjects that it goes with, proof: set right before the
    removal, failed: why it did not go the last time, over: its last fact is written}.
    """
    return f"M#{repository}"


@value
class Marks:
    """Writes them, for runs of retention by the policy of this digest."""

    policy: Digest
    ledger: Ledger
    state: State
    clock: Clock

    def follow(self, run: Run, now: datetime) -> Mapping[str, StateItem]:
        """The marks of the repository, by digest. Those of images that the run's plan keeps, or that are gone, end."""
        plan = run.plan
        marks = {item.sk: item for item in self.state.list(marks_partition(run.repository))}
        for sk, item in list(marks.items()):
            if item.data.get("over"):  # its fact is written: a run ended right before it forgot the mark
                self._forget(marks.pop(sk))
            elif sk not in plan.inventory.rows:
                self._was_removed(run, item)
            elif not plan.goes(sk):
                self.drop(run, item, plan.image(plan.inventory.rows[sk]).reason, now)
        return marks

    def mark(self, run: Run, digest: Digest, now: datetime) -> StateItem | None:
        """Marks an image that the plan removes. None: another run marks it just now."""
        plan = run.plan
        row = plan.inventory.rows[digest]
        reason, holders = plan.reason(row), [plan.inventory.digest(each) for each in plan.links.holders(row)]
        fact = self._fact(Kind.MARKED, run.repository, digest, now, {"reason": reason}, now)
        data = {
            "marked_at": format_time(now),
            "reason": reason,
            "id": fact.id,
            "with": holders[:_HOLDERS],
            "proof": None,
            "failed": None,
        }
        change = StateChange(marks_partition(run.repository), digest, 0, data)
        try:
            self.ledger.append(fact, change)
        except RevisionConflict:
            return None
        run.counts["marked"] += 1
        return StateItem(change.pk, digest, 1, data)

    def drop(self, run: Run, item: StateItem, reason: str, now: datetime) -> None:
        """The image stays, for this reason."""
        key = item.data["id"]
        fact = self._fact(Kind.UNMARKED, run.repository, Digest(item.sk), now, {"reason": reason}, key)
        self._over(fact, item, None)
        run.counts["unmarked"] += 1

    def prove(self, item: StateItem, proof: Digest) -> StateItem:
        """The mark with the proof, which is written, of a removal that comes next. RevisionConflict: another run works
        at it."""
        data = {**item.data, "proof": proof}
        self.state.put(StateChange(item.pk, item.sk, item.revision, data))
        return StateItem(item.pk, item.sk, item.revision + 1, data)

    def fail(self, item: StateItem, reason: str) -> None:
        """The image did not go, for this reason: the mark stays."""
        with suppress(RevisionConflict):
            data = {**item.data, "proof": None, "failed": reason}
            self.state.put(StateChange(item.pk, item.sk, item.revision, data))

    def removed(self, run: Run, item: StateItem) -> None:
        """The image was removed, with the proof that the mark names."""
        digest, proof = Digest(item.sk), item.data["proof"]
        detail = {"proof": proof, "reason": item.data["reason"], "action": str(run.plan.retention.action)}
        now = whole_millis(self.clock())
        self._over(self._fact(Kind.REMOVED, run.repository, digest, now, detail, proof), item, proof)
        run.removed.append(digest)

    def _was_removed(self, run: Run, item: StateItem) -> None:
        """The image of a mark is gone: by us, if its proof was written and the run ended then; or by somebody else."""
        if item.data["proof"]:
            self.removed(run, item)
        else:
            self._forget(item)

    def _over(self, fact: Fact, item: StateItem, proof: str | None) -> None:
        """A mark ends with its fact, in one transaction: a run that dies right after does not make the next tell it
        again. RevisionConflict: another run did it."""
        change = StateChange(item.pk, item.sk, item.revision, {**item.data, "proof": proof, "over": True})
        with suppress(RevisionConflict):
            self.ledger.append(fact, change)
            self.state.delete(item.pk, item.sk, item.revision + 1)

    def _forget(self, item: StateItem) -> None:
        with suppress(RevisionConflict):
            self.state.delete(item.pk, item.sk, item.revision)

    def _fact(
        self, kind: Kind, repository: Repository, digest: Digest, now: datetime, detail: dict[str, Any], key: object
    ) -> Fact:
        return Fact(
            kind=kind,
            id=fact_id(kind, repository, digest, key),
            at=now,
            seen=now,
            via=Via.RECONCILED,
            digest=digest,
            repository=repository,
            detail={**detail, "policy": self.policy},
        )

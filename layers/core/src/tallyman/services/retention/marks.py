"""Marks of retention: which image is to be removed, since when, why and with which others. Each begins and ends with a
fact."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from tallyman.domain.history.details.base import new_fact
from tallyman.domain.history.details.retention import Marked, Removed
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.names import Digest, Repository
from tallyman.errors import RevisionConflict
from tallyman.ports.clocks import Clock
from tallyman.ports.records import Ledger, State
from tallyman.services.retention.runs import Run
from tallyman.state import marks
from tallyman.state.items import Entry
from tallyman.state.marks import MARKS, Mark
from tallyman.values import value

_HOLDERS = 100
"""The most holders (indexes and subjects) that a mark names; an item of the table could take many more."""


@value
class Marks:
    """Writes the marks of runs of retention by the policy with this digest."""

    policy: Digest
    ledger: Ledger
    state: State
    clock: Clock

    def follow(self, run: Run, now: datetime) -> Mapping[Digest, Entry[Mark]]:
        """Return the marks of the repository by digest, after ending those of images that the plan keeps or that are
        gone."""
        plan = run.plan
        there = {Digest(entry.sk): entry for entry in self._of(run.repository)}
        for digest, entry in list(there.items()):
            if entry.value.over:  # its fact is written; a run died before it removed the mark
                self._forget(there.pop(digest))
            elif digest not in plan.inventory.rows:
                self._was_removed(run, entry)
            elif not plan.goes(digest):
                self.drop(run, entry, plan.image(plan.inventory.rows[digest]).reason, now)
        return there

    def mark(self, run: Run, digest: Digest, now: datetime) -> Entry[Mark] | None:
        """Mark an image that the plan removes. None: another run has just marked it."""
        plan = run.plan
        row = plan.inventory.rows[digest]
        reason, holders = plan.reason(row), [plan.inventory.digest(each) for each in plan.links.holders(row)]
        fact = self._fact(Kind.MARKED, run.repository, digest, now, Marked(reason, self.policy), now)
        entry = MARKS.read(self.state, marks.key(run.repository, digest))
        mark = Mark(now, reason, fact.id, tuple(holders[:_HOLDERS]))
        if entry.found is not None:
            return None
        try:
            self.ledger.append(fact, entry.write(mark))
        except RevisionConflict:
            return None
        run.counts["marked"] += 1
        return entry.written(mark)

    def drop(self, run: Run, entry: Entry[Mark], reason: str, now: datetime) -> None:
        """End a mark: the image stays, for this reason."""
        self._unmark(run.repository, entry, reason, now)
        run.counts["unmarked"] += 1

    def are_in(self, repository: Repository) -> bool:
        """Whether the repository has marks that `void` would end. One Query."""
        return any(entry.value.proof is None for entry in self._of(repository))

    def void(self, repository: Repository, reason: str) -> None:
        """End the marks of a repository in which the policy enforces nothing any more, so that the grace begins anew
        when it does again. A mark with a proof stays: its image may be removed, and the next run completes it."""
        for entry in list(self._of(repository)):
            if entry.value.over:
                self._forget(entry)
            elif entry.value.proof is None:
                self._unmark(repository, entry, reason, self.clock())

    def _of(self, repository: Repository) -> Iterator[Entry[Mark]]:
        return MARKS.list(self.state, marks.partition(repository))

    def _unmark(self, repository: Repository, entry: Entry[Mark], reason: str, now: datetime) -> None:
        key = entry.value.id
        fact = self._fact(Kind.UNMARKED, repository, Digest(entry.sk), now, Marked(reason, self.policy), key)
        self._over(fact, entry, None)

    def prove(self, entry: Entry[Mark], proof: Digest) -> Entry[Mark]:
        """Write the proof's digest into the mark, before the removal; return the entry. Raises RevisionConflict where
        another run changed the mark."""
        mark = replace(entry.value, proof=proof)
        self.state.put(entry.write(mark))
        return entry.written(mark)

    def fail(self, entry: Entry[Mark], reason: str) -> None:
        """Record why the image was not removed; the mark stays."""
        with suppress(RevisionConflict):
            self.state.put(entry.write(replace(entry.value, proof=None, failed=reason)))

    def removed(self, run: Run, entry: Entry[Mark]) -> None:
        """Record that the image was removed, with the proof that the mark names; end the mark."""
        digest, mark = Digest(entry.sk), entry.value
        detail = Removed(mark.reason, self.policy, mark.proof, str(run.plan.retention.action))
        now = self.clock()
        self._over(self._fact(Kind.REMOVED, run.repository, digest, now, detail, mark.proof), entry, mark.proof)
        run.removed.append(digest)

    def _was_removed(self, run: Run, entry: Entry[Mark]) -> None:
        """End the mark of an image that is gone: retention removed it if the mark has a proof, else somebody else
        did."""
        if entry.value.proof:
            self.removed(run, entry)
        else:
            self._forget(entry)

    def _over(self, fact: Fact, entry: Entry[Mark], proof: Digest | None) -> None:
        """Write the fact and end the mark in one transaction, so that after a crash the next run does not record it
        again. Nothing is done where another run was faster."""
        mark = replace(entry.value, proof=proof, over=True)
        with suppress(RevisionConflict):
            self.ledger.append(fact, entry.write(mark))
            self._forget(entry.written(mark))

    def _forget(self, entry: Entry[Mark]) -> None:
        with suppress(RevisionConflict):
            self.state.put(entry.remove(self.clock()))

    def _fact(
        self, kind: Kind, repository: Repository, digest: Digest, now: datetime, detail: Marked | Removed, key: object
    ) -> Fact:
        return new_fact(kind, (repository, digest, key), detail, now, digest=digest, repository=repository)

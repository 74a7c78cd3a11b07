"""Records failed tries of promotions: retried with growing pauses, or given up. Records which tags are being set."""

from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import timedelta

from tallyman.domain.decide import Decision, Tagging
from tallyman.domain.events.hints import Promote
from tallyman.domain.history.details.base import new_fact
from tallyman.domain.history.details.promotions import Delayed, Parked, TaggingBegun
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.policy import Policy, format_duration
from tallyman.domain.times import format_time, whole_millis
from tallyman.ports.clocks import Clock
from tallyman.ports.messages import LONGEST_DELAY, Hints
from tallyman.ports.records import Ledger, State
from tallyman.services.deciding.evaluator import Evaluator, pending_key
from tallyman.services.shared.conflicts import until_written
from tallyman.state.items import StateChange
from tallyman.state.pending import PENDING, Pending
from tallyman.values import value

FIRST_PAUSE = 2
"""Seconds between the first two tries; doubled each time, up to LONGEST_DELAY."""


@value
class Attempts:
    """Records tries of promotions in their pending items and as facts."""

    policy: Policy
    ledger: Ledger
    state: State
    hints: Hints
    evaluator: Evaluator
    clock: Clock

    def number(self, decision: Decision) -> int:
        """The number of failed tries."""
        waits = PENDING.get(self.state, pending_key(decision))
        return waits.attempt if waits else 0

    def begin_tagging(self, decision: Decision) -> Decision:
        """Record that tags may be set from now on; return the decision with that. Cost: nothing where it was recorded
        before, else a transaction."""
        old = decision.tagging
        if old is not None and set(decision.tags) <= set(old.tags):
            return decision
        since = old.since if old else whole_millis(self.clock())
        fact = self._tagging(decision, decision.tags)
        self._write(fact, decision, lambda waits: replace(waits, tagging_since=waits.tagging_since or since))
        ids = (*old.ids, fact.id) if old else (fact.id,)
        return replace(decision, tagging=Tagging(decision.tags, since, ids))

    def end_tagging(self, decision: Decision, there: Collection[str]) -> None:
        """Record which of the begun tags are still to be finished: those that are `there` in some registry. People
        have removed the others, or they were never set."""
        if decision.tagging is None or set(decision.tagging.tags) <= set(there):
            return
        left = tuple(tag for tag in decision.tagging.tags if tag in there)

        def ended(waits: Pending) -> Pending:
            return waits if left else replace(waits, tagging_since=None, stuck_notified=False)

        self._write(self._tagging(decision, left), decision, ended)

    def finished_tagging(self, decision: Decision) -> None:
        """Note in the pending item that nothing is set only in part any more; other tags of the image may still wait.
        A read, and a write where the item is there."""

        def write() -> None:
            entry = PENDING.read(self.state, pending_key(decision))
            if entry.found is not None:
                self.state.put(entry.write(replace(entry.found, tagging_since=None, stuck_notified=False)))

        until_written(write, f"others keep deciding about {decision.digest}: try again")

    def _tagging(self, decision: Decision, tags: tuple[str, ...]) -> Fact:
        now = whole_millis(self.clock())
        ends = decision.tagging.ids if decision.tagging else ()
        details = TaggingBegun(decision.target, decision.source, decision.repository, tags, ends)
        key = (decision.digest, decision.repository, decision.target, now, *tags, *ends)
        return new_fact(Kind.TAGGING, key, details, now, digest=decision.digest)

    def delay(self, decision: Decision, reason: str, hint: Promote, expected: bool = False) -> str:
        """Send the hint of the next try and record why this one failed; return the line for the log. `expected`:
        nothing failed (an image is still replicated), and no notice is sent.

        The hint is sent first: a worker that dies before the record leaves two hints, one of which is superseded, and
        never none.
        """
        entry = PENDING.read(self.state, pending_key(decision))
        if entry.found is None:
            return "nothing waits for it any more"
        now = whole_millis(self.clock())
        since = entry.found.failing_since or now
        limit = self._give_up(decision)
        if now - since >= limit:
            self.park(decision, f"given up after {format_duration(limit)}: {reason}")
            return "parked"
        attempt = entry.found.attempt + 1
        pause = min(LONGEST_DELAY, FIRST_PAUSE * 2 ** min(attempt - 1, 10))
        again = now + timedelta(seconds=pause)
        self.hints.send("promote", replace(hint, attempt=attempt, waits=0, due=False).dump(), delay=pause)
        detail = Delayed(decision.target, decision.repository, reason, attempt, format_time(again), expected)
        waits = replace(entry.found, attempt=attempt, next_at=again, failing_since=since)
        self._append(Kind.DELAYED, decision, detail, entry.write(waits))
        self.evaluator.image(decision.digest)
        return f"delayed for {pause} s: {reason}"

    def park(self, decision: Decision, reason: str) -> None:
        """Give the promotion up: it is `failed` until a person requests it again or its facts change. People are
        notified."""
        entry = PENDING.read(self.state, pending_key(decision))
        change = None
        if entry.found is not None:
            attempt = entry.found.attempt + 1
            change = entry.write(replace(entry.found, attempt=attempt, next_at=None, failing_since=None))
        detail = Parked(decision.target, decision.repository, reason)
        self._append(Kind.PARKED, decision, detail, change)
        self.evaluator.image(decision.digest)

    def _give_up(self, decision: Decision) -> timedelta:
        rules = (
            self.policy.promotion(decision.source, decision.target, decision.repository, tag) for tag in decision.tags
        )
        return max((rule.give_up for rule in rules if rule), default=timedelta(hours=24))

    def _write(self, fact: Fact, decision: Decision, change: Callable[[Pending], Pending]) -> None:
        """Write the fact and the changed pending item in one transaction."""

        def write() -> None:
            entry = PENDING.read(self.state, pending_key(decision))
            self.ledger.append(fact, entry.write(change(entry.found)) if entry.found else None)

        until_written(write, f"others keep deciding about {decision.digest}: try again")

    def _append(self, kind: Kind, decision: Decision, detail: Delayed | Parked, change: StateChange | None) -> None:
        now = whole_millis(self.clock())
        key = (decision.digest, decision.repository, decision.target, now, detail.reason)
        self.ledger.append(new_fact(kind, key, detail, now, digest=decision.digest), change)

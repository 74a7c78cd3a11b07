"""What is written down of promotions that do not go through: tried again with growing pauses, or given up."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from tallyman.domain.decide import Decision
from tallyman.domain.gates import FAILED
from tallyman.domain.history.facts import Fact, Kind, Via, fact_id
from tallyman.domain.policy import Policy, format_duration
from tallyman.domain.times import format_time, whole_millis
from tallyman.errors import RevisionConflict
from tallyman.ports.clocks import Clock
from tallyman.ports.messages import Hints
from tallyman.ports.records import Ledger, State
from tallyman.services.deciding.evaluator import Evaluator, pending_key, promote_hint
from tallyman.state.items import StateChange
from tallyman.state.pending import PENDING, Pending
from tallyman.values import value

FIRST_PAUSE, LONGEST_PAUSE = 2, 900
"""Seconds between tries: doubled each time; SQS holds a message back for at most 900."""
_TRIES = 8


@value
class Attempts:
    """The tries of promotions, in their pending items and as facts."""

    policy: Policy
    ledger: Ledger
    state: State
    hints: Hints
    evaluator: Evaluator
    clock: Clock

    def number(self, decision: Decision) -> int:
        """How many tries have failed."""
        waits = PENDING.get(self.state, pending_key(decision))
        return waits.attempt if waits else 0

    def rolls_on(self, decision: Decision) -> bool:
        """Whether a first tag was set, so that nothing but a gate that fails keeps it from being finished: a window
        that closed, a freeze or an answer that is missing meanwhile would only leave the regions apart for longer."""
        if not decision.is_candidate or any(g.verdict == FAILED for g in decision.gates):
            return False
        waits = PENDING.get(self.state, pending_key(decision))
        return waits is not None and waits.tagging_since is not None

    def tagging(self, decision: Decision) -> None:
        """Writes down that from now on tags may be set."""
        now = self.clock()
        self._change(decision, lambda waits: waits if waits.tagging_since else replace(waits, tagging_since=now))

    def delay(self, decision: Decision, reason: str, correlation: str | None, rounds: int) -> str:
        """Writes down why it did not go through, and sends the hint of the next try."""
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
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(attempt - 1, 10))
        again = now + timedelta(seconds=pause)
        detail = {
            "to": decision.target,
            "name": decision.repository,
            "reason": reason,
            "attempt": attempt,
            "next_at": format_time(again),
        }
        waits = replace(entry.found, attempt=attempt, next_at=again, failing_since=since)
        self._append(Kind.DELAYED, decision, detail, entry.write(waits))
        self.evaluator.image(decision.digest)
        body = promote_hint(decision, correlation) | {"attempt": attempt, "round": rounds}
        self.hints.send("promote", body, delay=pause)
        return f"delayed for {pause} s: {reason}"

    def park(self, decision: Decision, reason: str) -> None:
        """Given up: `failed`, until a person asks for it again or its facts change. People are told."""
        entry = PENDING.read(self.state, pending_key(decision))
        change = None
        if entry.found is not None:
            attempt = entry.found.attempt + 1
            change = entry.write(replace(entry.found, attempt=attempt, next_at=None, failing_since=None))
        detail = {"to": decision.target, "name": decision.repository, "reason": reason}
        self._append(Kind.PARKED, decision, detail, change)
        self.evaluator.image(decision.digest)

    def _give_up(self, decision: Decision) -> timedelta:
        rules = (
            self.policy.promotion(decision.source, decision.target, decision.repository, tag) for tag in decision.tags
        )
        return max((rule.give_up for rule in rules if rule), default=timedelta(hours=24))

    def _change(self, decision: Decision, change: Callable[[Pending], Pending]) -> None:
        for _ in range(_TRIES):
            entry = PENDING.read(self.state, pending_key(decision))
            if entry.found is None or (waits := change(entry.found)) == entry.found:
                return
            try:
                self.state.put(entry.write(waits))
                return
            except RevisionConflict:
                continue  # somebody decided about it meanwhile
        raise RevisionConflict(f"others keep deciding about {decision.digest}: try again")

    def _append(self, kind: Kind, decision: Decision, detail: dict[str, Any], change: StateChange | None) -> None:
        now = whole_millis(self.clock())
        fact = Fact(
            kind=kind,
            id=fact_id(kind, decision.digest, decision.repository, decision.target, now, detail["reason"]),
            at=now,
            seen=now,
            via=Via.RECONCILED,
            digest=decision.digest,
            detail=detail,
        )
        self.ledger.append(fact, change)

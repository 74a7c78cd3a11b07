"""What is written down of promotions that do not go through: tried again with growing pauses, or given up."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from tallyman.domain.decide import Decision
from tallyman.domain.gates import FAILED
from tallyman.domain.history.facts import Fact, Kind, Via, fact_id
from tallyman.domain.policy import Policy, format_duration
from tallyman.domain.times import format_time, parse_time, whole_millis
from tallyman.errors import RevisionConflict
from tallyman.ports.clocks import Clock
from tallyman.ports.messages import Hints
from tallyman.ports.records import Ledger, State, StateChange
from tallyman.services.deciding.evaluator import Evaluator, pending_key, promote_hint
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
        item = self.state.get(*pending_key(decision))
        return int(item.data["attempt"]) if item else 0

    def rolls_on(self, decision: Decision) -> bool:
        """Whether a first tag was set, so that nothing but a gate that fails keeps it from being finished: a window
        that closed, a freeze or an answer that is missing meanwhile would only leave the regions apart for longer."""
        if not decision.is_candidate or any(g.verdict == FAILED for g in decision.gates):
            return False
        item = self.state.get(*pending_key(decision))
        return item is not None and bool(item.data.get("tagging_since"))

    def tagging(self, decision: Decision) -> None:
        """Writes down that from now on tags may be set."""
        now = format_time(self.clock())
        self._change(decision, lambda data: data if data.get("tagging_since") else {**data, "tagging_since": now})

    def delay(self, decision: Decision, reason: str, correlation: str | None, rounds: int) -> str:
        """Writes down why it did not go through, and sends the hint of the next try."""
        pk, sk = pending_key(decision)
        item = self.state.get(pk, sk)
        if item is None:
            return "nothing waits for it any more"
        now = whole_millis(self.clock())
        since = parse_time(item.data["failing_since"]) if item.data["failing_since"] else now
        limit = self._give_up(decision)
        if now - since >= limit:
            self.park(decision, f"given up after {format_duration(limit)}: {reason}")
            return "parked"
        attempt = int(item.data["attempt"]) + 1
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(attempt - 1, 10))
        again = now + timedelta(seconds=pause)
        detail = {
            "to": decision.target,
            "name": decision.repository,
            "reason": reason,
            "attempt": attempt,
            "next_at": format_time(again),
        }
        progress = {"attempt": attempt, "next_at": format_time(again), "failing_since": format_time(since)}
        change = StateChange(pk, sk, item.revision, {**item.data, **progress})
        self._append(Kind.DELAYED, decision, detail, change)
        self.evaluator.image(decision.digest)
        body = promote_hint(decision, correlation) | {"attempt": attempt, "round": rounds}
        self.hints.send("promote", body, delay=pause)
        return f"delayed for {pause} s: {reason}"

    def park(self, decision: Decision, reason: str) -> None:
        """Given up: `failed`, until a person asks for it again or its facts change. People are told."""
        pk, sk = pending_key(decision)
        item = self.state.get(pk, sk)
        change = None
        if item is not None:
            fresh = {"attempt": int(item.data["attempt"]) + 1, "next_at": None, "failing_since": None}
            change = StateChange(pk, sk, item.revision, {**item.data, **fresh})
        detail = {"to": decision.target, "name": decision.repository, "reason": reason}
        self._append(Kind.PARKED, decision, detail, change)
        self.evaluator.image(decision.digest)

    def _give_up(self, decision: Decision) -> timedelta:
        rules = (
            self.policy.promotion(decision.source, decision.target, decision.repository, tag) for tag in decision.tags
        )
        return max((rule.give_up for rule in rules if rule), default=timedelta(hours=24))

    def _change(self, decision: Decision, change: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
        pk, sk = pending_key(decision)
        for _ in range(_TRIES):
            item = self.state.get(pk, sk)
            if item is None:
                return
            data = change(item.data)
            if data == item.data:
                return
            try:
                self.state.put(StateChange(pk, sk, item.revision, data))
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

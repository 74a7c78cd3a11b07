"""Decides anew after facts were written: writes the decision, tells people, hints that there is something to do.

Every reaction ends here. `promote_image` trusts none of it: it decides again before it acts.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from tallyman.domain.decide import CONFLICT, PROMOTED, Decision, decide_all
from tallyman.domain.gates import FAILED, WAITING, ImageFacts
from tallyman.domain.history.facts import Fact, Kind, Via, fact_id
from tallyman.domain.names import Digest
from tallyman.domain.policy import Policy
from tallyman.domain.times import format_time, whole_millis
from tallyman.errors import RevisionConflict
from tallyman.ports.clocks import Clock
from tallyman.ports.messages import Hints, Notices
from tallyman.ports.records import Appended, Ledger, State, StateChange, StateItem
from tallyman.services.deciding.image_facts import Once, above, load_image_facts
from tallyman.services.deciding.noncompliant import Misfits
from tallyman.values import value

_TRIES = 8
_TICK = timedelta(milliseconds=1)


def pending_partition(environment: str) -> str:
    """The partition of the state table with one item for each image that wants into the environment and is not in.

    sk: `<repository>@<digest>@<from>`. `data`: {digest, name, from, to, tags, verdict, reason, since, until, decided,
    noticed, attempt, next_at, failing_since, tagging_since: a first tag may be set since then; stuck_told: that this is
    long ago was told}; times RFC 3339 or None.
    """
    return f"P#{environment}"


def pending_key(decision: Decision) -> tuple[str, str]:
    """The key of the decision's pending item."""
    return pending_partition(decision.target), f"{decision.repository}@{decision.digest}@{decision.source}"


def promote_hint(decision: Decision, correlation: str | None = None) -> dict[str, Any]:
    """The body of a hint to `promote_image`: {digest, repository, from, to, correlation}."""
    return {
        "digest": decision.digest,
        "repository": decision.repository,
        "from": decision.source,
        "to": decision.target,
        "correlation": correlation,
    }


@value
class Evaluator:
    """Judges images; one for the life of a function. Needs no access to any registry."""

    policy: Policy
    ledger: Ledger
    state: State
    hints: Hints
    notices: Notices
    clock: Clock

    def digest(self, digest: Digest, correlation: str | None = None) -> list[Decision]:
        """Decides anew about an image and every index above it. Safe to repeat: tells and writes only what is new.

        Hints `promote_image` of each image that may be staged. Cost: a Query for each digest of the family, and one
        transaction for each decision that is new.
        """
        decisions: list[Decision] = []
        facts = Once(self.ledger)
        for each in (digest, *above(facts, digest)):
            for decision in self.image(each, facts):
                decisions.append(decision)
                if decision.may_stage and decision.is_candidate:
                    self.hints.send("promote", promote_hint(decision, correlation))
        return decisions

    def image(self, digest: Digest, read: Once | None = None) -> list[Decision]:
        """Decides anew about one image and writes what is new, without hints and without the indexes above it.

        `read`: what this reaction has read since it last wrote; without it, or after RevisionConflict, all is read
        anew.
        """
        for _ in range(_TRIES):
            now = whole_millis(self.clock())
            image = load_image_facts(read or self.ledger, self.state, digest, self.policy)
            read = None
            decisions = decide_all(self.policy, image, now)
            try:
                for decision in decisions:
                    self.record(decision, image, now)
                return decisions
            except RevisionConflict:
                continue  # another reaction decided at the same time: see what it saw
        raise RevisionConflict(f"others keep deciding about {digest}: try again")

    def record(self, decision: Decision, image: ImageFacts, now: datetime) -> None:
        """Writes the decision if it says something new, keeps its pending item, and tells people once.

        Raises RevisionConflict where another reaction was faster; decide again then.
        """
        pk, sk = pending_key(decision)
        item = self.state.get(pk, sk)
        if any(True for _ in image.of(Kind.PROMOTED)):
            Misfits(self.state, self.notices).look(decision, now)
        if not decision.is_candidate:
            if item is not None:
                self.state.delete(pk, sk, item.revision)
            return
        last = _last(image.of(Kind.DECIDED), decision)
        if item is not None and item.data["decided"] != (last.id if last else None):
            raise RevisionConflict("decided by another reaction since the facts were read")
        if item is None and last is not None:
            # an item goes only after what ended it was written: with facts read after it, none is overlooked
            newest = _last((f for f in self.ledger.of_digest(decision.digest) if f.kind is Kind.DECIDED), decision)
            if newest is None or newest.id != last.id:
                raise RevisionConflict("decided by another reaction since the facts were read")
        said = _saying(decision.detail)
        forgotten = item is None and decision.verdict != PROMOTED  # its tag went away, and came back
        if last is None or _saying(last.detail) != said or forgotten:
            fact = Fact(
                kind=Kind.DECIDED,
                id=fact_id(Kind.DECIDED, decision.digest, decision.repository, repr(said), last.id if last else None),
                at=max(now, last.at + _TICK) if last else now,  # two within a millisecond keep their order
                seen=now,
                via=Via.RECONCILED,
                digest=decision.digest,
                detail=decision.detail,
            )
            data = _pending(decision, item, now, decided=fact.id)
            if self.ledger.append(fact, StateChange(pk, sk, item.revision if item else 0, data)) is Appended.KNOWN:
                raise RevisionConflict("another reaction decided the same in the same moment")
            item = StateItem(pk, sk, item.revision + 1 if item else 1, data)
        if item is None:
            return
        if decision.verdict == PROMOTED:
            self.state.delete(pk, sk, item.revision)
        elif not item.data["noticed"]:
            # after the fact and before the mark: told at least once, and once unless this process dies in between
            self._tell(decision)
            self.state.put(StateChange(pk, sk, item.revision, {**item.data, "noticed": True}))

    def _tell(self, decision: Decision) -> None:
        gate = decision.deciding
        if gate is None or (decision.verdict == WAITING and not gate.held):
            return
        word = {FAILED: "refused", CONFLICT: "in conflict", WAITING: "held"}[decision.verdict]
        what = f"{decision.repository}:{decision.tags[0]} is {word} for {decision.target}"
        others = [g for g in decision.gates if g.verdict == gate.verdict and g is not gate]
        lines = [f"{what}: {gate.reason}", *(f"Also {g.name}: {g.reason}" for g in others)]
        lines += [f"Digest: {decision.digest}", f"Policy: {decision.policy}"]
        lines.append(
            f"Ask: tallyman why {decision.source}/{decision.repository}:{decision.tags[0]} --to {decision.target}"
        )
        attributes = {"kind": decision.verdict, "environment": decision.target, "repository": decision.repository}
        self.notices.publish(what, "\n".join(lines), attributes)


def _last(decided: Iterable[Fact], decision: Decision) -> Fact | None:
    """The newest of these facts that is about the same image at the same door."""
    mine = (f for f in decided if _same_door(f.detail, decision))
    return max(mine, key=lambda f: (f.at, f.id), default=None)


def _same_door(detail: Mapping[str, Any], decision: Decision) -> bool:
    return (detail["name"], detail["from"], detail["to"]) == (decision.repository, decision.source, decision.target)


def _saying(detail: Mapping[str, Any]) -> tuple[object, ...]:
    """What a decision says, without the facts beneath it: two that say the same are one."""
    gates = tuple((g["name"], g["verdict"], g["reason"]) for g in detail["gates"])
    return tuple(detail["tags"]), detail["verdict"], detail["policy"], gates


def _pending(decision: Decision, item: StateItem | None, now: datetime, decided: str) -> dict[str, Any]:
    old = item.data if item else {}
    gate = decision.deciding
    same = old.get("verdict") == decision.verdict and old.get("gate") == (gate.name if gate else None)
    trying = gate is None or gate.name == "target"
    told = gate is None or (decision.verdict == WAITING and not gate.held)
    return {
        "digest": decision.digest,
        "name": decision.repository,
        "from": decision.source,
        "to": decision.target,
        "tags": list(decision.tags),
        "verdict": decision.verdict,
        "gate": gate.name if gate else None,
        "reason": gate.reason if gate else None,
        "since": old["since"] if same else format_time(now),
        "until": format_time(decision.until) if decision.until else None,
        "decided": decided,
        # a hold that only changes its words (the next try's time) is told once
        "noticed": told or (same and decision.verdict == WAITING and old.get("noticed", False)),
        "attempt": old.get("attempt", 0),
        "next_at": old.get("next_at") if trying else None,
        "failing_since": old.get("failing_since") if trying else None,
        "tagging_since": old.get("tagging_since"),
        "stuck_told": old.get("stuck_told", False),
    }

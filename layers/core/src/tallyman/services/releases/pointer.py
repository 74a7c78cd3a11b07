"""Releases: which digest an environment runs, a pointer with a history; each change is announced on the bus."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from tallyman.domain.decide import Decision
from tallyman.domain.history.facts import Fact, Kind, Via, fact_id
from tallyman.domain.history.fold import PUSHES
from tallyman.domain.names import Digest
from tallyman.domain.policy import Policy
from tallyman.domain.times import format_time, parse_time, whole_millis
from tallyman.ports.clocks import Clock
from tallyman.ports.messages import Announcements
from tallyman.ports.records import Appended, Ledger, State, StateChange
from tallyman.services.shared.lease import Lease
from tallyman.values import value

RELEASED = "Image Released"
"""The detail type of the event; docs/events.md describes it, docs/schemas/image-released.json is its schema."""


def release_partition(environment: str) -> str:
    """The partition of the state table that holds the releases of an environment, one item a canonical repository.

    `data`: {digest, tags, at, id, previous, policy, announced, change, decision, by, because}; items of older versions
    lack the last four.
    """
    return f"REL#{environment}"


@value
class Releases:
    """Moves releases. Each method may be repeated: the second time it does nothing."""

    policy: Policy
    ledger: Ledger
    state: State
    announcements: Announcements
    clock: Clock

    def promoted(
        self, decision: Decision, lease: Lease, left_out: Mapping[str, Mapping[Digest, str]] | None = None
    ) -> None:
        """Writes down that the digest is in every registry with all its tags, and makes it the release, at once.

        `left_out`: by registry the referrers that could not be brought there, each with its reason.
        Raises RevisionConflict where the lease is lost: somebody else is at it; decide again then.
        """
        facts = self.ledger.of_digest(decision.digest)
        environment = self.policy.environment(decision.target)
        now = whole_millis(self.clock())
        sets = [f.sort for f in facts if f.kind in PUSHES and f.tag in decision.tags]
        fact = Fact(
            kind=Kind.PROMOTED,
            id=fact_id(Kind.PROMOTED, decision.digest, decision.repository, decision.target, *decision.tags, *sets),
            at=now,
            seen=now,
            via=Via.RECONCILED,
            digest=decision.digest,
            detail={
                "to": decision.target,
                "from": decision.source,
                "name": decision.repository,
                "tags": list(decision.tags),
                "registries": [str(r) for r in environment.registries],
                "policy": decision.policy,
                "left_out": {registry: dict(reasons) for registry, reasons in (left_out or {}).items()},
            },
        )
        decided = [f for f in facts if f.kind is Kind.DECIDED and _at_door(f, decision)]
        grounds = {
            "id": decided[-1].id if decided else None,
            "policy": decision.policy,
            "gates": [{"name": g.name, "verdict": g.verdict, "reason": g.reason} for g in decision.gates],
        }
        self._move(fact, decision.target, decision.repository, now, lease, {
            "id": fact.id,
            "digest": decision.digest,
            "tags": list(decision.tags),
            "policy": decision.policy,
            "change": "promotion",
            "decision": grounds,
            "by": None,
            "because": None,
        })  # fmt: skip

    def rolled_back(self, asked: Fact, tags: tuple[str, ...], lease: Lease) -> None:
        """Makes the digest that a person asked for the release again. Tags don't move. RevisionConflict as above."""
        assert asked.digest is not None  # of every request to roll back
        environment, repository = asked.detail["environment"], asked.detail["name"]
        now = whole_millis(self.clock())
        move = fact_id("roll-back", asked.id)
        detail = {
            "id": move,
            "digest": asked.digest,
            "tags": list(tags),
            "policy": self.policy.digest,
            "change": "roll_back",
            "decision": {"id": asked.id, "policy": self.policy.digest, "gates": []},
            "by": asked.actor,
            "because": asked.detail.get("because"),
        }
        item = self.state.get(release_partition(environment), repository)
        if item is not None and item.data.get("id") == move:
            return
        done = Fact(
            kind=Kind.ROLLED_BACK,
            id=move,
            at=now,
            seen=now,
            via=Via.PERSON,
            digest=asked.digest,
            actor=asked.actor,
            detail={"environment": environment, "name": repository, "request": asked.detail["request"]},
        )
        self._move(done, environment, repository, now, lease, detail)

    def _move(
        self, fact: Fact, environment: str, repository: str, now: datetime, lease: Lease, data: dict[str, Any]
    ) -> None:
        pk = release_partition(environment)
        item = self.state.get(pk, repository)
        if item is not None and not item.data["announced"] and item.data["id"] != data["id"]:
            # whoever set it died before it was told: a release that is overtaken is told all the same, and before
            self.announce(environment, repository)
            item = self.state.get(pk, repository)
        was: Mapping[str, Any] = item.data if item else {}
        previous = was.get("digest") if was.get("digest") != data["digest"] else was.get("previous")
        data = {**data, "at": format_time(now), "previous": previous, "announced": False}
        change = StateChange(pk, repository, item.revision if item else 0, data)
        lease.guard(lambda fence: self.ledger.append(fact, change, fence) is Appended.WRITTEN)

    def announce(self, environment: str, repository: str) -> None:
        """Writes the fact of the release that is in force and sends `Image Released`, unless that was done; at least
        once, each time with the same id."""
        pk = release_partition(environment)
        item = self.state.get(pk, repository)
        if item is None or item.data["announced"]:
            return
        data = item.data
        places = self.policy.environment(environment).repositories(repository)
        digest = Digest(data["digest"])
        detail = {
            "id": data["id"],
            "environment": environment,
            "repository": repository,
            "digest": digest,
            "tags": data["tags"],
            "images": {str(p.registry): p.at(digest) for p in places},
            "previous": data["previous"],
            "policy": data["policy"],
            "at": data["at"],
            "change": data.get("change", "promotion"),
            "decision": data.get("decision"),
            "by": data.get("by"),
            "because": data.get("because"),
        }
        fact = Fact(
            kind=Kind.RELEASED,
            id=fact_id(Kind.RELEASED, data["id"]),
            at=parse_time(data["at"]),
            seen=whole_millis(self.clock()),
            via=Via.RECONCILED,
            digest=digest,
            environment=environment,
            detail=detail,
        )
        self.ledger.append(fact)
        self.announcements.emit(RELEASED, detail)
        self.state.put(StateChange(pk, repository, item.revision, {**data, "announced": True}))


def releases(ledger: Ledger, environment: str, repository: str, until: datetime | None = None) -> Iterator[Fact]:
    """The releases of a repository in an environment that came into force by then, newest first."""
    for fact in ledger.of_environment(environment, repository):
        if fact.kind is Kind.RELEASED and (until is None or fact.at <= until):
            yield fact


def is_recalled(facts: list[Fact]) -> bool:
    """Whether the digest of these facts was recalled; what was refused is no recall."""
    return any(f.kind is Kind.RECALLED and not f.detail.get("refused") for f in facts)


def _at_door(fact: Fact, decision: Decision) -> bool:
    detail = fact.detail
    return (detail["name"], detail["from"], detail["to"]) == (decision.repository, decision.source, decision.target)

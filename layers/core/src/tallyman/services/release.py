"""Releases: which digest an environment runs, a pointer with a history; each change is announced on the bus."""

from dataclasses import dataclass

from tallyman.domain.decide import Decision
from tallyman.domain.facts import Fact, Kind, Via, fact_id
from tallyman.domain.history import PUSHES
from tallyman.domain.policy import Policy
from tallyman.domain.times import format_time, parse_time, whole_millis
from tallyman.ports import Announcements, Clock, Ledger, State, StateChange


def release_partition(environment: str) -> str:
    """The partition of the state table that holds the releases of an environment, one item a canonical repository.

    `data`: {digest, tags, at, id, previous, policy, announced}.
    """
    return f"REL#{environment}"


@dataclass(frozen=True, slots=True)
class Releases:
    """Moves releases. `promoted` and `announce` may both be repeated: the second time they do nothing."""

    policy: Policy
    ledger: Ledger
    state: State
    announcements: Announcements
    clock: Clock

    def promoted(self, decision: Decision) -> None:
        """Writes down that the digest is in every registry with all its tags, and makes it the release, at once.

        Raises StateMoved where another promotion of the repository was faster; decide again then.
        """
        pk, sk = release_partition(decision.target), decision.repository
        item = self.state.get(pk, sk)
        environment = self.policy.environment(decision.target)
        now = whole_millis(self.clock())
        sets = [f.sort for f in self.ledger.of_digest(decision.digest) if f.kind in PUSHES and f.tag in decision.tags]
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
            },
        )
        was = item.data if item else {}
        data = {
            "digest": decision.digest,
            "tags": list(decision.tags),
            "at": format_time(now),
            "id": fact.id,
            "previous": was.get("digest") if was.get("digest") != decision.digest else was.get("previous"),
            "policy": decision.policy,
            "announced": False,
        }
        self.ledger.append(fact, StateChange(pk, sk, item.revision if item else 0, data))

    def announce(self, decision: Decision) -> None:
        """Writes the release's fact and sends `Image Released`, unless that was done; at least once.

        The detail: {id, environment, repository, digest, tags, images {registry: address by digest}, previous, policy}.
        """
        pk, sk = release_partition(decision.target), decision.repository
        item = self.state.get(pk, sk)
        if item is None or item.data["digest"] != decision.digest or item.data["announced"]:
            return
        environment = self.policy.environment(decision.target)
        places = environment.repositories(decision.repository)
        at = parse_time(item.data["at"])
        detail = {
            "id": item.data["id"],
            "environment": decision.target,
            "repository": decision.repository,
            "digest": decision.digest,
            "tags": item.data["tags"],
            "images": {str(p.registry): p.at(decision.digest) for p in places},
            "previous": item.data["previous"],
            "policy": item.data["policy"],
        }
        fact = Fact(
            kind=Kind.RELEASED,
            id=fact_id(Kind.RELEASED, item.data["id"]),
            at=at,
            seen=whole_millis(self.clock()),
            via=Via.RECONCILED,
            digest=decision.digest,
            environment=decision.target,
            detail=detail,
        )
        self.ledger.append(fact)
        self.announcements.emit("Image Released", detail)
        self.state.put(StateChange(pk, sk, item.revision, {**item.data, "announced": True}))

"""Releases: the digest that an environment runs of each repository."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tallyman.domain.history.details.releases import Released
from tallyman.domain.history.facts import Fact
from tallyman.domain.names import Digest
from tallyman.domain.times import format_time, parse_time
from tallyman.state.items import ItemKind, Key
from tallyman.values import value


@value
class ReleaseState:
    """The release in force. `change`: `promotion` or `roll_back`; `decision`: {id, policy, gates} of the decision that
    allowed it; `by`, `because`: who asked for a roll-back, and why. `announced`: the event `Image Released` was
    sent."""

    id: str
    digest: Digest
    tags: tuple[str, ...]
    policy: str
    at: datetime
    previous: Digest | None
    announced: bool
    change: str = "promotion"
    decision: Mapping[str, Any] | None = None
    by: str | None = None
    because: str | None = None


def partition(environment: str) -> str:
    """The partition of an environment's releases; sort key: the canonical repository."""
    return f"REL#{environment}"


def key(environment: str, repository: str) -> Key:
    """The key of one release."""
    return partition(environment), repository


def parse_key(key: Key) -> tuple[str, str]:
    """Environment and repository of a key."""
    return key[0].removeprefix("REL#"), key[1]


def of_fact(fact: Fact) -> ReleaseState:
    """The release that a fact `released` records, as announced."""
    return _parse(Released.parse(fact).dump())


def _parse(data: Mapping[str, Any]) -> ReleaseState:
    """Items of earlier versions lack the last four fields."""
    return ReleaseState(
        id=data["id"],
        digest=Digest(data["digest"]),
        tags=tuple(data["tags"]),
        policy=data["policy"],
        at=parse_time(data["at"]),
        previous=Digest(data["previous"]) if data.get("previous") else None,
        announced=bool(data.get("announced", True)),
        change=data.get("change", "promotion"),
        decision=data.get("decision"),
        by=data.get("by"),
        because=data.get("because"),
    )


def _dump(release: ReleaseState) -> dict[str, Any]:
    return {
        "id": release.id,
        "digest": release.digest,
        "tags": list(release.tags),
        "policy": release.policy,
        "at": format_time(release.at),
        "previous": release.previous,
        "announced": release.announced,
        "change": release.change,
        "decision": dict(release.decision) if release.decision is not None else None,
        "by": release.by,
        "because": release.because,
    }


RELEASES = ItemKind("REL#<environment>", "repository", "the release: digest, tags, the one before", _parse, _dump)

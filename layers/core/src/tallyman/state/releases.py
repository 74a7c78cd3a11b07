"""Releases: the digest that an environment runs of each repository."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tallyman.domain.history.details.releases import Released
from tallyman.domain.history.facts import Fact
from tallyman.domain.names import Digest
from tallyman.state.base import StateValue
from tallyman.state.items import ItemKind, Key
from tallyman.values import value


@value
class ReleaseState(StateValue):
    """The release in force. `change`: `promotion` or `roll_back`; `decision`: {id, policy, gates} of the decision that
    allowed it; `by`, `because`: who asked for a roll-back, and why. `announced`: the event `Image Released` was
    sent. Items of earlier versions lack the last four."""

    id: str
    digest: Digest
    tags: tuple[str, ...]
    policy: str
    at: datetime
    previous: Digest | None
    announced: bool = True
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
    return ReleaseState.parse(Released.parse(fact).dump())


RELEASES = ItemKind(ReleaseState, "REL#<environment>", "repository", "the release: digest, tags, the one before")

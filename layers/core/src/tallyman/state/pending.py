"""Pending images: candidates for an environment that are not promoted yet."""

from datetime import datetime

from tallyman.domain.names import Digest
from tallyman.state.base import StateValue
from tallyman.state.items import ItemKind, Key
from tallyman.values import value


@value
class Pending(StateValue):
    """One pending image. `gate`, `reason`: those of the gate that decides. `decided`: the id of the fact with the
    decision; `noticed`: a notice was sent. `attempt`, `next_at`, `failing_since`: failed attempts, the next one, and
    the time of the first. `tagging_since`: since when a first tag may be set; `stuck_notified`: a notice said that this
    takes too long. `hinted`: `promote_image` has a hint that it may be promoted; `wake`: when the next hint is due, for
    a gate that time opens. `announced`: the gates that notices named while it waits."""

    digest: Digest
    name: str
    source: str
    target: str
    tags: tuple[str, ...]
    verdict: str
    gate: str | None
    reason: str | None
    since: datetime
    until: datetime | None
    decided: str | None
    noticed: bool = False
    attempt: int = 0
    next_at: datetime | None = None
    failing_since: datetime | None = None
    tagging_since: datetime | None = None
    stuck_notified: bool = False
    hinted: bool = False
    wake: datetime | None = None
    announced: tuple[str, ...] = ()


def partition(environment: str) -> str:
    """The partition of an environment's pending images; sort key: `<repository>@<digest>@<from>`."""
    return f"P#{environment}"


def key(environment: str, repository: str, digest: Digest, source: str) -> Key:
    """The key of one candidate for the environment, from `source`."""
    return partition(environment), f"{repository}@{digest}@{source}"


def prefix(repository: str) -> str:
    """The prefix of the sort keys of a repository's images."""
    return f"{repository}@"


PENDING = ItemKind(
    Pending,
    "P#<environment>",
    "`<repository>@<digest>@<from>`",
    "a pending image: why it waits, since when, the next attempt",
)

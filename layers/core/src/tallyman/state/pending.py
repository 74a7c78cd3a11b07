"""Pending images: candidates for an environment that are not promoted yet."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tallyman.domain.names import Digest
from tallyman.domain.times import format_time, parse_time
from tallyman.state.items import ItemKind, Key, brief, text_or_none, time_or_none
from tallyman.values import value


@value
class Pending:
    """One pending image. `gate`, `reason`: those of the gate that decides. `decided`: the id of the fact with the
    decision; `noticed`: a notice was sent. `attempt`, `next_at`, `failing_since`: failed attempts, the next one, and
    the time of the first. `tagging_since`: since when a first tag may be set; `stuck_notified`: a notice said that this
    takes too long. `hinted`: `promote_image` has a hint that it may be promoted; `wake`: when the next hint is due, for
    a gate that time opens."""

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
    noticed: bool
    attempt: int = 0
    next_at: datetime | None = None
    failing_since: datetime | None = None
    tagging_since: datetime | None = None
    stuck_notified: bool = False
    hinted: bool = False
    wake: datetime | None = None


def partition(environment: str) -> str:
    """The partition of an environment's pending images; sort key: `<repository>@<digest>@<from>`."""
    return f"P#{environment}"


def key(environment: str, repository: str, digest: Digest, source: str) -> Key:
    """The key of one candidate for the environment, from `source`."""
    return partition(environment), f"{repository}@{digest}@{source}"


def prefix(repository: str) -> str:
    """The prefix of the sort keys of a repository's images."""
    return f"{repository}@"


def _parse(data: Mapping[str, Any]) -> Pending:
    return Pending(
        digest=Digest(data["digest"]),
        name=data["name"],
        source=data["from"],
        target=data["to"],
        tags=tuple(data["tags"]),
        verdict=data["verdict"],
        gate=data.get("gate"),
        reason=data.get("reason"),
        since=parse_time(data["since"]),
        until=time_or_none(data.get("until")),
        decided=data.get("decided"),
        noticed=bool(data.get("noticed")),
        attempt=int(data.get("attempt", 0)),
        next_at=time_or_none(data.get("next_at")),
        failing_since=time_or_none(data.get("failing_since")),
        tagging_since=time_or_none(data.get("tagging_since")),
        stuck_notified=bool(data.get("stuck_told")),
        hinted=bool(data.get("hinted")),
        wake=time_or_none(data.get("wake")),
    )


def _dump(pending: Pending) -> dict[str, Any]:
    return {
        "digest": pending.digest,
        "name": pending.name,
        "from": pending.source,
        "to": pending.target,
        "tags": list(pending.tags),
        "verdict": pending.verdict,
        "gate": pending.gate,
        "reason": brief(pending.reason),
        "since": format_time(pending.since),
        "until": text_or_none(pending.until),
        "decided": pending.decided,
        "noticed": pending.noticed,
        "attempt": pending.attempt,
        "next_at": text_or_none(pending.next_at),
        "failing_since": text_or_none(pending.failing_since),
        "tagging_since": text_or_none(pending.tagging_since),
        "stuck_told": pending.stuck_notified,
        "hinted": pending.hinted,
        "wake": text_or_none(pending.wake),
    }


PENDING = ItemKind(
    "P#<environment>",
    "`<repository>@<digest>@<from>`",
    "a pending image: why it waits, since when, the next attempt",
    _parse,
    _dump,
)

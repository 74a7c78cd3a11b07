"""Marks of retention: images that are to go."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tallyman.domain.names import Digest, Repository
from tallyman.domain.times import format_time, parse_time
from tallyman.state.items import ItemKind, Key, brief
from tallyman.values import value


@value
class Mark:
    """One image that is to go. `id`: of the fact that marked it; `holders`: the indexes and subjects that it goes with;
    `proof`: set right before the removal; `failed`: why it did not go the last time; `over`: its last fact is
    written."""

    marked_at: datetime
    reason: str
    id: str
    holders: tuple[Digest, ...] = ()
    proof: Digest | None = None
    failed: str | None = None
    over: bool = False


def partition(repository: Repository) -> str:
    """All marks of a repository, sk the digest."""
    return f"M#{repository}"


def key(repository: Repository, digest: Digest) -> Key:
    """The key of one mark."""
    return partition(repository), digest


def _parse(data: Mapping[str, Any]) -> Mark:
    return Mark(
        marked_at=parse_time(data["marked_at"]),
        reason=data["reason"],
        id=data["id"],
        holders=tuple(Digest(each) for each in data.get("with") or ()),
        proof=Digest(data["proof"]) if data.get("proof") else None,
        failed=data.get("failed"),
        over=bool(data.get("over")),
    )


def _dump(mark: Mark) -> dict[str, Any]:
    return {
        "marked_at": format_time(mark.marked_at),
        "reason": brief(mark.reason),
        "id": mark.id,
        "with": list(mark.holders),
        "proof": mark.proof,
        "failed": brief(mark.failed),
    } | ({"over": True} if mark.over else {})


MARKS = ItemKind("M#<registry>/<repository>", "digest", "a mark of retention", _parse, _dump)

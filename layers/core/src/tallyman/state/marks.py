"""Marks of retention: images that will be removed after the grace period."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tallyman.domain.names import Digest, Repository
from tallyman.domain.times import format_time, parse_time
from tallyman.state.items import ItemKind, Key, brief
from tallyman.values import value


@value
class Mark:
    """The mark of one image. `id`: that of the fact `marked`; `holders`: the indexes and subjects that are removed with
    it; `proof`: the digest of the proof, set right before the removal; `failed`: why the last removal failed; `over`:
    the fact that ends the mark is written."""

    marked_at: datetime
    reason: str
    id: str
    holders: tuple[Digest, ...] = ()
    proof: Digest | None = None
    failed: str | None = None
    over: bool = False


def partition(repository: Repository) -> str:
    """The partition of a repository's marks; sort key: the digest."""
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

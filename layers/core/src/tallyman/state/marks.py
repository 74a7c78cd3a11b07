"""Marks of retention: images that will be removed after the grace period."""

from datetime import datetime
from typing import ClassVar

from tallyman.domain.names import Digest, Repository
from tallyman.state.base import StateValue
from tallyman.state.items import ItemKind, Key
from tallyman.values import value


@value
class Mark(StateValue):
    """The mark of one image. `id`: that of the fact `marked`; `holders`: the indexes and subjects that are removed with
    it; `proof`: the digest of the proof, set right before the removal; `failed`: why the last removal failed; `over`:
    the fact that ends the mark is written."""

    SPARSE: ClassVar = frozenset({"over"})
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


MARKS = ItemKind(Mark, "M#<registry>/<repository>", "digest", "a mark of retention")

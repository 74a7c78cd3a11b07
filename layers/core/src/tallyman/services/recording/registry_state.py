"""What the registries hold, as we last knew it: small projections, so that a sweep asks only what changed.

`T#<repository>` (one item a tag), `R#<repository>` (one item an image), `A#active` (repositories where something
happened of late). The ledger is the truth; all of this can be rebuilt by a sweep.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from tallyman.domain.names import Digest, Repository
from tallyman.domain.times import format_time, parse_time, sort_time
from tallyman.errors import RevisionConflict
from tallyman.ports.records import State, StateChange, StateItem
from tallyman.services.deciding.image_facts import tag_partition

ACTIVE = "A#active"
_MARK_AGAIN = timedelta(minutes=10)
_ACTIVE_FOR = timedelta(hours=6)
_FORGET_AFTER = timedelta(days=30)


def image_partition(repository: Repository) -> str:
    """The partition of the state table with an item for each image of a repository, sk its digest.

    `data`: {present, archived}; an image that is gone stays for 30 days, so that its revision goes on counting.
    """
    return f"R#{repository}"


def tag_change(
    item: StateItem | None, repository: Repository, tag: str, current: Digest | None, told: Digest | None, at: datetime
) -> StateChange | None:
    """The tag's item after a fact that says that it pointed to `told` from `at` on, while the registry says
    `current`; None if that is no news.

    `data`: {digest: what the registry said when last asked, or None; at: since when, as far as known; moved_from:
    what it pointed to before, which stays while the tag only vanishes; told, told_at: where the newest fact of the
    ledger leaves it; unsure: it may leave it there as well; lost: where it left it until that image was deleted}.
    Where `told` is not what the registry says, a fact is missing: the next sweep writes it.
    """
    old: Mapping[str, Any] = item.data if item else {}
    pointed = old.get("digest")
    newest = old.get("told_at") or ""
    mine = sort_time(at)
    latest, unsure, lost = old.get("told"), old.get("unsure"), old.get("lost")
    if mine > newest or (mine == newest and told == current):
        newest, latest, unsure, lost = mine, told, None, None
    elif mine == newest and current is None and told not in (latest, lost):
        unsure = told or latest  # within one second the registry knows what came last, but it holds neither any more
    # verification asks whether an immutable tag ever moved
    moved_from = pointed if pointed and pointed != current else old.get("moved_from")
    data = {
        "digest": current,
        "at": old["at"] if item and pointed == current else format_time(at),
        "moved_from": moved_from if moved_from != current else None,
        "told": latest,
        "told_at": newest,
        "unsure": unsure,
        "lost": lost,
    }
    if item is not None and dict(item.data) == data:
        return None
    return StateChange(tag_partition(repository), tag, item.revision if item else 0, data)


def lost_change(
    item: StateItem, current: Digest | None, digest: Digest, deleted: datetime | None
) -> StateChange | None:
    """A tag's item once the registry was seen to say `current`; None if that is no news. `deleted`: the time of a fact
    that says that the image `digest` was deleted, which ends what was told of the tag before."""
    old = item.data
    lost = deleted is not None and old.get("told") == digest and (old.get("told_at") or "") <= sort_time(deleted)
    moved_from = old.get("digest") or old.get("moved_from")
    data = {**old, "digest": current, "moved_from": moved_from if moved_from != current else None}
    if lost:
        data |= {"told": None, "lost": digest}
    return None if data == dict(old) else StateChange(item.pk, item.sk, item.revision, data)


def hold(
    state: State, repository: Repository, digest: Digest, present: bool, archived: bool | None, now: datetime
) -> None:
    """Notes whether the registry holds the image; `archived` None: as before. Raises RevisionConflict.
    Cost: a read, and a write if it is news."""
    pk = image_partition(repository)
    item = state.get(pk, digest)
    if archived is None:
        archived = present and bool(item and item.data["archived"])
    data = {"present": present, "archived": archived}
    if (item is None and not present) or (item is not None and dict(item.data) == data):
        return
    expires = None if present else now + _FORGET_AFTER
    state.put(StateChange(pk, digest, item.revision if item else 0, data, expires))


def mark_active(state: State, repository: Repository, now: datetime) -> None:
    """Lets the next sweeps look at the repository each time, for six hours. A read, and a write every ten minutes."""
    item = state.get(ACTIVE, str(repository))
    if item is not None and now - parse_time(item.data["at"]) < _MARK_AGAIN:
        return
    change = StateChange(
        ACTIVE, str(repository), item.revision if item else 0, {"at": format_time(now)}, now + _ACTIVE_FOR
    )
    try:
        state.put(change)
    except RevisionConflict:
        return  # somebody else has just marked it


def active(state: State, now: datetime) -> set[Repository]:
    """Repositories that were marked in the last six hours (DynamoDB removes expired items only within days)."""
    return {Repository.parse(item.sk) for item in state.list(ACTIVE) if now - parse_time(item.data["at"]) < _ACTIVE_FOR}

"""What the registries hold, as we last knew it: small projections, so that a sweep asks only what changed.

Tags, images, and repositories where something happened of late (`tallyman.state`). The ledger is the truth; all of this
can be rebuilt by a sweep.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from tallyman.domain.names import Digest, Repository
from tallyman.domain.times import second_of
from tallyman.errors import RevisionConflict
from tallyman.ports.records import State
from tallyman.state import active as active_items
from tallyman.state import images
from tallyman.state.active import ACTIVE, Active
from tallyman.state.images import GONE_KEPT, IMAGES, HeldImage
from tallyman.state.items import Entry, StateChange
from tallyman.state.tags import Tag, expiry

_MARK_AGAIN = timedelta(minutes=10)
_ACTIVE_FOR = timedelta(hours=6)


def tag_change(
    entry: Entry[Tag], current: Digest | None, reported: Digest | None, at: datetime, now: datetime
) -> StateChange | None:
    """The tag's item after a fact that says that it pointed to `reported` from `at` on, while the registry says
    `current`; None if that is not news. Of two facts within one second the registry knows which came last."""
    old = entry.found
    pointed = old.digest if old else None
    newest = old.reported_at if old else None
    latest, unsure, lost = (old.reported, old.unsure, old.lost) if old else (None, None, None)
    same = newest is not None and second_of(at) == second_of(newest)
    if newest is None or (at > newest and not same) or (same and reported == current):
        newest, latest, unsure, lost = max(at, newest or at), reported, None, None
    elif same and current is None and reported not in (latest, lost):
        # within one second the registry knows what came last, but it holds neither any more
        unsure = reported or latest
    # verification asks whether an immutable tag ever moved
    moved_from = pointed if pointed and pointed != current else old.moved_from if old else None
    tag = Tag(
        digest=current,
        at=old.at if old and pointed == current else at,
        moved_from=moved_from if moved_from != current else None,
        reported=latest,
        reported_at=newest,
        unsure=unsure,
        lost=lost,
    )
    return None if tag == old else entry.write(tag, expiry(tag, now))


def lost_change(
    entry: Entry[Tag], current: Digest | None, digest: Digest, deleted: datetime | None, now: datetime
) -> StateChange | None:
    """A tag's item once the registry was seen to say `current`; None if that is not news. `deleted`: the time of a fact
    that says that the image `digest` was deleted, which ends what was reported of the tag before."""
    old = entry.value
    moved_from = old.digest or old.moved_from
    tag = replace(old, digest=current, moved_from=moved_from if moved_from != current else None)
    before = old.reported_at is None or deleted is None or second_of(old.reported_at) <= second_of(deleted)
    if deleted is not None and old.reported == digest and before and current != digest:
        tag = replace(tag, reported=None, lost=digest)
    return None if tag == old else entry.write(tag, expiry(tag, now))


def hold(
    state: State, repository: Repository, digest: Digest, present: bool, archived: bool | None, now: datetime
) -> None:
    """Notes whether the registry holds the image; `archived` None: as before. Raises RevisionConflict. Cost: a read,
    and a write if it is news."""
    change = held_change(IMAGES.read(state, images.key(repository, digest)), present, archived, now)
    if change is not None:
        state.put(change)


def held_change(entry: Entry[HeldImage], present: bool, archived: bool | None, now: datetime) -> StateChange | None:
    """The image's item after it was seen, or not; None if that is not news."""
    if archived is None:
        archived = present and bool(entry.found and entry.found.archived)
    image = HeldImage(present, archived)
    if (entry.found is None and not present) or entry.found == image:
        return None
    return entry.write(image, None if present else now + GONE_KEPT)


def mark_active(state: State, repository: Repository, now: datetime) -> None:
    """Lets the next sweeps look at the repository each time, for six hours. A read, and a write every ten minutes."""
    entry = ACTIVE.read(state, active_items.key(repository))
    if entry.found is not None and now - entry.found.at < _MARK_AGAIN:
        return
    try:
        state.put(entry.write(Active(now), now + _ACTIVE_FOR))
    except RevisionConflict:
        return  # somebody else has just marked it


def active(state: State, now: datetime) -> set[Repository]:
    """Repositories that were marked in the last six hours (DynamoDB removes expired items only within days)."""
    marked = ACTIVE.list(state, active_items.PARTITION)
    return {Repository.parse(entry.sk) for entry in marked if now - entry.value.at < _ACTIVE_FOR}

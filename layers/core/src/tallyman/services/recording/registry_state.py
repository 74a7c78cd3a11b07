"""The last known content of the registries: projections of tags, images and lively repositories, so that a sweep
reads only what changed.

Their items are in `tallyman.state`. The ledger is authoritative; a sweep can rebuild all of them.
"""

from contextlib import suppress
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
    """The change of a tag's item by a fact that the tag pointed to `reported` from `at` on, while the registry now says
    `current`; None: no change. Of two facts within one second, the registry's answer decides which came last."""
    old = entry.found
    pointed = old.digest if old else None
    newest = old.reported_at if old else None
    latest, unsure, lost = (old.reported, old.unsure, old.lost) if old else (None, None, None)
    same = newest is not None and second_of(at) == second_of(newest)
    if newest is None or (at > newest and not same) or (same and reported == current):
        newest, latest, unsure, lost = max(at, newest or at), reported, None, None
    elif same and current is None and reported not in (latest, lost):
        # both facts within one second, and the registry has neither digest any more: which came last is not known
        unsure = reported or latest
    # verification checks whether an immutable tag ever moved
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
    """The change of a tag's item after the registry said `current`; None: no change. `deleted`: the time of a fact that
    the image `digest` was deleted, which replaces what was reported of the tag before."""
    old = entry.value
    moved_from = old.digest or old.moved_from
    tag = replace(old, digest=current, moved_from=moved_from if moved_from != current else None)
    if deleted is not None and old.reported == digest:
        first, then = second_of(old.reported_at or deleted), second_of(deleted)
        if current != digest and first <= then:
            tag = replace(tag, reported=None, lost=digest)
        elif current == digest and first < then:
            tag = replace(tag, reported=None)  # it was pushed again since, by a push that was not reported
    return None if tag == old else entry.write(tag, expiry(tag, now))


def hold(
    state: State, repository: Repository, digest: Digest, present: bool, archived: bool | None, now: datetime
) -> None:
    """Record whether the registry holds the image; `archived` None: as before. Raises RevisionConflict. Cost: a read,
    and a write if it changed."""
    change = held_change(IMAGES.read(state, images.key(repository, digest)), present, archived, now)
    if change is not None:
        state.put(change)


def held_change(entry: Entry[HeldImage], present: bool, archived: bool | None, now: datetime) -> StateChange | None:
    """The change of the image's item; `archived` None: as before. None: no change."""
    if archived is None:
        archived = present and bool(entry.found and entry.found.archived)
    image = HeldImage(present, archived)
    if (entry.found is None and not present) or entry.found == image:
        return None
    return entry.write(image, None if present else now + GONE_KEPT)


def mark_active(state: State, repository: Repository, now: datetime) -> None:
    """Mark the repository so that every sweep of the next six hours takes it. A read, and a write every ten
    minutes."""
    entry = ACTIVE.read(state, active_items.key(repository))
    if entry.found is not None and now - entry.found.at < _MARK_AGAIN:
        return
    with suppress(RevisionConflict):  # another reaction has just marked it
        state.put(entry.write(Active(now), now + _ACTIVE_FOR))


def active(state: State, now: datetime) -> set[Repository]:
    """The repositories marked in the last six hours (DynamoDB removes expired items only within days). One Query."""
    marked = ACTIVE.list(state, active_items.PARTITION)
    return {Repository.parse(entry.sk) for entry in marked if now - entry.value.at < _ACTIVE_FOR}

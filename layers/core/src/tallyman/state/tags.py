"""What the tags of a repository point to."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from tallyman.domain.names import Digest, Repository
from tallyman.domain.times import format_time, parse_time, sort_time
from tallyman.state.items import ItemKind, Key, time_or_none
from tallyman.values import value


@value
class Tag:
    """A tag by the registry's answer and by the ledger.

    `digest`: what the registry said when last asked, or None; `at`: since when, as far as known; `moved_from`: what it
    pointed to before, which stays while the tag only vanishes; `reported`, `reported_at`: where the newest fact of the
    ledger leaves it; `unsure`: it may leave it there as well; `lost`: where it left it until that image was deleted.
    Where `reported` is not what the registry says, a fact is missing: the next sweep writes it.
    """

    digest: Digest | None
    at: datetime
    moved_from: Digest | None = None
    reported: Digest | None = None
    reported_at: datetime | None = None
    unsure: Digest | None = None
    lost: Digest | None = None


GONE_KEPT = timedelta(days=30)
"""How long the item of a tag that is gone stays: a list of a repository's tags must not grow with those that it had."""


def expiry(tag: Tag, now: datetime) -> datetime | None:
    """When the item may be removed: a while after the tag is gone, and recorded as gone. The ledger keeps its history;
    no worker that knows the item's revision lives that long."""
    return now + GONE_KEPT if tag.digest is tag.reported is tag.unsure is None else None


def partition(repository: Repository) -> str:
    """All tags of a repository, sk the tag."""
    return f"T#{repository}"


def key(repository: Repository, tag: str) -> Key:
    """The key of one tag."""
    return partition(repository), tag


def parse_key(key: Key) -> tuple[Repository, str]:
    """Repository and tag of a key."""
    return Repository.parse(key[0].removeprefix("T#")), key[1]


def _parse(data: Mapping[str, Any]) -> Tag:
    def digest(name: str) -> Digest | None:
        return Digest(data[name]) if data.get(name) else None

    return Tag(
        digest=digest("digest"),
        at=parse_time(data["at"]),
        moved_from=digest("moved_from"),
        reported=digest("told"),
        reported_at=time_or_none(data.get("told_at")),
        unsure=digest("unsure"),
        lost=digest("lost"),
    )


def _dump(tag: Tag) -> dict[str, Any]:
    return {
        "digest": tag.digest,
        "at": format_time(tag.at),
        "moved_from": tag.moved_from,
        "told": tag.reported,
        "told_at": sort_time(tag.reported_at) if tag.reported_at else "",
        "unsure": tag.unsure,
        "lost": tag.lost,
    }


TAGS = ItemKind("T#<registry>/<repository>", "tag", "what the tag points to", _parse, _dump)

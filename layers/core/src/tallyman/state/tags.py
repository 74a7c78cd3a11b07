"""The digests that the tags of a repository point to."""

from datetime import datetime, timedelta
from typing import Any

from tallyman.domain.names import Digest, Repository
from tallyman.domain.times import sort_time
from tallyman.state.base import StateValue
from tallyman.state.items import ItemKind, Key
from tallyman.values import value


@value
class Tag(StateValue):
    """A tag in the registry and in the ledger.

    `digest`: where it pointed when the registry was last asked (None: there was no such tag); `at`: since when, as far
    as known; `moved_from`: where it pointed before (kept while the tag is removed). `reported`, `reported_at`: where it
    points by the newest fact in the ledger; `unsure`: where it may point as well, by a fact of the same second; `lost`:
    where it pointed before that image was deleted. Where `reported` differs from `digest`, a fact is missing: the next
    sweep writes it.
    """

    digest: Digest | None
    at: datetime
    moved_from: Digest | None = None
    reported: Digest | None = None
    reported_at: datetime | None = None
    unsure: Digest | None = None
    lost: Digest | None = None

    def dump(self) -> dict[str, Any]:
        told_at = sort_time(self.reported_at) if self.reported_at else ""
        return StateValue.dump(self) | {"told_at": told_at}


GONE_KEPT = timedelta(days=30)
"""How long the item of a removed tag stays; forever would let the list of a repository's tags grow without limit."""


def expiry(tag: Tag, now: datetime) -> datetime | None:
    """When the item expires: GONE_KEPT after the tag is removed, and recorded as removed; None: never. The ledger keeps
    the tag's history; no worker that knows the item's revision runs that long."""
    return now + GONE_KEPT if tag.digest is tag.reported is tag.unsure is None else None


def partition(repository: Repository) -> str:
    """The partition of a repository's tags; sort key: the tag."""
    return f"T#{repository}"


def key(repository: Repository, tag: str) -> Key:
    """The key of one tag."""
    return partition(repository), tag


def parse_key(key: Key) -> tuple[Repository, str]:
    """Repository and tag of a key."""
    return Repository.parse(key[0].removeprefix("T#")), key[1]


TAGS = ItemKind(Tag, "T#<registry>/<repository>", "tag", "the digest that the tag points to")

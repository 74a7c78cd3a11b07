"""Facts: observations written down. What is in the ledger is only ever added to.

A fact about a digest lives in that digest's partition (`D#<digest>`), so that one consistent read sees all of them;
what concerns no digest lives under its environment (`E#<environment>[/<repository>]`).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from tallyman.domain.names import Digest, EcrRegistry, Repository
from tallyman.domain.times import format_time, sort_time
from tallyman.values import value


class Kind(StrEnum):
    """What happened. What facts of each kind say besides is in `domain/history/details/`, a class a kind.

    The first group are the changes that a registry reports, the rows of `history`.
    """

    PUSHED = "pushed"
    REPLICATED = "replicated"
    UNTAGGED = "untagged"
    DELETED = "deleted"
    ARCHIVED = "archived"
    RESTORED = "restored"
    SETTINGS_CHANGED = "settings_changed"

    CHILD_OF = "child_of"  # in the child's partition: an index lists it
    UNREADABLE = "unreadable"  # the image's manifest can't be read; it fails `verified`
    REFERRED = "referred"  # in the subject's partition: a referrer is there
    VERIFIED = "verified"
    SCANNED = "scanned"
    SIGNING = "signing"  # ECR's managed signing
    ORIGIN = "origin"  # one a signature that was verified or refused
    REQUESTED = "requested"  # a person asked
    DECIDED = "decided"
    TARGET_SEEN = "target_seen"  # what the registries of a target said when they were asked
    INTENDED = "intended"  # in every member's partition: it is about to be pushed by us
    TAGGING = "tagging"  # tags are set in targets from now on
    PROMOTED = "promoted"
    DELAYED = "delayed"  # a promotion did not go through for now
    PARKED = "parked"  # given up until somebody or something changes it
    STOWAWAY = "stowaway"  # in an environment without a promotion
    ROLLED_BACK = "rolled_back"  # a person set a release to this digest
    RELEASED = "released"  # E#<environment>/<repository>
    ROLLED_OUT = "rolled_out"  # as RELEASED
    POLICY = "policy"  # E#*: a policy came into force
    # What people said: the actor is SQS's SenderId
    APPROVED = "approved"
    DENIED = "denied"
    OVERRIDDEN = "overridden"
    CHECKED = "checked"  # the result of a check of their own
    RECALLED = "recalled"
    FROZEN = "frozen"  # E#<environment>[/<repository>]
    THAWED = "thawed"  # as FROZEN
    LETTER = "letter"  # E#*: a dead letter was sent again, or discarded
    MISSED = "missed"  # E#<environment>: reconcile counted events that were never delivered
    MARKED = "marked"  # retention is to remove it once the grace period is over
    UNMARKED = "unmarked"  # something needs it again
    REMOVED = "removed"


BEFORE_ALL = datetime(1900, 1, 1, tzinfo=UTC)
"""The time of CHILD_OF, which has none of its own, and of nothing else. Any number of indexes may list an image: a read
of what happened to it passes them by. Those of earlier versions have the time NO_TIME."""
NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)
"""The time of other facts that have none of their own."""


class Via(StrEnum):
    """How we know."""

    EVENT = "event"
    RECONCILED = "reconciled"
    PERSON = "person"


@value
class Fact:
    """One entry of the ledger.

    `at` is when it happened (the registry's time), `seen` when it was recorded; `id` is made by `fact_id` from
    what identifies the happening, so that the same happening reported twice has the same key. `detail` is plain JSON
    data whose keys depend on the kind. `size` is compressed bytes. `actor` is an ARN where CloudTrail reports it.
    """

    kind: Kind
    id: str
    at: datetime
    seen: datetime
    via: Via
    digest: Digest | None = None
    repository: Repository | None = None
    tag: str | None = None
    environment: str | None = None
    media_type: str | None = None
    size: int | None = None
    actor: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def partition(self) -> str:
        """`D#<digest>`, or `E#<environment>[/<repository>]` where there is no digest or the fact is a release."""
        if self.kind in (Kind.RELEASED, Kind.ROLLED_OUT):
            return f"E#{self.environment}/{self.detail['repository']}"
        if self.kind in (Kind.FROZEN, Kind.THAWED) and self.detail["repository"]:
            return f"E#{self.environment}/{self.detail['repository']}"
        if self.digest is None:
            name = f"/{self.repository.name}" if self.repository else ""
            return f"E#{self.environment or '*'}{name}"
        return f"D#{self.digest}"

    @property
    def sort(self) -> str:
        """`<time>#<id>`."""
        return f"{sort_time(self.at)}#{self.id}"

    @property
    def registry(self) -> EcrRegistry | None:
        """The registry of the repository."""
        return self.repository.registry if self.repository else None


def fact_id(*parts: object) -> str:
    """Sixteen bytes of SHA-256 over the parts, as hexadecimal text: equal parts, equal id.

    Parts may be text, None, numbers or datetimes; each is length-prefixed, so that no two lists of parts collide.
    """
    hasher = hashlib.sha256()
    for part in parts:
        text = format_time(part) if isinstance(part, datetime) else "" if part is None else str(part)
        hasher.update(f"{len(text)}:{text}".encode())
    return hasher.hexdigest()[:32]

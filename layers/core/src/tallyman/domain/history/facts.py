"""Facts: recorded observations, the entries of the ledger. Facts are only added, never changed or removed.

A fact about a digest is stored in that digest's partition (`D#<digest>`), so that one consistent read returns all of
them; a fact about no digest is stored under its environment (`E#<environment>[/<repository>]`).
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
    """What happened. `domain/history/details/` has a class for the further data of each kind.

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
    REFERRED = "referred"  # in the subject's partition: the image has a referrer
    VERIFIED = "verified"
    SCANNED = "scanned"
    SIGNING = "signing"  # ECR's managed signing
    ORIGIN = "origin"  # a signature was verified or refused
    REQUESTED = "requested"  # a person asked
    DECIDED = "decided"
    TARGET_SEEN = "target_seen"  # the answers of a target's registries
    INTENDED = "intended"  # in each member's partition: Tallyman is about to push it
    TAGGING = "tagging"  # from now on, tags may be set in targets
    PROMOTED = "promoted"
    DELAYED = "delayed"  # a promotion failed for now
    PARKED = "parked"  # a promotion was given up, until a person or a push starts it again
    STOWAWAY = "stowaway"  # in an environment without a promotion
    ROLLED_BACK = "rolled_back"  # a person set a release to this digest
    RELEASED = "released"  # E#<environment>/<repository>
    ROLLED_OUT = "rolled_out"  # E#<environment>/<repository>
    POLICY = "policy"  # E#*: a policy came into force
    # commands of people: the actor is SQS's SenderId
    APPROVED = "approved"
    DENIED = "denied"
    OVERRIDDEN = "overridden"
    CHECKED = "checked"  # the result of another system's check
    RECALLED = "recalled"
    FROZEN = "frozen"  # E#<environment>[/<repository>]
    THAWED = "thawed"  # E#<environment>[/<repository>]
    LETTER = "letter"  # E#*: a dead letter was sent again, or discarded
    MISSED = "missed"  # E#<environment>: reconcile counted events that were never delivered
    MARKED = "marked"  # retention will remove the image after the grace period
    UNMARKED = "unmarked"  # something needs the image again
    REMOVED = "removed"


BEFORE_ALL = datetime(1900, 1, 1, tzinfo=UTC)
"""The time of all facts CHILD_OF, which have no time of their own, and of no other facts. Many indexes may list one
image: reads of its other facts start after this time. CHILD_OF facts of earlier versions have the time NO_TIME."""
NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)
"""The time of other facts that have no time of their own."""


class Via(StrEnum):
    """The source of a fact."""

    EVENT = "event"
    RECONCILED = "reconciled"
    PERSON = "person"


@value
class Fact:
    """One entry of the ledger.

    `at`: when it happened (the registry's time); `seen`: when it was recorded. `id`: made by `fact_id` from what
    identifies the event, so that an event that is reported twice has one key. `detail`: JSON data whose keys depend on
    the kind. `size`: compressed bytes. `actor`: an ARN where CloudTrail reports it, a SenderId for commands.
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
        """`D#<digest>`; `E#<environment>[/<repository>]` for facts without a digest, releases and rollouts."""
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
        """The registry of the fact's repository; None: it has none."""
        return self.repository.registry if self.repository else None


def fact_id(*parts: object) -> str:
    """An id made from `parts`: 16 bytes of their SHA-256, in hexadecimal. Equal parts give equal ids.

    Parts may be strings, None, numbers or datetimes; each is hashed with its length, so that different lists of parts
    have different ids.
    """
    hasher = hashlib.sha256()
    for part in parts:
        text = format_time(part) if isinstance(part, datetime) else "" if part is None else str(part)
        hasher.update(f"{len(text)}:{text}".encode())
    return hasher.hexdigest()[:32]

"""Facts: observations written down. What is in the ledger is only ever added to.

A fact about a digest lives in that digest's partition (`D#<digest>`), so that one consistent read sees all of them;
what concerns no digest lives under its environment (`E#<environment>[/<repository>]`).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from enum import StrEnum
from typing import Any

from tallyman.domain.names import Digest, Registry, Repository
from tallyman.domain.times import format_time, sort_time
from tallyman.values import value


class Kind(StrEnum):
    """What happened. The first group are the changes that a registry tells of, the rows of `history`."""

    PUSHED = "pushed"  # detail.built: what the manifest's annotations say (domain/provenance.py)
    REPLICATED = "replicated"
    UNTAGGED = "untagged"
    DELETED = "deleted"
    ARCHIVED = "archived"
    RESTORED = "restored"
    SETTINGS_CHANGED = "settings_changed"

    CHILD_OF = "child_of"  # in the child's partition: detail.index is the digest of the index that lists it
    UNREADABLE = "unreadable"  # detail.reason: why the image's manifest can't be read; it fails `verified`
    REFERRED = "referred"  # in the subject's partition: detail.referrer, detail.artifact_type
    VERIFIED = "verified"  # detail: verdict, level, checks [{name, verdict, reason}], request, labels
    SCANNED = (
        "scanned"  # detail: status, counts, findings (the first rows), listed: of how many, archived, completed_at
    )
    REQUESTED = "requested"  # a person asked; detail: command, to
    DECIDED = "decided"  # detail: to, verdict, policy, gates [{name, verdict, reason, facts}], until
    TARGET_SEEN = "target_seen"  # detail: to, registries {registry: {tags: {tag: digest|null}, mutable: [...], error}}
    INTENDED = "intended"  # in every member's partition: detail.to, registries, family, repository
    TAGGING = "tagging"  # tags are set in targets from now on; detail: to, from, name, tags, ends: [ids] it replaces
    PROMOTED = "promoted"  # detail: to, tags, registries, policy, tagging: [ids] it finishes, stays: see `Releases`
    DELAYED = "delayed"  # a promotion did not go through for now; detail: to, reason, attempt, next_at
    PARKED = "parked"  # given up until somebody or something changes it; detail: to, reason
    STOWAWAY = "stowaway"  # detail: environment
    ROLLED_BACK = "rolled_back"  # a person set a release to this digest; detail: environment, name, request
    RELEASED = "released"  # E#<environment>/<repository>; detail: tags, previous
    ROLLED_OUT = "rolled_out"  # as RELEASED; detail: repository, release, registry, service, outcome, reason
    POLICY = "policy"  # E#*: a policy came into force; detail.policy
    SIGNING = "signing"  # ECR's managed signing; detail: statuses [{profile, status, reason}]
    # What people said: actor is SQS's SenderId; detail: request, principal (role/NAME, None: nobody was named), because
    APPROVED = "approved"  # detail: to, name
    DENIED = "denied"  # detail: to, name
    OVERRIDDEN = "overridden"  # detail: to, name, gate
    RECALLED = "recalled"
    CHECKED = "checked"  # detail: environment, name, check, result (passed, failed): the result of a check of one's own
    FROZEN = "frozen"  # E#<environment>[/<repository>]; detail: repository (None: all of them)
    THAWED = "thawed"  # as FROZEN
    MISSED = "missed"  # E#<environment>: reconcile counted events that were never told; detail.count
    # Retention; detail: reason, policy
    MARKED = "marked"  # to be removed once the grace period is over
    UNMARKED = "unmarked"  # something needs it again
    REMOVED = "removed"  # detail.proof: digest of the object in the archive's folder `proofs`; detail.action


REGISTRY_KINDS = frozenset(
    {Kind.PUSHED, Kind.REPLICATED, Kind.UNTAGGED, Kind.DELETED, Kind.ARCHIVED, Kind.RESTORED, Kind.SETTINGS_CHANGED}
)


class Via(StrEnum):
    """How we know."""

    EVENT = "event"
    RECONCILED = "reconciled"
    PERSON = "person"


@value
class Fact:
    """One entry of the ledger.

    `at` is when it happened (the registry's time), `seen` when it was written down; `id` is made by `fact_id` from
    what identifies the happening, so that the same happening told twice has the same key. `detail` is plain JSON
    data whose keys depend on the kind. `size` is compressed bytes. `actor` is an ARN where CloudTrail tells.
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
    def registry(self) -> Registry | None:
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

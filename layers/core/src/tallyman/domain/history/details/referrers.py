"""Indexes, referrers and signatures of an image."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tallyman.domain.history.details.base import Details
from tallyman.domain.images.signatures import RULES
from tallyman.values import value


@value
class ChildOf(Details):
    """Details of child_of, in the child's partition. `index`: the digest of the index that lists it."""

    index: str


@value
class Referred(Details):
    """Details of referred, in the subject's partition. `repository` holds the referrer (`<registry>/<name>`; None: the
    fact is of an earlier version). `predicates`: predicate types of its statements. `build`: see
    `provenance.build_of`. `packages`: the number of packages in its SBOMs; None: it has no SBOM."""

    SPARSE: ClassVar = frozenset({"build", "packages"})
    referrer: str
    artifact_type: str | None = None
    predicates: Sequence[str] | None = ()
    repository: str | None = None
    build: Mapping[str, Any] | None = None
    packages: int | None = None


@value
class Signing(Details):
    """Details of signing: ECR's managed signing. `statuses`: {profile, status, reason} of each profile."""

    statuses: Sequence[Mapping[str, Any]]


@value
class Origin(Details):
    """Details of origin, in the signed image's partition: one signature, verified or refused.

    `repository` holds the `referrer` with the signature. `signature`: an id over all that was signed and verified.
    `form`: cosign, bundle or notation. `keys`: names of the policy's keys that made the signature. `identity`: {issuer,
    subject} of its certificate; for Notation {subject, root} or {profile, root}. `signed_at`: the time that a
    transparency log or a timestamp authority signed. `reason`: why it was refused. `looked`: names of the keys that it
    was verified with; `roots`: SHA-256 of the trust roots. `statement`: the predicate type of a signed statement about
    the image; None: the image itself is signed. `claims`: those of a verified provenance (see
    `domain/images/claims.py`); `vex`: a verified VEX document (`domain/images/vex`). `until`: when the signature has to
    be verified again; None: never. `rules`: `signatures.RULES` of the version that verified it; None: a version that
    had no such number.
    """

    SPARSE: ClassVar = frozenset({"statement", "claims", "vex", "until", "rules"})

    repository: str
    referrer: str
    signature: str
    form: str
    verdict: str
    keys: Sequence[str] = ()
    identity: Mapping[str, str] | None = None
    signed_at: str | None = None
    reason: str | None = None
    looked: Sequence[str] = ()
    roots: str | None = None
    statement: str | None = None
    claims: Mapping[str, str | None] | None = None
    vex: Mapping[str, Any] | None = None
    until: str | None = None
    rules: int | None = None

    @property
    def is_verified(self) -> bool:
        return self.verdict == "verified"

    @property
    def is_outdated(self) -> bool:
        """Whether other rules than the present ones made the verdict, so that the signature is verified again."""
        return self.rules != RULES

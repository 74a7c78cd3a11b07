"""How images hang together, and who signed them."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tallyman.domain.history.details.base import Details
from tallyman.values import value


@value
class ChildOf(Details):
    """Of child_of, in the child's partition: the digest of the index that lists it."""

    index: str


@value
class Referred(Details):
    """Of referred, in the subject's partition. `repository` holds the referrer (`<registry>/<name>`; None: an older
    fact, which did not say). `predicates`: types of the statements in it. `build`: the build that it describes.
    `packages`: how many its SBOMs name; None: it has none."""

    SPARSE: ClassVar = frozenset({"build", "packages"})
    referrer: str
    artifact_type: str | None = None
    predicates: Sequence[str] | None = ()
    repository: str | None = None
    build: Mapping[str, Any] | None = None
    packages: int | None = None


@value
class Signing(Details):
    """Of signing: ECR's managed signing, {profile, status, reason} of each profile."""

    statuses: Sequence[Mapping[str, Any]]


@value
class Origin(Details):
    """Of origin, in the signed image's partition: one signature, verified or refused.

    `repository`: where the `referrer` that holds it is. `signature` differs where anything of it that is signed or
    verified differs. `form`: cosign, bundle or notation. `keys`: names of the policy's keys that made it.
    `identity`: {issuer, subject} of its certificate; for Notation {subject, root} or {profile, root}. `signed_at`:
    the time that a log or an authority has signed. `reason`: why it was refused. `looked`: names of the keys that
    it was verified with; `roots`: SHA-256 of the trust roots. `statement`: its predicate's type, where it is no
    signature of the image but says something about it; `claims`: what a verified provenance says (see
    `domain/images/claims.py`); `vex`: what a verified VEX says (`domain/images/vex`). `until`: when it has to be
    verified anew; None: never.
    """

    SPARSE: ClassVar = frozenset({"statement", "claims", "vex", "until"})

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

    @property
    def is_verified(self) -> bool:
        return self.verdict == "verified"

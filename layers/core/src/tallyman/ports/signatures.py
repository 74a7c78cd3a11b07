"""Checking a signature: what needs cryptography, and so is not in the core."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from tallyman.domain.images.claims import Claims
from tallyman.domain.images.manifest import Manifest
from tallyman.domain.images.vex import Vex
from tallyman.domain.names import Digest
from tallyman.values import value


@value
class SignerJob:
    """What AWS Signer is asked about a signature: ARNs of its profile's version and of the job, when it was made, and
    hashes of the certificates, as GetRevocationStatus takes them."""

    profile: str
    job: str
    at: datetime
    certificates: Sequence[str]


@value
class CheckedSignature:
    """`reason` None: it is good, made by `keys` (their names) or by `identity` (as the details of `origin` have it).

    `at`: the proven time, as text; `until`: when it has to be verified anew; `job`: AWS Signer has to be asked too.
    `statement`: the type of the predicate of what is no signature of the image, but says something about it; `claims`:
    what a good provenance says; `vex`: what a good VEX says.
    """

    keys: tuple[str, ...] = ()
    identity: Mapping[str, str] | None = None
    at: str | None = None
    reason: str | None = None
    statement: str | None = None
    claims: Claims | None = None
    vex: Vex | None = None
    until: datetime | None = None
    job: SignerJob | None = None


class Signatures(Protocol):
    """Verifies signatures over bytes."""

    @property
    def roots(self) -> str | None:
        """SHA-256 of the trust roots (`sha256:<hex>`); None: there are none."""

    def simple_signing(
        self, image: Digest, payload: bytes, annotations: Mapping[str, str], keys: Mapping[str, str]
    ) -> CheckedSignature:
        """cosign's tag scheme; `keys`: PEM by name."""

    def bundle(self, image: Digest, raw: bytes, keys: Mapping[str, str]) -> CheckedSignature:
        """A Sigstore bundle."""

    @property
    def notation_roots(self) -> str | None:
        """SHA-256 of Notation's trust stores (`notation:sha256:<hex>`); None: there are none."""

    def notation(self, image: Manifest, kind: str, raw: bytes, now: datetime) -> CheckedSignature:
        """An envelope of Notation, of the media type `kind`."""


class Revocations(Protocol):
    """Revocations of signatures that a service has made."""

    def revoked(self, job: SignerJob) -> Sequence[str]:
        """What of it was revoked: ARNs, or hashes of certificates; empty: nothing. Raises TallymanError."""


class PublicKeys(Protocol):
    """Public halves of keys that are kept elsewhere."""

    def pem(self, arn: str) -> str:
        """Of a key of KMS. Raises TallymanError: it can't be read, or signs nothing."""

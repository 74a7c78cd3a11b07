"""Verification of signatures, which needs cryptography and is therefore outside the core."""

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
    """The parameters of GetRevocationStatus for a signature of AWS Signer: the ARNs of its profile's version and of its
    job, the time of signing, and the hashes of the certificates."""

    profile: str
    job: str
    at: datetime
    certificates: Sequence[str]


@value
class CheckedSignature:
    """The result of verifying a signature. `reason` None: it is valid, made by `keys` (their names) or by `identity`
    (in the form of the details of `origin`); else why it is refused.

    `at`: the proven time of signing, as text; `until`: when it has to be verified again, None: never; `job`: for the
    question to AWS Signer whether it revoked the signature; None: AWS Signer did not make it. `statement`: the
    predicate type of a signed statement about the image; None: the image itself is signed. `claims`, `vex`: those of a
    valid provenance or VEX.
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
        """The SHA-256 of Sigstore's trust roots (`sha256:<hex>`); None: there are none."""

    def simple_signing(
        self, image: Digest, payload: bytes, annotations: Mapping[str, str], keys: Mapping[str, str]
    ) -> CheckedSignature:
        """Verify a signature under cosign's tag. `annotations`: those of its layer; `keys`: PEM by name."""

    def bundle(self, image: Digest, raw: bytes, keys: Mapping[str, str]) -> CheckedSignature:
        """Verify a Sigstore bundle. `keys`: PEM by name."""

    @property
    def notation_roots(self) -> str | None:
        """The SHA-256 of Notation's trust stores (`notation:sha256:<hex>`); None: there are none."""

    def notation(self, image: Manifest, kind: str, raw: bytes, now: datetime) -> CheckedSignature:
        """Verify an envelope of Notation with the media type `kind`."""


class Revocations(Protocol):
    """Revocations of signatures that AWS Signer made."""

    def revoked(self, job: SignerJob) -> Sequence[str]:
        """The revoked ARNs and hashes of certificates of the signature; empty: none. Raises TallymanError."""


class PublicKeys(Protocol):
    """Public keys of KMS."""

    def pem(self, arn: str) -> str:
        """The public key of a KMS key, as PEM. Raises TallymanError: it can't be read, or is not for signing."""

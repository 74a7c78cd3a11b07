"""Checking a signature: what needs cryptography, and so is not in the core."""

from collections.abc import Mapping
from typing import Protocol

from tallyman.domain.images.claims import Claims
from tallyman.domain.images.vex import Vex
from tallyman.domain.names import Digest
from tallyman.values import value


@value
class CheckedSignature:
    """`reason` None: it is good, made by `keys` (their names) or by `identity` (issuer, subject); `at`: the time that a
    log has signed, as text. `statement`: the type of the predicate of what is no signature of the image, but says
    something about it; `claims`: what a good provenance says; `vex`: what a good VEX says."""

    keys: tuple[str, ...] = ()
    identity: tuple[str, str] | None = None
    at: str | None = None
    reason: str | None = None
    statement: str | None = None
    claims: Claims | None = None
    vex: Vex | None = None


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


class PublicKeys(Protocol):
    """Public halves of keys that are kept elsewhere."""

    def pem(self, arn: str) -> str:
        """Of a key of KMS. Raises TallymanError: it can't be read, or signs nothing."""

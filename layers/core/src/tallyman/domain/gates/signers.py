"""The signers that a policy trusts: public keys, identities of keyless signing, and those of Notation."""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Any

from tallyman.domain.gates.notation import NOTATION, NotationSigner, split_roots
from tallyman.domain.plain import plain
from tallyman.domain.policy import ANY_ROOTS, Policy, Promotion
from tallyman.domain.policy.gates import GateConfig
from tallyman.domain.policy.shapes import Choice, Key, ListOf, Record, String
from tallyman.values import value

_PEM = r"-----BEGIN PUBLIC KEY-----\s+([A-Za-z0-9+/=\s]+)-----END PUBLIC KEY-----\s*"
_KMS = r"arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]{1,64}"
NO_ROOTS = "none"
"""The roots of signers whose policy has none beside it: equal to no SHA-256."""
_SHOWN = 19
"""The number of characters of a fingerprint in a reason."""


def shown(name: str) -> str:
    """The name of a key, for people: the beginning of a fingerprint, or an ARN."""
    return name if name.startswith("arn:") else name[:_SHOWN]


class On(StrEnum):
    """What must be signed of an index: the index itself, or each of its platform images."""

    INDEX = "index"
    PLATFORMS = "platforms"


@value
class SignerKey:
    """A public key, as PEM. `name`: `SHA256:<hex>` of its SubjectPublicKeyInfo. For a KMS key: its ARN, and `pem` is
    None, as `verify_origin` reads it from KMS."""

    name: str
    pem: str | None

    @classmethod
    def parse(cls, text: str) -> "SignerKey":
        """Parse PEM, or the ARN of a KMS key. Raises ValueError. Whether the key has an allowed type is checked by
        `verify_origin`, which has the cryptography to read it."""
        if re.fullmatch(_KMS, text):
            return cls(text, None)
        found = re.fullmatch(_PEM, text.strip())
        try:
            der = base64.b64decode("".join(found[1].split()), validate=True) if found else b""
        except binascii.Error:
            der = b""
        if not der.startswith(b"\x30"):
            raise ValueError("expected a public key as PEM (-----BEGIN PUBLIC KEY-----) or the ARN of a key of KMS")
        return cls(f"SHA256:{hashlib.sha256(der).hexdigest()}", text.strip() + "\n")


@value
class SignerIdentity:
    """A keyless signer, by the issuer and subject in the certificate; `subject` may be a glob."""

    issuer: str
    subject: str

    def __str__(self) -> str:
        return f"{self.subject} ({self.issuer})"


@value
class Signers(GateConfig):
    """The signers that a gate trusts; a signature by any of them is enough. `roots`: SHA-256 of the `trusted_root.json`
    that vouches for identities; None: the one beside the policy. `stores`: digest of Notation's trust stores; None:
    any."""

    keys: tuple[SignerKey, ...] = ()
    identities: tuple[SignerIdentity, ...] = ()
    on: On = On.INDEX
    roots: str | None = None
    notation: tuple[NotationSigner, ...] = ()
    stores: str | None = None

    @property
    def trusted(self) -> "Signers":
        return self

    def beside(self, policy: Policy) -> "Signers":
        """These signers with the trust roots of the present policy, so that signatures that were verified with other
        roots count as not verified."""
        if policy.roots == ANY_ROOTS:
            return self
        roots, stores = split_roots(policy.roots)
        return replace(self, roots=self.roots or roots or NO_ROOTS, stores=stores or NO_ROOTS)

    @property
    def by(self) -> str:
        """The signers, for people."""
        return ", ".join([*(shown(key.name) for key in self.keys), *map(str, (*self.identities, *self.notation))])

    @property
    def words(self) -> Mapping[str, Any]:
        notation = {"notation": [dict(who.words) for who in self.notation]} if self.notation else {}
        return {
            "keys": [key.name for key in self.keys],
            "identities": [plain(who) for who in self.identities],
            **notation,
            "on": str(self.on),
            "roots": self.roots,
        }

    def __str__(self) -> str:
        return f"signed (by {self.by}{', each platform' if self.on is On.PLATFORMS else ''})"


@value
class HasSigners(GateConfig):
    """A gate that needs signers of statements about the image; None: those of `signed` in the same promotion."""

    signers: Signers | None = None

    @property
    def trusted(self) -> Signers | None:
        return self.signers


def signers_of(promotions: Iterable[Promotion]) -> tuple[Signers, ...]:
    """The signers of all gates of these promotions; empty: none has signers."""
    gates = (gate for promotion in promotions for gate in promotion.gates.values())
    return tuple(signers for gate in gates if (signers := gate.trusted) is not None)


def signers_from(
    keys: Iterable[SignerKey] = (),
    identities: Iterable[SignerIdentity] = (),
    on: On = On.INDEX,
    roots: str | None = None,
    notation: Iterable[NotationSigner] = (),
) -> Signers:
    """Make `Signers` from the keys of a policy."""
    return Signers(tuple(keys), tuple(identities), on, roots, tuple(notation))


_IDENTITY = Record(
    {
        "issuer": Key(
            String(what="the issuer of the identity, a URL"), "The OIDC issuer; must be equal.", required=True
        ),
        "subject": Key(
            String(r"\S*[^*\s?]\S*", "a subject: a URL, an address, or a glob of them"),
            "The subject of the certificate, or a glob.",
            required=True,
        ),
    },
    SignerIdentity,
    expected='an identity, as in {issuer: "https://token.actions.githubusercontent.com", subject: "https://…"}',
)
KEYS: Mapping[str, Key] = {
    "keys": Key(
        ListOf(String(what="a public key as PEM, or the ARN of a key of KMS", build=SignerKey.parse), least=1),
        "Public keys (PEM, or the ARN of a KMS key): ECDSA on P-256 or P-384, RSA of 2048 to 8192 bits, Ed25519.",
    ),
    "identities": Key(ListOf(_IDENTITY, least=1), "Identities in the certificates of Sigstore's keyless signing."),
    "on": Key(Choice(On), "What must be signed for an index: index (default), or platforms: each platform image."),
    "roots": Key(
        String(r"sha256:[0-9a-f]{64}", "sha256: and 64 digits"),
        "The SHA-256 of the trusted_root.json that counts; default: the one that is deployed beside the policy.",
    ),
}
SHAPE = Record(
    {**KEYS, "notation": NOTATION}, signers_from, expected='signers, as in {keys: ["-----BEGIN PUBLIC KEY-----…"]}'
)

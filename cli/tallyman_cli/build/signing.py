"""Signs statements about an image with a private key: DSSE envelopes in Sigstore bundles, as cosign reads them.

Sources: DSSE v1, sigstore/protobuf-specs (bundle v0.3), cosign's BUNDLE_SPEC.
"""

import base64
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tallyman.adapters.files.reading import read
from tallyman.errors import BadInput
from tallyman_cli.build.statements import IN_TOTO

if TYPE_CHECKING:
    from tallyman.adapters.aws.clients import Clients

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
SIGN = "https://sigstore.dev/cosign/sign/v1"
"""The predicate type of a plain signature of an image, which states nothing else."""


class Signer(Protocol):
    """A private key, wherever it is."""

    @property
    def pem(self) -> str:
        """The public key, as a policy's `keys` take it."""

    def sign(self, data: bytes) -> bytes: ...


class KeyFile:
    """A private key in a PEM file, without a password: ECDSA on P-256 or P-384, RSA of 2048 bits or more, Ed25519."""

    def __init__(self, pem: bytes, name: str) -> None:
        """`name`: for errors. Raises BadInput if it is not such a key."""
        try:
            from cryptography.exceptions import UnsupportedAlgorithm
            from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
            from cryptography.hazmat.primitives.serialization import load_pem_private_key
        except ModuleNotFoundError:
            raise BadInput("signing needs the package cryptography: pip install 'tallyman-ecr[local]'") from None
        try:
            key = load_pem_private_key(pem, None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise BadInput(f"{name}: expected a private key as PEM without a password: {error}") from None
        allowed = (
            key.curve.name in ("secp256r1", "secp384r1")
            if isinstance(key, ec.EllipticCurvePrivateKey)
            else key.key_size >= 2048
            if isinstance(key, rsa.RSAPrivateKey)
            else isinstance(key, ed25519.Ed25519PrivateKey)
        )
        if not allowed:
            raise BadInput(f"{name}: expected a key on P-256 or P-384, an RSA key of 2048 bits or more, or Ed25519")
        self._key = key

    @classmethod
    def read(cls, path: Path) -> "KeyFile":
        """Read a file. Raises BadInput if it can't be read, or holds no private key."""
        try:
            return cls(read(path), str(path))
        except OSError as error:
            raise BadInput(f"{path} can't be read: {error.strerror}") from None

    @property
    def pem(self) -> str:
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        return self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def sign(self, data: bytes) -> bytes:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

        if isinstance(self._key, ec.EllipticCurvePrivateKey):
            return self._key.sign(data, ec.ECDSA(hashes.SHA256()))
        if isinstance(self._key, rsa.RSAPrivateKey):
            return self._key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        assert isinstance(self._key, ed25519.Ed25519PrivateKey)  # nothing else is allowed
        return self._key.sign(data)


def signer_of(named: str, clients: "Callable[[], Clients] | None") -> Signer:
    """The signer that `--sign` names: a key of KMS by its ARN, or a file. Raises BadInput if it is neither."""
    if not named.startswith("arn:"):
        return KeyFile.read(Path(named))
    if ":kms:" not in named or clients is None:
        raise BadInput(f"{named}: expected the ARN of a key of KMS, or a file with a private key")
    from tallyman.adapters.aws.kms import KmsKey

    return KmsKey(clients(), named)


def bundle(signer: Signer, statement: Mapping[str, object]) -> dict[str, object]:
    """The statement in a signed envelope, as a Sigstore bundle. It does not hold the public key, which a verifier has
    to know."""
    payload = json.dumps(statement, separators=(",", ":")).encode()
    data = b"DSSEv1 %d %s %d %s" % (len(IN_TOTO), IN_TOTO.encode(), len(payload), payload)
    return {
        "mediaType": BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": ""}},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": IN_TOTO,
            "signatures": [{"sig": base64.b64encode(signer.sign(data)).decode()}],
        },
    }


def notes(predicate: str) -> dict[str, str]:
    """The annotations of a bundle's referrer."""
    return {"dev.sigstore.bundle.content": "dsse-envelope", "dev.sigstore.bundle.predicateType": predicate}

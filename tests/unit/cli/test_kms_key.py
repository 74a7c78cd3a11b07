"""Signing with a KMS key pair: the algorithm, the digest, and the public key in a policy's format."""

import base64
import hashlib
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from support.images import signing
from tallyman.adapters.aws.clients import Clients
from tallyman.adapters.aws.kms import KmsKey
from tallyman.domain.names import EcrRegistry
from tallyman.errors import BadInput
from tallyman_cli.build.signing import KeyFile, bundle
from tallyman_origin import Trust, verify_bundle
from tallyman_origin.keys import from_pem

ARN = "arn:aws:kms:eu-west-1:111111111111:key/1"
DIGEST = f"sha256:{'1' * 64}"


class Kms:
    """KMS with one key."""

    def __init__(self, key: Any, *algorithms: str) -> None:
        self.key, self.algorithms = key, algorithms

    def get_public_key(self, KeyId: str) -> dict[str, Any]:
        assert KeyId == ARN
        usage = "SIGN_VERIFY" if self.algorithms else "ENCRYPT_DECRYPT"
        return {"PublicKey": signing.spki(self.key), "KeyUsage": usage, "SigningAlgorithms": list(self.algorithms)}

    def sign(self, KeyId: str, Message: bytes, MessageType: str, SigningAlgorithm: str) -> dict[str, bytes]:
        assert (KeyId, MessageType) == (ARN, "DIGEST")
        hashed = Prehashed(hashes.SHA384() if SigningAlgorithm.endswith("384") else hashes.SHA256())
        if isinstance(self.key, rsa.RSAPrivateKey):
            return {"Signature": self.key.sign(Message, padding.PKCS1v15(), hashed)}
        return {"Signature": self.key.sign(Message, ec.ECDSA(hashed))}


class OneClient(Clients):
    """Clients of one service in one region."""

    def __init__(self, kms: Kms) -> None:
        super().__init__(EcrRegistry("111111111111", "us-east-2"), "tallyman", "cli")
        self.kms = kms

    def get(self, service: str, registry: EcrRegistry | None = None, power: Any = "read") -> Any:
        assert (service, str(registry)) == ("kms", "111111111111/eu-west-1")
        return self.kms


@pytest.mark.parametrize(
    ("key", "algorithms"),
    [
        (ec.generate_private_key(ec.SECP256R1()), ("ECDSA_SHA_256",)),
        (ec.generate_private_key(ec.SECP384R1()), ("ECDSA_SHA_384",)),
        (
            rsa.generate_private_key(65537, 2048),
            ("RSASSA_PSS_SHA_256", "RSASSA_PKCS1_V1_5_SHA_512", "RSASSA_PKCS1_V1_5_SHA_256"),
        ),
    ],
)
def test_its_signatures_verify_with_its_public_key(key: Any, algorithms: tuple[str, ...]) -> None:
    signer = KmsKey(OneClient(Kms(key, *algorithms)), ARN)
    assert signer.pem == signing.pem(key)
    subject = [{"name": "x", "digest": {"sha256": DIGEST.removeprefix("sha256:")}}]
    statement = {"_type": "https://in-toto.io/Statement/v1", "subject": subject, "predicateType": signing.SIGN}
    made = bundle(signer, {**statement, "predicate": {}})
    assert verify_bundle(DIGEST, signing.raw(made), Trust({"kms": from_pem(signer.pem)})).keys == ("kms",)


def test_a_key_without_a_supported_algorithm_is_refused() -> None:
    for algorithms in ((), ("ECDSA_SHA_512",)):
        with pytest.raises(BadInput, match="signs with none of"):
            KmsKey(OneClient(Kms(signing.new_key(), *algorithms)), ARN).sign(hashlib.sha256(b"x").digest())


def test_a_key_file_on_a_curve_that_the_library_lacks_is_refused() -> None:
    der = "302c020100301006072a8648ce3d020106052b8104000604153013020101040e0101010101010101010101010101"  # secp112r1
    pem = f"-----BEGIN PRIVATE KEY-----\n{base64.b64encode(bytes.fromhex(der)).decode()}\n-----END PRIVATE KEY-----\n"
    with pytest.raises(BadInput, match=r"k\.pem: expected a private key"):
        KeyFile(pem.encode(), "k.pem")

"""A key pair in KMS: read its public key, and sign with its private key, which never leaves KMS."""

import base64
import hashlib
import textwrap
from functools import cached_property
from typing import Any

from tallyman.adapters.aws.clients import Clients
from tallyman.adapters.errors.translate import translated
from tallyman.domain.names import EcrRegistry
from tallyman.domain.permissions import permissions
from tallyman.errors import BadInput

_ALGORITHMS = {
    "ECDSA_SHA_256": hashlib.sha256,
    "ECDSA_SHA_384": hashlib.sha384,
    "RSASSA_PKCS1_V1_5_SHA_256": hashlib.sha256,
}
"""The algorithms that `verify_origin` can check, and the hash of each."""


class KmsKey:
    """A key, named by its ARN or its alias's. One GetPublicKey, and one Sign for each signature."""

    PERMISSIONS: tuple[str, ...] = permissions("kms:GetPublicKey", "kms:Sign")

    def __init__(self, clients: Clients, arn: str) -> None:
        self._arn = arn
        # always with the process's own role: the policy of a key in another account must allow it
        self._client = clients.get("kms", EcrRegistry(clients.hub.account, arn.split(":")[3]))

    @property
    def pem(self) -> str:
        """The public key as PEM, the form of `keys` in a policy."""
        lines = "\n".join(textwrap.wrap(base64.b64encode(self._public["PublicKey"]).decode(), 64))
        return f"-----BEGIN PUBLIC KEY-----\n{lines}\n-----END PUBLIC KEY-----\n"

    def sign(self, data: bytes) -> bytes:
        """The signature of the data's hash. Raises BadInput for a key that can't sign with a supported algorithm."""
        found = [name for name in self._public.get("SigningAlgorithms", ()) if name in _ALGORITHMS]
        if self._public.get("KeyUsage") != "SIGN_VERIFY" or not found:
            raise BadInput(f"{self._arn} signs with none of {', '.join(_ALGORITHMS)}")
        digest = _ALGORITHMS[found[0]](data).digest()
        with translated(f"sign with {self._arn}"):
            answer = self._client.sign(KeyId=self._arn, Message=digest, MessageType="DIGEST", SigningAlgorithm=found[0])
        return bytes(answer["Signature"])

    @cached_property
    def _public(self) -> dict[str, Any]:
        with translated(f"read the public key of {self._arn}"):
            return dict(self._client.get_public_key(KeyId=self._arn))


class KmsPublicKeys:
    """Reads public keys, each once in a process."""

    PERMISSIONS: tuple[str, ...] = permissions("kms:GetPublicKey")

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._known: dict[str, str] = {}

    def pem(self, arn: str) -> str:
        """The public key of that ARN as PEM. Raises TallymanError."""
        if arn not in self._known:
            self._known[arn] = KmsKey(self._clients, arn).pem
        return self._known[arn]

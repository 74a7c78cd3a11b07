"""Public keys: which kinds are allowed, and checking their signatures."""

import hashlib
from collections.abc import Callable

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey
SMALLEST_RSA, LARGEST_RSA = 2048, 8192
"""Bits. Larger keys only cost time."""
_CURVES = ("secp256r1", "secp384r1")
_SHA256 = hashes.SHA256()


def allowed(key: object) -> PublicKey:
    """The key, where its kind is allowed: ECDSA on P-256 or P-384, RSA of 2,048 to 8,192 bits, Ed25519. Otherwise
    raises ValueError that says what it is."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name not in _CURVES:
            raise ValueError(f"a key on the curve {key.curve.name} is not allowed: expected P-256 or P-384")
        return key
    if isinstance(key, rsa.RSAPublicKey):
        if not SMALLEST_RSA <= key.key_size <= LARGEST_RSA:
            raise ValueError(
                f"an RSA key of {key.key_size} bits is not allowed: expected {SMALLEST_RSA} to {LARGEST_RSA}"
            )
        return key
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    raise ValueError("the key is neither ECDSA, RSA nor Ed25519")


def allowed_of_authority(key: object) -> None:
    """Raise ValueError unless the kind of key is allowed for authorities: as `allowed`, and ECDSA on P-521."""
    if not (isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp521r1"):
        allowed(key)


def from_pem(text: str) -> PublicKey:
    """The key in PEM (`-----BEGIN PUBLIC KEY-----`). Raises ValueError where it is invalid or not allowed."""
    return _known(load_pem_public_key, text.encode())


def from_der(der: bytes) -> PublicKey:
    """The key in a SubjectPublicKeyInfo, DER. Raises ValueError where it is invalid or not allowed."""
    return _known(load_der_public_key, der)


def _known(load: Callable[[bytes], object], raw: bytes) -> PublicKey:
    try:
        return allowed(load(raw))
    except UnsupportedAlgorithm as error:  # not a ValueError: a curve or a kind of key that `cryptography` lacks
        raise ValueError(f"a key of this kind is not allowed: {error}") from None


def spki(key: PublicKey) -> bytes:
    """The key as SubjectPublicKeyInfo, DER."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def is_signed(key: PublicKey, signature: bytes, data: bytes) -> bool:
    """Whether the key has signed these bytes: SHA-256 (P-384: SHA-384 too), RSA with PKCS#1 v1.5 or PSS."""
    if isinstance(key, ed25519.Ed25519PublicKey):
        try:
            key.verify(signature, data)
        except InvalidSignature:
            return False
        return True
    p384 = isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp384r1"
    if p384 and is_signed_digest(key, signature, hashlib.sha384(data).digest(), hashes.SHA384()):
        return True
    return is_signed_digest(key, signature, hashlib.sha256(data).digest())


def is_signed_digest(
    key: PublicKey, signature: bytes, digest: bytes, algorithm: hashes.HashAlgorithm = _SHA256
) -> bool:
    """Whether the key has signed the bytes with this digest. Never true for Ed25519, which signs no digests."""
    hashed = Prehashed(algorithm)
    if isinstance(key, ec.EllipticCurvePublicKey):
        try:
            key.verify(signature, digest, ec.ECDSA(hashed))
        except InvalidSignature:
            return False
        return True
    if isinstance(key, rsa.RSAPublicKey):
        pss = padding.PSS(padding.MGF1(algorithm), padding.PSS.AUTO)
        for form in (padding.PKCS1v15(), pss):
            try:
                key.verify(signature, digest, form, hashed)
            except InvalidSignature:
                continue
            return True
    return False

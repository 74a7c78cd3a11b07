"""Verify signatures of images from bytes: no network, no clock, no files. Only the function `verify_origin` loads it.

It is a layer of its own because it needs `cryptography`. It imports nothing of Tallyman's core: digests and times are
plain values. A change that gives a signature another verdict raises `RULES` in the core's
`domain/images/signatures.py`.
"""

from tallyman_origin.notation import NotationSignature, Stores, Target, verify_notation
from tallyman_origin.result import Identity, NotValid, Signature, Trust
from tallyman_origin.sigstore import verify_bundle, verify_simple_signing

__all__ = [
    "Identity",
    "NotValid",
    "NotationSignature",
    "Signature",
    "Stores",
    "Target",
    "Trust",
    "verify_bundle",
    "verify_notation",
    "verify_simple_signing",
]

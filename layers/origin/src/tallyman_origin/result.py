"""The input and the result of a verification."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from tallyman_origin.documents import Json, NotValid
from tallyman_origin.keys import PublicKey
from tallyman_origin.roots import Roots

__all__ = ["Identity", "NotValid", "Signature", "Trust"]


@dataclass(frozen=True)
class Trust:
    """The trusted public keys by the caller's names (several may name one key), and roots for certificates."""

    keys: Mapping[str, PublicKey] = field(default_factory=dict)
    roots: Roots | None = None


@dataclass(frozen=True)
class Identity:
    """The signer in a certificate: the OIDC issuer, and the subject (an e-mail address or a URI)."""

    issuer: str
    subject: str


@dataclass(frozen=True)
class Signature:
    """A verified signature. `keys`: the names of the keys that made it; `identity`: the signer, where a certificate
    did. `at`: when it was made; None: not proven. `predicate`: type and content of a statement about the image; None:
    it is a signature of the image."""

    keys: tuple[str, ...] = ()
    identity: Identity | None = None
    at: datetime | None = None
    predicate: tuple[str, Json] | None = None

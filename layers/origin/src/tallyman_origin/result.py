"""What a verification is asked with, and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from tallyman_origin.documents import Json, NotValid
from tallyman_origin.keys import PublicKey
from tallyman_origin.roots import Roots

__all__ = ["Identity", "NotValid", "Signature", "Trust"]


@dataclass(frozen=True)
class Trust:
    """Public keys by name (the name is the caller's; several may name one key), and roots for certificates."""

    keys: Mapping[str, PublicKey] = field(default_factory=dict)
    roots: Roots | None = None


@dataclass(frozen=True)
class Identity:
    """Who a certificate says has signed: the OIDC issuer, and the subject (an address or a URI)."""

    issuer: str
    subject: str


@dataclass(frozen=True)
class Signature:
    """A signature that was verified: by which of the keys (names), or by whom, and when where a log has signed that.

    `predicate`: the type and the content of a statement about the image; None: it is a signature of the image.
    """

    keys: tuple[str, ...] = ()
    identity: Identity | None = None
    at: datetime | None = None
    predicate: tuple[str, Json] | None = None

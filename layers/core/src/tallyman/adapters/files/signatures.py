"""Check signatures with the package tallyman_origin, which only the layer of `verify_origin` contains."""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cached_property
from pathlib import Path

from tallyman.adapters.files.policy_file import TRUST_ROOTS, TRUST_STORES, beside, stores_digest, trust_stores
from tallyman.domain.gates.signers import shown
from tallyman.domain.images.claims import LONGEST, claims
from tallyman.domain.images.manifest import Manifest
from tallyman.domain.images.vex import vex
from tallyman.domain.names import Digest
from tallyman.domain.plain import plain
from tallyman.domain.times import text_or_none
from tallyman.errors import PolicyError
from tallyman.ports.signatures import CheckedSignature, SignerJob
from tallyman_origin import (
    NotValid,
    Signature,
    Stores,
    Target,
    Trust,
    verify_bundle,
    verify_notation,
    verify_simple_signing,
)
from tallyman_origin.keys import PublicKey, from_pem
from tallyman_origin.roots import Roots


def read_roots(raw: bytes) -> tuple[str, int, int]:
    """The digest of trust roots (`sha256:<hex>`), and how many authorities and logs they name. Raises PolicyError."""
    roots = _parse(raw)
    return roots.digest, len(roots.authorities), len(roots.logs)


def _parse(raw: bytes) -> Roots:
    try:
        return Roots.parse(raw)
    except ValueError as error:
        raise PolicyError(f"{TRUST_ROOTS}: {error}") from None


class OriginSignatures:
    """`folder`: holds the policy, Sigstore's `trusted_root.json` and Notation's trust stores."""

    PERMISSIONS: tuple[str, ...] = ()

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def roots(self) -> str | None:
        return self._roots.digest if self._roots else None

    def simple_signing(
        self, image: Digest, payload: bytes, annotations: Mapping[str, str], keys: Mapping[str, str]
    ) -> CheckedSignature:
        return self._checked(image, keys, lambda trust: verify_simple_signing(image, payload, annotations, trust))

    def bundle(self, image: Digest, raw: bytes, keys: Mapping[str, str]) -> CheckedSignature:
        return self._checked(image, keys, lambda trust: verify_bundle(image, raw, trust))

    @property
    def notation_roots(self) -> str | None:
        return self._notation[1]

    def notation(self, image: Manifest, kind: str, raw: bytes, now: datetime) -> CheckedSignature:
        target = Target(image.digest, image.media_type, len(image.raw))
        try:
            found = verify_notation(target, kind, raw, self._notation[0], now)
        except NotValid as error:
            return CheckedSignature(reason=str(error))
        made = found.job
        who = {"profile": made.profile} if made else {"subject": found.subject}
        job = SignerJob(made.profile, made.job, found.at or now, made.certificates) if made else None
        return CheckedSignature(
            identity={**who, "root": found.root},
            at=text_or_none(found.at),
            until=found.until,
            job=job,
        )

    @cached_property
    def _notation(self) -> tuple[Stores, str | None]:
        """The trust stores, and the digest of their files."""
        files = trust_stores(self._folder)
        try:
            return Stores.parse(*(each or b"" for each in files)), stores_digest(files)
        except ValueError as error:
            raise PolicyError(f"{', '.join(TRUST_STORES)}: {error}") from None

    @cached_property
    def _roots(self) -> Roots | None:
        raw = beside(self._folder, TRUST_ROOTS)
        return None if raw is None else _parse(raw)

    def _checked(
        self, image: Digest, keys: Mapping[str, str], verify: Callable[[Trust], Signature]
    ) -> CheckedSignature:
        allowed: dict[str, PublicKey] = {}
        flaws = []
        for name, pem in keys.items():
            try:
                allowed[name] = from_pem(pem)
            except ValueError as error:
                flaws.append(f"; {shown(name)} of the policy: {error}")
        try:
            found = verify(Trust(allowed, self._roots))
        except NotValid as error:
            return CheckedSignature(reason=f"{error}{''.join(flaws)}")
        identity, at = plain(found.identity), text_or_none(found.at)
        if found.predicate is None:
            return CheckedSignature(found.keys, identity, at)
        kind, predicate = found.predicate
        said = claims(kind, predicate), vex(kind, predicate, image)
        return CheckedSignature(found.keys, identity, at, None, kind[:LONGEST], *said)

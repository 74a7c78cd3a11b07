"""The gate `signed` with `keys`, `identities` or `notation`: one of them has signed this digest, and the signature was
verified.

The verdict uses the facts that `verify_origin` records, one for each signature, and the present policy: a key that was
removed from the policy no longer counts, whatever was verified with it.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Any

from tallyman.domain.gates.case import FAILED, PASSED, WAITING, Case, GateResult
from tallyman.domain.gates.notation import (
    FORM,
    NOTATION,
    ROOTS,
    NotationSigner,
    holds,
    name_of,
    notation_signer,
    split_roots,
)
from tallyman.domain.history.details.referrers import Origin, Referred
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.images.signatures import is_signature
from tallyman.domain.names import Digest
from tallyman.domain.policy import ANY_ROOTS, Policy, Promotion
from tallyman.domain.policy.gates import GateConfig
from tallyman.domain.policy.shapes import Choice, Key, ListOf, Record, String
from tallyman.domain.policy.tags import glob_matches
from tallyman.domain.text import counted
from tallyman.values import value

_PEM = re.compile(r"-----BEGIN PUBLIC KEY-----\s+([A-Za-z0-9+/=\s]+)-----END PUBLIC KEY-----\s*")
_KMS = re.compile(r"arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]{1,64}")
NO_ROOTS = "none"
"""The roots of signers whose policy has none beside it: equal to no SHA-256."""
_SHOWN = 19
"""The number of characters of a fingerprint in a reason."""


def shown(name: str) -> str:
    """The name of a key, for people: the beginning of a fingerprint, or an ARN."""
    return name if name.startswith("arn:") else name[:_SHOWN]


class Flaw(StrEnum):
    """Why an attached signature or statement does not count; in the facts of a decision, beside the words."""

    UNVERIFIED = "unverified"
    UNTRUSTED = "untrusted"
    BUILDER = "builder"
    SOURCE = "source"
    REF = "ref"


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
        if _KMS.fullmatch(text):
            return cls(text, None)
        found = _PEM.fullmatch(text.strip())
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
            "identities": [{"issuer": who.issuer, "subject": who.subject} for who in self.identities],
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


@value
class Attached:
    """The kind of attached signatures or statements that a gate counts, and the words for its results. `one`: a noun;
    `evidence`: the key of its facts; `is_meant`: whether a verdict of `verify_origin` is about this kind; `may_hold`:
    whether a referrer without a verdict may hold one."""

    gate: str
    one: str
    evidence: str
    passed: str
    missing: str
    is_meant: Callable[[Origin], bool]
    may_hold: Callable[[Referred], bool]


_SIGNATURES = Attached(
    gate="signed",
    one="signature",
    evidence="by",
    passed="signed by ",
    missing="no signature yet",
    is_meant=lambda origin: origin.statement is None,
    may_hold=lambda referred: is_signature(referred.artifact_type, referred.predicates),
)


def judge(config: Signers, case: Case) -> GateResult:
    """Passed where the image (with `on: platforms`, each platform image of an index) has one valid signature, whatever
    else is attached to it; waiting where there is none, or one is not verified yet; else failed."""
    keys = {"keys": [key.name for key in config.keys]}

    def judge_one(digest: Digest, facts: tuple[Fact, ...]) -> GateResult:
        result = judge_attached(_SIGNATURES, config, case, (digest, facts), lambda _, by: (None, by))
        return replace(result, facts={**result.facts, **keys})

    return judge_images("signed", config.on, case, judge_one)


def judge_images(
    gate: str, on: On, case: Case, judge_one: Callable[[Digest, tuple[Fact, ...]], GateResult]
) -> GateResult:
    """The result for the image itself, or with `on: platforms` the worst result of an index's platform images."""
    if on is On.INDEX or case.image.is_index is False:
        return judge_one(case.image.digest, case.image.facts)
    if not case.image.platforms:
        return GateResult(gate, WAITING, "the platform images of the index are not known yet")
    names = case.image.platform_names
    results = [
        (names.get(digest, digest.short), judge_one(digest, facts))
        for digest, facts in sorted(case.image.platforms.items())
    ]
    facts = {"images": [dict(result.facts) for _, result in results]}
    for verdict in (FAILED, WAITING):
        if bad := [f"{name}: {result.reason}" for name, result in results if result.verdict == verdict]:
            return GateResult(gate, verdict, "; ".join(bad), facts)
    return GateResult(gate, PASSED, "; ".join(f"{name}: {result.reason}" for name, result in results), facts)


def judge_attached(
    what: Attached,
    signers: Signers,
    case: Case,
    image: tuple[Digest, tuple[Fact, ...]],
    accept: Callable[[Origin, str], tuple[Flaw | None, str]],
) -> GateResult:
    """The result for what is attached to one `image` (its digest and facts). `accept` gets the verdict about a
    signature of a trusted signer, and the signer's name; it returns why it does not count (None: it does), and the
    same in words. One that counts is enough, whatever else is attached."""
    digest, facts = image
    signers = signers.beside(case.policy)
    looked = [origin for origin in _origins(case, facts) if what.is_meant(origin)]
    good: list[str] = []
    refused: list[tuple[str, Origin, Flaw]] = []
    unseen = unseen_in(what, case, facts)
    for verdicts in _by_signature(looked):
        if verdicts[-1].form == FORM:
            verdicts = verdicts[-1:]
        signed = next(((origin, by) for origin in verdicts if (by := signer_of(signers, origin))), None)
        if not (holds(verdicts[-1], case.now) and (verdicts[-1].form != FORM or _covers(signers, verdicts[-1]))):
            unseen.append(verdicts[-1].referrer)
        elif signed is not None:
            origin, _ = signed
            flaw, words = accept(*signed)
            if flaw is None:
                good.append(words)
            else:
                refused.append((words, origin, flaw))
        elif current := [origin for origin in verdicts if _covers(signers, origin)]:
            flaw = Flaw.UNTRUSTED if current[-1].is_verified else Flaw.UNVERIFIED
            refused.append((_words(current[-1]), current[-1], flaw))
        else:
            unseen.append(verdicts[-1].referrer)
    bad = sorted(words for words, _, _ in refused)
    evidence = {
        "digest": digest,
        what.evidence: sorted(good),
        "refused": bad,
        "refusals": [{"referrer": r, "flaw": f} for r, f in sorted((o.referrer, str(f)) for _, o, f in refused)],
        "not_looked_at": sorted(unseen),
    }
    others = f"; does not count: {'; '.join(bad)}" if bad else ""
    if good:
        return GateResult(what.gate, PASSED, f"{what.passed}{', '.join(sorted(set(good)))}{others}", evidence)
    if unseen:
        reason = f"{counted(len(unseen), what.one)} not verified yet with the present keys and roots{others}"
        return GateResult(what.gate, WAITING, reason, evidence)
    if bad:
        return GateResult(what.gate, FAILED, f"no {what.one} counts: {'; '.join(bad)}", evidence)
    return GateResult(what.gate, WAITING, what.missing, evidence)


def unseen_in(what: Attached, case: Case, facts: tuple[Fact, ...]) -> list[str]:
    """The digests of the referrers in the source environment that may hold one, and have no verdict yet."""
    places = case.source_places
    known = {origin.referrer for origin in _origins(case, facts)}
    attached = Referred.of(f for f in facts if f.kind is Kind.REFERRED and case.image.still_refers(f))
    return [r.referrer for r in attached if r.repository in places and r.referrer not in known and what.may_hold(r)]


def _origins(case: Case, facts: tuple[Fact, ...]) -> list[Origin]:
    """The verdicts about referrers that are still in the source environment, oldest first."""
    places = case.source_places
    there = [f for f in facts if f.kind is Kind.ORIGIN and case.image.still_refers(f)]
    found = Origin.of(sorted(there, key=lambda f: (f.seen, f.id)))
    return [origin for origin in found if origin.repository in places]


def _by_signature(found: Iterable[Origin]) -> Iterable[list[Origin]]:
    """The verdicts grouped by signature, in their order."""
    grouped: dict[str, list[Origin]] = {}
    for origin in found:
        grouped.setdefault(origin.signature, []).append(origin)
    return grouped.values()


def signer_of(config: Signers, origin: Origin) -> str | None:
    """The trusted signer of this signature, for people; None: none of them, or the signature was refused."""
    if not origin.is_verified:
        return None
    if origin.form == FORM:
        return notation_signer(config.notation, origin)
    for key in config.keys:
        if key.name in origin.keys:
            return f"key {shown(key.name)}"
    who = origin.identity
    if not who or config.roots not in (None, origin.roots):
        return None
    if any(i.issuer == who["issuer"] and glob_matches(i.subject, who["subject"]) for i in config.identities):
        return f"{who['subject']} ({who['issuer']})"
    return None


def _covers(config: Signers, origin: Origin) -> bool:
    """Whether the signature was verified with every key of the policy and, for identities, with its roots."""
    if origin.form == FORM:
        current = (origin.roots or "").startswith(ROOTS) and config.stores in (None, origin.roots)
        return not config.notation or (current and {str(each) for each in config.notation} <= set(origin.looked))
    if not {key.name for key in config.keys} <= set(origin.looked):
        return False
    if not config.identities or origin.keys:
        return True
    return origin.roots is not None and config.roots in (None, origin.roots)


def _words(origin: Origin) -> str:
    """Why a signature does not count that was verified with all keys and roots of the policy."""
    name = Digest(origin.referrer).short
    if not origin.is_verified:
        return f"{name}: {origin.reason}"
    who = origin.identity
    if origin.form == FORM:
        return f"{name}: signed by {name_of(who or {})}, whom the policy does not name"
    by = f"{who['subject']} ({who['issuer']})" if who else ", ".join(shown(key) for key in origin.keys)
    return f"{name}: signed by {by}, whom the policy does not name"


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

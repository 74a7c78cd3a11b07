"""The gate `signed` with `keys`, `identities` and `notation`: one of them has signed this very digest, verified.

It is judged from the facts that `verify_origin` records, one a signature, and from the present policy: a key that was
taken out of it does not count any more, whatever was verified with it.
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
from tallyman.values import value

_PEM = re.compile(r"-----BEGIN PUBLIC KEY-----\s+([A-Za-z0-9+/=\s]+)-----END PUBLIC KEY-----\s*")
_KMS = re.compile(r"arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]{1,64}")
NO_ROOTS = "none"
"""Of signers whose policy has no trust roots beside it: no file has this SHA-256."""
_SHOWN = 19
"""Characters of a fingerprint in a reason."""


def shown(name: str) -> str:
    """The name of a key, for people: the beginning of a fingerprint, or an ARN."""
    return name if name.startswith("arn:") else name[:_SHOWN]


class On(StrEnum):
    """What has to be signed of an index: the index itself, or each of its platform images."""

    INDEX = "index"
    PLATFORMS = "platforms"


@value
class SignerKey:
    """A public key, as PEM. `name`: `SHA256:<hex>` of its SubjectPublicKeyInfo; of a key of KMS its ARN, and `pem` is
    None: `verify_origin` reads it there."""

    name: str
    pem: str | None

    @classmethod
    def parse(cls, text: str) -> "SignerKey":
        """Raises ValueError. Whether the key is of an allowed kind `verify_origin` says, which can read it."""
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
    """Who signs without a key of their own, as the certificate says: `subject` may be a glob."""

    issuer: str
    subject: str

    def __str__(self) -> str:
        return f"{self.subject} ({self.issuer})"


@value
class Signers(GateConfig):
    """Any of these may sign. `roots`: SHA-256 of the `trusted_root.json` that vouches for identities; None: the one
    that lies beside the policy. `stores`: digest of Notation's trust stores; None: any."""

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
        """With the trust roots by which the present policy judges: what another file vouched for is asked anew."""
        if policy.roots == ANY_ROOTS:
            return self
        roots, stores = split_roots(policy.roots)
        return replace(self, roots=self.roots or roots or NO_ROOTS, stores=stores or NO_ROOTS)

    @property
    def by(self) -> str:
        """Who, for people."""
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
    """A gate that asks for signers of something else than the image. None: those of `signed`, in the same promotion."""

    signers: Signers | None = None

    @property
    def trusted(self) -> Signers | None:
        return self.signers


def signers_of(promotions: Iterable[Promotion]) -> tuple[Signers, ...]:
    """What these promotions ask for; empty: none asks for signers."""
    gates = (gate for promotion in promotions for gate in promotion.gates.values())
    return tuple(signers for gate in gates if (signers := gate.trusted) is not None)


@value
class Attached:
    """What a gate counts of all that is attached to an image, and how it says so. `is_meant`: whether a verdict of
    `verify_origin` is about it; `may_hold`: whether a referrer that was not looked at may hold one."""

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
    """Passed where the image (with `on: platforms` each platform image of an index) has one good signature, whatever
    else is attached to it; waiting where none is there or one was not looked at yet; else failed."""
    keys = {"keys": [key.name for key in config.keys]}

    def judge_one(digest: Digest, facts: tuple[Fact, ...]) -> GateResult:
        result = judge_attached(_SIGNATURES, config, case, (digest, facts), lambda _, by: (True, by))
        return replace(result, facts={**result.facts, **keys})

    return judge_images("signed", config.on, case, judge_one)


def judge_images(
    gate: str, on: On, case: Case, judge_one: Callable[[Digest, tuple[Fact, ...]], GateResult]
) -> GateResult:
    """The image itself, or of an index each of its platform images: the worst verdict of them."""
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
    accept: Callable[[Origin, str], tuple[bool, str]],
) -> GateResult:
    """Judges what a signer of the policy has signed of one image. `accept` gets a verdict and who signed, and says
    whether it counts, and the words for that. One that counts is enough, whatever else is attached."""
    digest, facts = image
    signers = signers.beside(case.policy)
    looked = [origin for origin in _origins(case, facts) if what.is_meant(origin)]
    good: list[str] = []
    bad: list[str] = []
    unseen = unseen_in(what, case, facts)
    for verdicts in _by_signature(looked):
        if verdicts[-1].form == FORM:
            verdicts = verdicts[-1:]
        signed = next(((origin, by) for origin in verdicts if (by := signer_of(signers, origin))), None)
        if not (holds(verdicts[-1], case.now) and (verdicts[-1].form != FORM or _covers(signers, verdicts[-1]))):
            unseen.append(verdicts[-1].referrer)
        elif signed is not None:
            counts, words = accept(*signed)
            (good if counts else bad).append(words)
        elif current := [origin for origin in verdicts if _covers(signers, origin)]:
            bad.append(_flaw(current[-1]))
        else:
            unseen.append(verdicts[-1].referrer)
    bad.sort()
    evidence = {"digest": digest, what.evidence: sorted(good), "refused": bad, "not_looked_at": sorted(unseen)}
    others = f"; does not count: {'; '.join(bad)}" if bad else ""
    if good:
        return GateResult(what.gate, PASSED, f"{what.passed}{', '.join(sorted(set(good)))}{others}", evidence)
    if unseen:
        count = f"{len(unseen)} {what.one}{'s'[: len(unseen) > 1]}"
        reason = f"{count} not verified yet with the present keys and roots{others}"
        return GateResult(what.gate, WAITING, reason, evidence)
    if bad:
        return GateResult(what.gate, FAILED, f"no {what.one} counts: {'; '.join(bad)}", evidence)
    return GateResult(what.gate, WAITING, what.missing, evidence)


def unseen_in(what: Attached, case: Case, facts: tuple[Fact, ...]) -> list[str]:
    """The referrers there that may hold one, and about which no verdict is."""
    places = {str(place) for place in case.source_repositories}
    known = {origin.referrer for origin in _origins(case, facts)}
    attached = Referred.of(f for f in facts if f.kind is Kind.REFERRED and case.image.still_refers(f))
    return [r.referrer for r in attached if r.repository in places and r.referrer not in known and what.may_hold(r)]


def _origins(case: Case, facts: tuple[Fact, ...]) -> list[Origin]:
    """Every verdict about what is still attached to the image in the source environment, oldest first."""
    places = {str(place) for place in case.source_repositories}
    there = [f for f in facts if f.kind is Kind.ORIGIN and case.image.still_refers(f)]
    found = Origin.of(sorted(there, key=lambda f: (f.seen, f.id)))
    return [origin for origin in found if origin.repository in places]


def _by_signature(found: Iterable[Origin]) -> Iterable[list[Origin]]:
    """The verdicts about each signature, in their order."""
    grouped: dict[str, list[Origin]] = {}
    for origin in found:
        grouped.setdefault(origin.signature, []).append(origin)
    return grouped.values()


def signer_of(config: Signers, origin: Origin) -> str | None:
    """Who of the policy made this signature; None: none of them, or it is no good."""
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
    """Whether the signature was verified with every key of the policy, and where identities count, with its roots."""
    if origin.form == FORM:
        current = (origin.roots or "").startswith(ROOTS) and config.stores in (None, origin.roots)
        return not config.notation or (current and {str(each) for each in config.notation} <= set(origin.looked))
    if not {key.name for key in config.keys} <= set(origin.looked):
        return False
    if not config.identities or origin.keys:
        return True
    return origin.roots is not None and config.roots in (None, origin.roots)


def _flaw(origin: Origin) -> str:
    """Why a signature that was verified with all that the policy names does not count."""
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
    """As the keys of a policy say."""
    return Signers(tuple(keys), tuple(identities), on, roots, tuple(notation))


_IDENTITY = Record(
    {
        "issuer": Key(String(what="the issuer of the identity, a URL"), "The OIDC issuer, exactly.", required=True),
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
        "Public keys (PEM, or the ARN of a key of KMS): ECDSA on P-256 or P-384, RSA from 2048 bits, Ed25519.",
    ),
    "identities": Key(ListOf(_IDENTITY, least=1), "Who signs by a certificate, as Sigstore's keyless signing has it."),
    "on": Key(Choice(On), "What has to be signed of an index: index (default), or platforms: each platform image."),
    "roots": Key(
        String(r"sha256:[0-9a-f]{64}", "sha256: and 64 digits"),
        "The SHA-256 of the trusted_root.json that counts; without it, the one that lies beside the policy now.",
    ),
}
SHAPE = Record(
    {**KEYS, "notation": NOTATION}, signers_from, expected='signers, as in {keys: ["-----BEGIN PUBLIC KEY-----…"]}'
)

"""The gate `signed`: the image has a signature, or ECR's managed signing has signed it.

Without signers, the gate only reads that a signature exists (a referrer with the type of a signature), or AWS's status
of managed signing and its profile. With `keys`, `identities` or `notation`, only verified signatures count (see
`attached`).
"""

from collections.abc import Mapping
from dataclasses import replace

from tallyman.domain.gates import signers
from tallyman.domain.gates.attached import Attached, judge_attached, judge_images
from tallyman.domain.gates.case import FAILED, PASSED, WAITING, Case, Gate, GateResult
from tallyman.domain.history.details.referrers import Referred, Signing
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.images.signatures import NOTATION, is_signature
from tallyman.domain.names import Digest
from tallyman.domain.policy.gates import GateConfig
from tallyman.domain.policy.reading import Node
from tallyman.domain.policy.shapes import Boolean, Key, ListOf, Record, Schema, String
from tallyman.domain.policy.tags import glob_matches
from tallyman.domain.text import counted
from tallyman.values import value

_BY_WHOM = ("keys", "identities", "notation")


@value
class SignedGate(GateConfig):
    """`profiles`: globs of signing profiles (ARN or name) of ECR's managed signing; empty: any signature counts.
    `required` False: the gate passes without a signature."""

    required: bool = True
    profiles: tuple[str, ...] = ()

    def __str__(self) -> str:
        by = f" (by {', '.join(self.profiles)})" if self.profiles else ""
        return f"signed{by}" if self.required else "signed or not"


class _Signed:
    """`true`, `{by: […]}`, or `{keys: […], identities: […], notation: […]}`."""

    _by = Record(
        {
            "by": Key(
                ListOf(String(what="a signing profile: its ARN or name, or a glob of them"), least=1),
                "Signing profiles of ECR's managed signing, by ARN, name or glob; then no other signature counts.",
                required=True,
            )
        },
        lambda by: SignedGate(True, by),
        expected="true, or {by: [release_*]}",
    )
    _flag = Boolean(SignedGate)

    def read(self, node: Node) -> SignedGate | signers.Signers:
        if isinstance(node.value, Mapping):
            gate: SignedGate | signers.Signers
            gate = signers.SHAPE.read(node) if set(_BY_WHOM) & set(node.value) else self._by.read(node)
            return gate
        flag: SignedGate = self._flag.read(node)
        if flag.required:
            node.warn(
                "anybody who can push can attach a signature, and nobody checks whose it is: name keys, identities or "
                "signing profiles"
            )
        return flag

    def schema(self) -> Schema:
        signed_by = {**signers.SHAPE.schema(), "anyOf": [{"required": [key]} for key in _BY_WHOM]}
        return {"anyOf": [self._flag.schema(), self._by.schema(), signed_by]}


def judge(config: SignedGate | signers.Signers, case: Case) -> GateResult:
    """With signers: see `_judge_verified`. Else passed where the image, or each platform image of an index, is
    signed."""
    if isinstance(config, signers.Signers):
        return _judge_verified(config, case)
    if not config.required:
        return GateResult("signed", PASSED, "the policy does not require it")
    itself = _judge_one(config, case, case.image.digest, case.image.facts)
    if itself.verdict == PASSED or not case.image.platforms:
        return itself
    beneath = [_judge_one(config, case, digest, facts) for digest, facts in sorted(case.image.platforms.items())]
    if all(result.verdict == PASSED for result in beneath):
        facts = {"images": [dict(result.facts) for result in beneath]}
        return GateResult(
            "signed", PASSED, f"each of its {len(beneath)} platform images is: {beneath[0].reason}", facts
        )
    return itself


_SIGNATURES = Attached(
    gate="signed",
    one="signature",
    evidence="by",
    passed="signed by ",
    missing="no signature yet",
    is_meant=lambda origin: origin.statement is None,
    may_hold=lambda referred: is_signature(referred.artifact_type, referred.predicates),
)


def _judge_verified(config: signers.Signers, case: Case) -> GateResult:
    """Passed where the image (with `on: platforms`, each platform image of an index) has one valid signature, whatever
    else is attached to it; waiting where there is none, or one is not verified yet; else failed."""
    keys = {"keys": [key.name for key in config.keys]}

    def judge_one(digest: Digest, facts: tuple[Fact, ...]) -> GateResult:
        result = judge_attached(_SIGNATURES, config, case, (digest, facts), lambda _, by: (None, by))
        return replace(result, facts={**result.facts, **keys})

    return judge_images("signed", config.on, case, judge_one)


def _judge_one(config: SignedGate, case: Case, digest: Digest, facts: tuple[Fact, ...]) -> GateResult:
    places = case.source_places
    signings = [f for f in facts if f.kind is Kind.SIGNING and str(f.repository) in places]
    statuses = Signing.parse(max(signings, key=lambda f: (f.seen, f.id))).statuses if signings else []
    ever = [f for f in facts if f.kind is Kind.REFERRED and _is_signature_in(Referred.parse(f), places)]
    found = {referred.referrer: referred for referred in Referred.of(f for f in ever if case.image.still_refers(f))}
    referrers = [{"digest": digest, "type": found[digest].artifact_type} for digest in sorted(found)]
    data = {"digest": digest, "signatures": referrers, "managed": statuses}
    complete = [s["profile"] for s in statuses if s["status"] == "complete"]
    counting = [p for p in complete if not config.profiles or _matches(p, config.profiles)]
    if counting:
        return GateResult("signed", PASSED, f"ECR has signed it with {_name(counting[0])}", data)
    if referrers and not config.profiles:
        what = "Notation" if referrers[0]["type"] == NOTATION else "cosign"
        return GateResult("signed", PASSED, f"{counted(len(referrers), 'signature')} ({what})", data)
    wanted = f"; only {', '.join(config.profiles)} counts" if config.profiles else ""
    if any(s["status"] == "in_progress" for s in statuses):
        return GateResult("signed", WAITING, "ECR is signing it", data)
    failed = [s for s in statuses if s["status"] == "failed"]
    if failed:
        return GateResult("signed", FAILED, f"ECR could not sign it: {failed[0]['reason'] or 'no reason given'}", data)
    if complete:
        return GateResult("signed", FAILED, f"it is signed by {_name(complete[0])}{wanted}", data)
    if referrers:
        return GateResult("signed", WAITING, f"a signature is there, but ECR does not report whose{wanted}", data)
    return GateResult("signed", WAITING, "its signature was removed" if ever else "no signature yet", data)


def _is_signature_in(referred: Referred, places: frozenset[str]) -> bool:
    return referred.repository in places and is_signature(referred.artifact_type, referred.predicates)


def _matches(profile: str, globs: tuple[str, ...]) -> bool:
    return any(glob_matches(glob, text) for glob in globs for text in (profile, _name(profile)))


def _name(profile: str) -> str:
    """The name of a signing profile: the last part of its ARN."""
    return profile.rpartition("/")[2]


GATE: Gate = Gate(
    _Signed(),
    "The image must be signed: by a key or identity, by a profile of ECR's managed signing, or (true) by anybody.",
    judge,
)

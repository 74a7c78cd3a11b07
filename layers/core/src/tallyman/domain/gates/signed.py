"""The gate `signed`: a signature of the image is there, or ECR's managed signing has signed it.

What is read is that a signature exists (a referrer of a signature's type), and AWS's word that managed signing
completed and by which profile. No signature is checked against a key here.
"""

from collections.abc import Mapping

from tallyman.domain.gates.case import FAILED, PASSED, WAITING, Case, Gate, GateResult
from tallyman.domain.history.details.referrers import Referred, Signing
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.names import Digest
from tallyman.domain.policy.gates import GateConfig
from tallyman.domain.policy.reading import Node
from tallyman.domain.policy.shapes import Boolean, Key, ListOf, Record, Schema, String
from tallyman.domain.policy.tags import glob_matches
from tallyman.values import value

NOTATION = "application/vnd.cncf.notary.signature"
COSIGN = ("application/vnd.dev.cosign.artifact.sig.v1+json", "application/vnd.dev.cosign.simplesigning.v1+json")
BUNDLE = "application/vnd.dev.sigstore.bundle"
"""Prefix of Sigstore's bundles: signatures, unless they hold a predicate of another type."""
SIGN_PREDICATE = "https://sigstore.dev/cosign/sign/"


@value
class SignedGate(GateConfig):
    """`profiles`: globs of signing profiles (ARN or name) of ECR's managed signing; empty: any signature counts."""

    required: bool = True
    profiles: tuple[str, ...] = ()

    def __str__(self) -> str:
        by = f" (by {', '.join(self.profiles)})" if self.profiles else ""
        return f"signed{by}" if self.required else "signed or not"


class _Signed:
    """`true`, or `{by: […]}`."""

    _by = Record(
        {
            "by": Key(
                ListOf(String(what="a signing profile: its ARN or name, or a glob of them"), least=1),
                "Signing profiles of ECR's managed signing, by ARN, name or glob; no other signature counts then.",
                required=True,
            )
        },
        lambda by: SignedGate(True, by),
        expected="true, or {by: [release_*]}",
    )
    _flag = Boolean(SignedGate)

    def read(self, node: Node) -> SignedGate:
        gate: SignedGate = (self._by if isinstance(node.value, Mapping) else self._flag).read(node)
        return gate

    def schema(self) -> Schema:
        return {"anyOf": [self._flag.schema(), self._by.schema()]}


def judge(config: SignedGate, case: Case) -> GateResult:
    """An index is signed where it is itself, or where each of its platform images is."""
    if not config.required:
        return GateResult("signed", PASSED, "the policy does not ask for it")
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


def _judge_one(config: SignedGate, case: Case, digest: Digest, facts: tuple[Fact, ...]) -> GateResult:
    places = {str(place) for place in case.source_repositories}
    signings = [f for f in facts if f.kind is Kind.SIGNING and str(f.repository) in places]
    statuses = Signing.parse(max(signings, key=lambda f: (f.seen, f.id))).statuses if signings else []
    ever = [f for f in facts if _is_signature(f, places)]
    found = {referred.referrer: referred for referred in Referred.of(f for f in ever if case.image.still_refers(f))}
    referrers = [{"digest": digest, "type": found[digest].artifact_type} for digest in sorted(found)]
    data = {"digest": digest, "signatures": referrers, "managed": statuses}
    complete = [s["profile"] for s in statuses if s["status"] == "complete"]
    counting = [p for p in complete if not config.profiles or _matches(p, config.profiles)]
    if counting:
        return GateResult("signed", PASSED, f"ECR has signed it with {_name(counting[0])}", data)
    if referrers and not config.profiles:
        what = "Notation" if referrers[0]["type"] == NOTATION else "cosign"
        return GateResult("signed", PASSED, f"{len(referrers)} signature{'s'[: len(referrers) > 1]} ({what})", data)
    wanted = f"; only {', '.join(config.profiles)} counts" if config.profiles else ""
    if any(s["status"] == "in_progress" for s in statuses):
        return GateResult("signed", WAITING, "ECR is signing it", data)
    failed = [s for s in statuses if s["status"] == "failed"]
    if failed:
        return GateResult("signed", FAILED, f"ECR could not sign it: {failed[0]['reason'] or 'no reason given'}", data)
    if complete:
        return GateResult("signed", FAILED, f"it is signed by {_name(complete[0])}{wanted}", data)
    if referrers:
        return GateResult("signed", WAITING, f"a signature is there, but ECR does not tell whose{wanted}", data)
    return GateResult("signed", WAITING, "its signature was removed" if ever else "no signature yet", data)


def _is_signature(fact: Fact, places: set[str]) -> bool:
    if fact.kind is not Kind.REFERRED or (referred := Referred.parse(fact)).repository not in places:
        return False
    kind = referred.artifact_type or ""
    predicates = referred.predicates or ()
    if kind.startswith(BUNDLE):
        return all(str(p).startswith(SIGN_PREDICATE) for p in predicates)
    return kind == NOTATION or kind in COSIGN


def _matches(profile: str, globs: tuple[str, ...]) -> bool:
    return any(glob_matches(glob, text) for glob in globs for text in (profile, _name(profile)))


def _name(profile: str) -> str:
    """The name of a signing profile: the last part of its ARN."""
    return profile.rpartition("/")[2]


GATE: Gate = Gate(_Signed(), "The image is signed: a signature is there, or ECR's managed signing completed.", judge)

"""The gate `verified`: the source's bytes were checked against their digests, as the policy asks."""

from datetime import datetime

from tallyman.domain.gates.case import FAILED, PASSED, WAITING, Case, Gate, GateResult
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.policy import Layers
from tallyman.domain.policy.gates import GateConfig
from tallyman.domain.policy.shapes import Boolean
from tallyman.domain.times import format_time
from tallyman.values import value


@value
class VerifiedGate(GateConfig):
    """The image was verified and passed. `required` False: the gate passes whatever verification said."""

    required: bool = True

    def __str__(self) -> str:
        return "verified" if self.required else "verified or not"


def judge(config: VerifiedGate, case: Case) -> GateResult:
    """Judges by the newest verification in the source environment that went as far as the policy asks.

    What a verification found about one tag counts only if that tag is among those that go.
    """
    if not config.required:
        return GateResult("verified", PASSED, "the policy does not ask for it")
    wanted = case.policy.repository(case.repository).verify.layers
    found = [
        fact
        for fact in case.image.of(Kind.VERIFIED)
        if fact.repository in case.source_repositories and (wanted is Layers.PRESENCE or fact.detail["level"] == wanted)
    ]
    if not found:
        return GateResult("verified", WAITING, f"not verified yet ({wanted} asked for)", {"level": str(wanted)})
    newest = max(found, key=_order)
    checks = [c for c in newest.detail["checks"] if c.get("tag") is None]
    for tag in case.tags:  # each verification checks one tag: an image's other tags have theirs
        if of_tag := [fact for fact in found if fact.tag == tag]:
            told = max(of_tag, key=_order).detail["checks"]
            # that a target has the tag already is the gate `target`'s to say: it asks the targets themselves
            checks += [c for c in told if c.get("tag") == tag and c["name"] != "same_everywhere"]
    bad = [c for c in checks if c["verdict"] == "failed"] or [c for c in checks if c["verdict"] != "passed"]
    facts = {
        "level": newest.detail["level"],
        "at": format_time(newest.at),
        "repository": str(newest.repository),
    }
    if not bad and checks:
        return GateResult("verified", PASSED, f"{len(checks)} checks passed", facts)
    verdict = FAILED if bad and bad[0]["verdict"] == "failed" else WAITING
    reason = "; ".join(c["reason"] or c["name"] for c in bad[:3]) or "the verification checked nothing"
    return GateResult("verified", verdict, reason, {**facts, "checks": bad[:10]})


def _order(fact: Fact) -> tuple[datetime, str]:
    return fact.seen, fact.id


GATE: Gate = Gate(Boolean(VerifiedGate), "The image was verified (see `verify`) and passed.", judge, overridable=False)

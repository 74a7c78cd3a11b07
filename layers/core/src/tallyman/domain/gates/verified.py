"""The gate `verified`: the image in the source environment was verified as the policy's `verify` requires.

Where a promotion brought the image to the source environment, that counts as `content`: every layer was hashed while it
was copied, the registry checked each digest on arrival, and the manifests were read back (docs/promotion.md).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tallyman.domain.gates.case import FAILED, PASSED, WAITING, Case, Gate, GateResult
from tallyman.domain.history.details.promotions import Promoted
from tallyman.domain.history.details.verifications import Unreadable, Verified
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.history.fold import was_removed
from tallyman.domain.names import Repository
from tallyman.domain.policy import Layers
from tallyman.domain.policy.gates import GateConfig
from tallyman.domain.policy.shapes import Boolean
from tallyman.domain.times import format_time
from tallyman.values import value


@value
class VerifiedGate(GateConfig):
    """Requires that the image passed verification. `required` False: the gate always passes."""

    required: bool = True

    def __str__(self) -> str:
        return "verified" if self.required else "verified or not"


def judge(config: VerifiedGate, case: Case) -> GateResult:
    """The verdict of the newest verification in the source environment at the level that the policy requires.

    Checks of one tag count only if that tag is to be promoted.
    """
    if not config.required:
        return GateResult("verified", PASSED, "the policy does not require it")
    wanted = case.policy.repository(case.repository).verify.layers
    brought = {} if wanted is Layers.PRESENCE else _brought(case)
    found = [
        fact
        for fact in case.image.of(Kind.VERIFIED)
        if fact.repository in case.source_repositories
        and (wanted is Layers.PRESENCE or Verified.parse(fact).level == wanted or fact.repository in brought)
    ]
    flaws = [f for f in case.image.of(Kind.UNREADABLE) if f.repository in case.source_repositories]
    flaw = max(flaws, key=_order, default=None)
    if flaw is not None and all(_order(fact) <= _order(flaw) for fact in found):
        at = {"at": format_time(flaw.at), "repository": str(flaw.repository)}
        return GateResult("verified", FAILED, f"its manifest can't be read: {Unreadable.parse(flaw).reason}", at)
    if not found:
        return GateResult(
            "verified", WAITING, f"not verified yet (the policy requires {wanted})", {"level": str(wanted)}
        )
    newest = max(found, key=_order)
    verified_as = Verified.parse(newest)
    checks = [c for c in verified_as.checks if c.get("tag") is None]
    for tag in case.tags:  # each verification checks one tag; an image's other tags have their own verifications
        if of_tag := [fact for fact in found if fact.tag == tag]:
            # the gate `target` decides about tags that exist in the target: it reads the targets themselves
            checks += [c for c in _newest_checks(of_tag) if c.get("tag") == tag and c["name"] != "same_everywhere"]
    bad = [c for c in checks if c["verdict"] == "failed"] or [c for c in checks if c["verdict"] != "passed"]
    facts: dict[str, Any] = {
        "level": verified_as.level,
        "at": format_time(newest.at),
        "repository": str(newest.repository),
    }
    promotion = brought.get(newest.repository) if newest.repository and verified_as.level != wanted else None
    rests_on = ""
    if promotion is not None:
        source, target = Promoted.parse(promotion).source, case.source.name
        facts |= {"content": {"promotion": promotion.id, "from": source, "at": format_time(promotion.at)}}
        rests_on = f"; its content was checked when it was promoted from {source} to {target}"
    if not bad and checks:
        return GateResult("verified", PASSED, f"{len(checks)} checks passed{rests_on}", facts)
    verdict = FAILED if bad and bad[0]["verdict"] == "failed" else WAITING
    reason = "; ".join(c["reason"] or c["name"] for c in bad[:3]) or "the verification checked nothing"
    return GateResult("verified", verdict, reason, {**facts, "checks": bad[:10]})


def _brought(case: Case) -> dict[Repository, Fact]:
    """The repositories of the source environment to which a promotion brought the whole image, with that promotion.

    Without those from which the image was ever removed: it may have come back another way.
    """
    found = {}
    for fact in case.image.of(Kind.PROMOTED):
        promoted = Promoted.parse(fact)
        if not promoted.is_into(case.source, case.repository, case.policy.environments):
            continue
        for place in case.source_repositories:
            if promoted.reached(place) and not was_removed(case.image.facts, place):
                found[place] = fact
    return found


def _newest_checks(found: list[Fact]) -> Sequence[Mapping[str, Any]]:
    return Verified.parse(max(found, key=_order)).checks


def _order(fact: Fact) -> tuple[datetime, str]:
    return fact.seen, fact.id


GATE: Gate = Gate(Boolean(VerifiedGate), "The image must pass verification (see `verify`).", judge, overridable=False)

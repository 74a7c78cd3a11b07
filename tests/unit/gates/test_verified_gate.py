"""The gate `verified`: which verification decides, and for which tag."""

from support.fakes.ports import FakeClock
from support.images import builders as b
from tallyman.adapters.files import policy_file
from tallyman.domain.decide import decide_all
from tallyman.domain.gates import ImageFacts
from tallyman.domain.history.facts import Fact

POLICY = policy_file.loads(
    b"""
environments:
  dev:  {registries: [111111111111/us-east-2]}
  prod: {registries: [222222222222/us-east-2]}
repositories:
  - match: rocketseat/*
    promotions: [{from: dev, to: prod, tags: [semver], gates: {verified: true}}]
""",
    "tallyman.yaml",
)
DIGEST = b.digest_of("image")


def checks(tag: str, verdict: str) -> list[dict[str, str]]:
    return [
        {"name": "manifest_digest", "verdict": "passed", "reason": "hashed"},
        {"name": "tag_unmoved", "verdict": verdict, "reason": f"{tag} {verdict}", "tag": tag},
    ]


def verification(tag: str, verdict: str, seen: int) -> Fact:
    clock = FakeClock()
    clock.advance(seconds=seen)
    return b.verified(DIGEST, verdict, tag=tag, seen=clock(), checks=checks(tag, verdict))


def verdict_of(*facts: Fact) -> str:
    tags = ("v1.0.0", "v1.0.1")
    pushes = tuple(b.pushed(DIGEST, tag) for tag in tags)
    image = ImageFacts(DIGEST, (*pushes, *facts), {}, {(b.DEV, tag): DIGEST for tag in tags})
    (decision,) = decide_all(POLICY, image, FakeClock()())
    return next(gate.verdict for gate in decision.gates if gate.name == "verified")


def test_a_tags_failed_check_counts_although_another_tag_was_verified_later() -> None:
    assert verdict_of(verification("v1.0.0", "failed", 1), verification("v1.0.1", "passed", 2)) == "failed"


def test_a_tag_that_passes_a_second_verification_has_passed() -> None:
    facts = [verification("v1.0.0", "failed", 1), verification("v1.0.0", "passed", 2)]
    assert verdict_of(*facts, verification("v1.0.1", "passed", 3)) == "passed"


def test_without_a_verification_the_gate_waits() -> None:
    assert verdict_of() == "waiting"

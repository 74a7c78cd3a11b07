"""Chains of environments: an image goes from the first to the last without a person, each hop proven by the previous
one."""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from support.fakes.chains import Chain, chain
from support.images.builders import Built, image, multi_arch, push_event, sbom, signature
from tallyman.domain.decide import PROMOTED
from tallyman.domain.history.facts import Kind
from tallyman.domain.images.manifest import Manifest
from tallyman.domain.names import Repository
from tallyman.errors import Throttled

PLAIN = {
    "dev": {"registries": ["111111111111/us-east-2"]},
    "staging": {"registries": ["333333333333/us-east-2"]},
    "prod": {"registries": ["222222222222/us-east-2", "222222222222/sa-east-1"]},
}
RENAMED = {
    "dev": {"registries": ["111111111111/us-east-2"]},
    "staging": {"registries": ["111111111111/us-east-2"], "repository": "staging/{name}"},
    "prod": {"registries": ["111111111111/us-east-2", "111111111111/sa-east-1"], "repository": "prod/{name}"},
}
FOUR = {
    "dev": {"registries": ["111111111111/us-east-2"]},
    "test": {"registries": ["111111111111/us-east-2"], "repository": "test/{name}"},
    "staging": {"registries": ["333333333333/us-east-2", "333333333333/sa-east-1"]},
    "prod": {"registries": ["222222222222/us-east-2"], "repository": "prod/{name}"},
}
CHAINS = {"three": PLAIN, "renamed": RENAMED, "four": FOUR}


@pytest.mark.parametrize("environments", CHAINS.values(), ids=CHAINS)
@pytest.mark.parametrize("built", [image("a"), multi_arch("a", attested=True)], ids=["image", "index"])
def test_an_image_is_promoted_to_the_end_of_its_chain(environments: Mapping[str, Any], built: Built) -> None:
    system = Chain(policy=chain(environments))
    digest = system.pushed(built, "v1.0.0")
    for name in list(environments)[1:]:
        assert [system.registries.tag_of(place, "v1.0.0") for place in system.places(name)] == [digest] * len(
            system.places(name)
        )
        assert system.runs(name) == digest, name
        assert system.decision(digest, name).verdict == PROMOTED
    assert not system.refused
    assert not system.facts(Kind.STOWAWAY)


def test_referrers_are_promoted_too_and_open_the_last_gate() -> None:
    system = Chain(policy=chain(PLAIN, signed=True, attested="sbom"))
    built = image("a")
    digest = system.pushed(built, "v1.0.0")
    assert system.runs("staging") == digest
    assert system.runs("prod") is None
    staging = system.places("staging")[0]
    for referrer in (signature(built), sbom(built)):
        system.registries.push(staging, referrer, None)  # signed after it arrived in staging
    system.run()
    assert system.runs("prod") == digest
    for place in system.places("prod"):
        assert {signature(built).digest, sbom(built).digest} <= set(system.registries.held(place).manifests)


def test_the_decision_names_the_proof_of_content() -> None:
    system = Chain(policy=chain(PLAIN, soak="24h"))
    digest = system.pushed(image("a"), "v1.0.0")
    gate = next(g for g in system.decision(digest, "prod").gates if g.name == "verified")
    (promoted,) = [f for f in system.facts(Kind.PROMOTED) if f.detail["to"] == "staging"]
    assert gate.verdict == "passed"
    assert "when it was promoted from dev to staging" in gate.reason
    assert gate.facts["content"]["promotion"] == promoted.id
    assert gate.facts["content"]["from"] == "dev"


def test_content_that_reached_staging_without_a_promotion_is_read() -> None:
    system = Chain(policy=chain(PLAIN))
    staging = system.places("staging")[0]
    system.registries.push(staging, image("a"), "v1.0.0")
    system.run()
    (verified,) = [f for f in system.facts(Kind.VERIFIED) if f.repository == staging]
    assert verified.detail["level"] == "content"
    assert system.runs("prod") == image("a").digest


def test_content_that_was_removed_from_staging_and_returned_is_read() -> None:
    system = Chain(policy=chain(PLAIN, soak="24h"))
    built = image("a")
    digest = system.pushed(built, "v1.0.0")
    staging = system.places("staging")[0]
    system.registries.delete(staging, digest)
    gone = push_event(staging, digest, None, action="DELETE", at=system.clock.advance(seconds=5))
    system.record().handle(json.dumps(gone))
    system.clock.advance(seconds=5)
    system.registries.damage(staging, next(iter(built.blobs)), b"damaged")
    system.registries.push(staging, Built(built.root, built.manifests, {}), "v1.0.0")
    system.run()
    gate = next(g for g in system.decision(digest, "prod").gates if g.name == "verified")
    assert gate.verdict == "failed"
    system.clock.advance(hours=48)
    system.evaluator.digest(digest)
    system.run()
    assert system.runs("prod") is None


def test_an_unfinished_promotion_is_no_proof_of_content(monkeypatch: pytest.MonkeyPatch) -> None:
    system = Chain(policy=chain(FOUR))
    put, second = system.registries.put_manifest, system.places("staging")[1]

    def no_tags(place: Repository, manifest: Manifest, tag: str | None = None) -> None:
        if place == second and tag:
            raise Throttled("Rate exceeded")
        put(place, manifest, tag)

    monkeypatch.setattr(system.registries, "put_manifest", no_tags)
    digest = system.pushed(image("a"), "v1.0.0")
    assert system.registries.tag_of(system.places("staging")[0], "v1.0.0") == digest
    gate = next(g for g in system.decision(digest, "prod").gates if g.name == "verified")
    assert gate.verdict == "waiting"
    assert system.runs("prod") is None
    monkeypatch.undo()
    system.run(until=timedelta(hours=1))
    assert system.runs("prod") == digest

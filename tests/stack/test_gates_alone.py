"""Every gate alone, with the deployed handlers: it keeps the image out of both regions until it opens."""

from collections.abc import Iterator
from typing import Any

import pytest

from support.images import builders as b
from support.stacks.gate_stack import Gated, gate_stack
from tallyman.domain.history.facts import Kind


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gated]:
    with gate_stack(tmp_path_factory.mktemp("gates")) as running:
        names = ("verified", "scan", "soak", "signed", "attested", "approvals", "window", "open", "recalled")
        running.push(*((name, "v1.0.0") for name in names), ("freeze", "latest"), ("order", "v1.1.0"))
        yield running


def test_verified(gated: Gated) -> None:
    gated.pushed("verified")  # for linux/amd64; the policy asks for linux/arm64
    assert gated.closed("verified") == {"verified": "failed"}


def test_tags(gated: Gated) -> None:
    gated.pushed("freeze", "latest")
    assert gated.closed("freeze", "latest") == {"tags": "failed"}


def test_scan(gated: Gated) -> None:
    image = gated.pushed("scan")
    assert gated.closed("scan") == {"scan": "waiting"}
    gated.system.scan(image, "gates/scan", "CVE-2026-1:CRITICAL")
    assert gated.closed("scan") == {"scan": "failed"}
    gated.system.scan(image, "gates/scan")
    assert gated.is_in("scan", image.digest)


def test_soak_and_its_override(gated: Gated) -> None:
    image = gated.pushed("soak")
    assert gated.closed("soak") == {"soak": "waiting"}
    gated.about("override", "soak", image.digest, gate="soak")
    assert gated.is_in("soak", image.digest)
    assert any("soak is overridden" in subject for subject in gated.system.notices())


def test_signed(gated: Gated) -> None:
    image = gated.pushed("signed")
    assert gated.closed("signed") == {"signed": "waiting"}
    gated.system.push(b.sbom(image), "gates/signed")
    assert gated.closed("signed") == {"signed": "waiting"}
    signature = b.signature(image)
    gated.system.push(signature, "gates/signed")
    assert gated.is_in("signed", image.digest)
    assert gated.system.digests_in("gates/signed", signature.digest) == [signature.digest] * 2


def test_attested(gated: Gated) -> None:
    image = gated.pushed("attested")
    assert gated.closed("attested") == {"attested": "waiting"}
    gated.system.push(b.sbom(image), "gates/attested")
    assert gated.is_in("attested", image.digest)


def test_a_signature_that_was_removed_counts_no_more_by_its_event_or_by_the_sweep(gated: Gated) -> None:
    # a gate that nobody opens blocks the image of gates/gated
    image = gated.pushed("signed-approvals", "v7.0.0")
    place = gated.system.place("gates/signed-approvals")
    ecr = {"registryId": place.registry.account, "repositoryName": place.name}
    result, found = b.signature(image, "told"), b.signature(image, "found")
    gated.system.push(result, "gates/signed-approvals")
    assert "signed" not in gated.closed("signed-approvals", "v7.0.0")
    gated.system.client("ecr").batch_delete_image(**ecr, imageIds=[{"imageDigest": result.digest}])
    gated.system.settle()
    assert gated.closed("signed-approvals", "v7.0.0")["signed"] == "waiting"
    gated.system.push(found, "gates/signed-approvals")
    assert "signed" not in gated.closed("signed-approvals", "v7.0.0")
    with gated.system.chaos(lose=1.0):
        gated.system.client("ecr").batch_delete_image(**ecr, imageIds=[{"imageDigest": found.digest}])
        gated.system.settle()
    assert "signed" not in gated.closed("signed-approvals", "v7.0.0")
    gated.system.reconcile(str(place))
    assert gated.closed("signed-approvals", "v7.0.0")["signed"] == "waiting"
    gated.system.push(found, "gates/signed-approvals")
    assert "signed" not in gated.closed("signed-approvals", "v7.0.0")


def test_approvals(gated: Gated) -> None:
    image = gated.pushed("approvals")
    assert gated.closed("approvals") == {"approvals": "waiting"}
    gated.about("approve", "approvals", image.digest, "dan", role="role/developer")
    assert gated.closed("approvals") == {"approvals": "waiting"}
    gated.about("deny", "approvals", image.digest, "bob")
    assert gated.closed("approvals") == {"approvals": "failed"}
    gated.about("approve", "approvals", image.digest)
    assert gated.is_in("approvals", image.digest)
    assert [f.kind for f in gated.system.facts(image.digest, Kind.APPROVED, Kind.DENIED)] == [
        Kind.DENIED,
        Kind.APPROVED,
    ]


def test_the_pusher_cannot_approve(gated: Gated) -> None:
    image = gated.pushed("approvals", "v1.1.0")
    gated.system.reconcile(
        "dev/gates/approvals"
    )  # CloudTrail shows who pushed: the developer, in a session named local
    assert any(f.actor for f in gated.system.facts(image.digest, Kind.PUSHED))
    gated.about("approve", "approvals", image.digest, "local")
    assert gated.closed("approvals", "v1.1.0") == {"approvals": "waiting"}
    gated.about("approve", "approvals", image.digest)
    assert gated.is_in("approvals", image.digest, "v1.1.0")


def test_window_and_its_override(gated: Gated) -> None:
    image = gated.pushed("window")
    assert gated.closed("window") == {"window": "waiting"}
    gate = next(g for g in gated.system.why("gates/window", "v1.0.0").gates if g.name == "window")
    assert gate.until is not None
    gated.about("override", "window", image.digest, gate="window")
    assert gated.is_in("window", image.digest)
    assert gated.is_in("open", gated.pushed("open").digest)


def test_order_and_its_override(gated: Gated) -> None:
    assert gated.is_in("order", gated.pushed("order", "v1.1.0").digest, "v1.1.0")
    older = gated.pushed("order", "v1.0.0")
    assert gated.closed("order") == {"order": "failed"}
    gated.about("override", "order", older.digest, gate="order")
    assert gated.is_in("order", older.digest)


@pytest.mark.parametrize("place", [{}, {"repository": "gates/freeze"}], ids=["environment", "repository"])
def test_freeze(gated: Gated, place: dict[str, Any]) -> None:
    tag = "v2.0.0" if place else "v1.0.0"
    gated.say("freeze", environment="prod", **place)
    try:
        image = gated.pushed("freeze", tag)
        assert gated.closed("freeze", tag) == {"freeze": "waiting"}
    finally:
        gated.say("thaw", environment="prod", **place)
    assert gated.is_in("freeze", image.digest, tag)


def test_a_freeze_without_permission_has_no_effect(gated: Gated) -> None:
    gated.say("freeze", "dan", role="role/developer", environment="prod")
    gate = next(g for g in gated.system.why("gates/freeze", "latest").gates if g.name == "freeze")
    assert gate.verdict == "passed"
    assert any("dan may not freeze" in letter.get("Reason", "") for letter in gated.system.dead_letters())


def test_recalled(gated: Gated) -> None:
    image = gated.pushed("recalled")
    gated.say("recall", digest=image.digest)
    gated.about("approve", "recalled", image.digest)
    assert gated.closed("recalled") == {"recalled": "failed"}
    gated.system.reconcile("dev/gates/recalled")
    assert gated.closed("recalled") == {"recalled": "failed"}

"""Every gate alone, with the deployed handlers: it keeps the image out of both regions until it opens."""

from collections.abc import Iterator
from typing import Any

import pytest

from support.images import builders as b
from support.stacks.gate_stack import Gated, gated
from tallyman.domain.history.facts import Kind


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gated]:
    with gated(tmp_path_factory.mktemp("gates")) as running:
        names = ("verified", "scan", "soak", "signed", "attested", "approvals", "window", "open", "recalled")
        running.push(*((name, "v1.0.0") for name in names), ("freeze", "latest"), ("order", "v1.1.0"))
        yield running


def test_verified(door: Gated) -> None:
    door.pushed("verified")  # for linux/amd64; the policy asks for linux/arm64
    assert door.closed("verified") == {"verified": "failed"}


def test_tags(door: Gated) -> None:
    door.pushed("freeze", "latest")
    assert door.closed("freeze", "latest") == {"tags": "failed"}


def test_scan(door: Gated) -> None:
    image = door.pushed("scan")
    assert door.closed("scan") == {"scan": "waiting"}
    door.world.scan(image, "gates/scan", "CVE-2026-1:CRITICAL")
    assert door.closed("scan") == {"scan": "failed"}
    door.world.scan(image, "gates/scan")
    assert door.is_in("scan", image.digest)


def test_soak_and_its_override(door: Gated) -> None:
    image = door.pushed("soak")
    assert door.closed("soak") == {"soak": "waiting"}
    door.about("override", "soak", image.digest, gate="soak")
    assert door.is_in("soak", image.digest)
    assert any("soak is overridden" in subject for subject in door.world.notices())


def test_signed(door: Gated) -> None:
    image = door.pushed("signed")
    assert door.closed("signed") == {"signed": "waiting"}
    door.world.push(b.sbom(image), "gates/signed")
    assert door.closed("signed") == {"signed": "waiting"}
    signature = b.signature(image)
    door.world.push(signature, "gates/signed")
    assert door.is_in("signed", image.digest)
    assert door.world.there("gates/signed", signature.digest) == [signature.digest] * 2


def test_attested(door: Gated) -> None:
    image = door.pushed("attested")
    assert door.closed("attested") == {"attested": "waiting"}
    door.world.push(b.sbom(image), "gates/attested")
    assert door.is_in("attested", image.digest)


def test_a_signature_that_was_removed_counts_no_more_by_its_event_or_by_the_sweep(door: Gated) -> None:
    # a gate that nobody opens keeps the image at the door
    image = door.pushed("signed-approvals", "v7.0.0")
    place = door.world.place("gates/signed-approvals")
    ecr = {"registryId": place.registry.account, "repositoryName": place.name}
    told, found = b.signature(image, "told"), b.signature(image, "found")
    door.world.push(told, "gates/signed-approvals")
    assert "signed" not in door.closed("signed-approvals", "v7.0.0")
    door.world.client("ecr").batch_delete_image(**ecr, imageIds=[{"imageDigest": told.digest}])
    door.world.settle()
    assert door.closed("signed-approvals", "v7.0.0")["signed"] == "waiting"
    door.world.push(found, "gates/signed-approvals")
    assert "signed" not in door.closed("signed-approvals", "v7.0.0")
    with door.world.chaos(lose=1.0):
        door.world.client("ecr").batch_delete_image(**ecr, imageIds=[{"imageDigest": found.digest}])
        door.world.settle()
    assert "signed" not in door.closed("signed-approvals", "v7.0.0")
    door.world.reconcile(str(place))
    assert door.closed("signed-approvals", "v7.0.0")["signed"] == "waiting"
    door.world.push(found, "gates/signed-approvals")
    assert "signed" not in door.closed("signed-approvals", "v7.0.0")


def test_approvals(door: Gated) -> None:
    image = door.pushed("approvals")
    assert door.closed("approvals") == {"approvals": "waiting"}
    door.about("approve", "approvals", image.digest, "dan", role="role/developer")
    assert door.closed("approvals") == {"approvals": "waiting"}
    door.about("deny", "approvals", image.digest, "bob")
    assert door.closed("approvals") == {"approvals": "failed"}
    door.about("approve", "approvals", image.digest)
    assert door.is_in("approvals", image.digest)
    assert [f.kind for f in door.world.facts(image.digest, Kind.APPROVED, Kind.DENIED)] == [Kind.DENIED, Kind.APPROVED]


def test_who_pushed_it_does_not_approve_it(door: Gated) -> None:
    image = door.pushed("approvals", "v1.1.0")
    door.world.reconcile("dev/gates/approvals")  # the trail tells who pushed: the developer, in a session called local
    assert any(f.actor for f in door.world.facts(image.digest, Kind.PUSHED))
    door.about("approve", "approvals", image.digest, "local")
    assert door.closed("approvals", "v1.1.0") == {"approvals": "waiting"}
    door.about("approve", "approvals", image.digest)
    assert door.is_in("approvals", image.digest, "v1.1.0")


def test_window_and_its_override(door: Gated) -> None:
    image = door.pushed("window")
    assert door.closed("window") == {"window": "waiting"}
    gate = next(g for g in door.world.why("gates/window", "v1.0.0").gates if g.name == "window")
    assert gate.until is not None
    door.about("override", "window", image.digest, gate="window")
    assert door.is_in("window", image.digest)
    assert door.is_in("open", door.pushed("open").digest)


def test_order_and_its_override(door: Gated) -> None:
    assert door.is_in("order", door.pushed("order", "v1.1.0").digest, "v1.1.0")
    older = door.pushed("order", "v1.0.0")
    assert door.closed("order") == {"order": "failed"}
    door.about("override", "order", older.digest, gate="order")
    assert door.is_in("order", older.digest)


@pytest.mark.parametrize("place", [{}, {"repository": "gates/freeze"}], ids=["environment", "repository"])
def test_freeze(door: Gated, place: dict[str, Any]) -> None:
    tag = "v2.0.0" if place else "v1.0.0"
    door.say("freeze", environment="prod", **place)
    try:
        image = door.pushed("freeze", tag)
        assert door.closed("freeze", tag) == {"freeze": "waiting"}
    finally:
        door.say("thaw", environment="prod", **place)
    assert door.is_in("freeze", image.digest, tag)


def test_who_may_not_freeze_freezes_nothing(door: Gated) -> None:
    door.say("freeze", "dan", role="role/developer", environment="prod")
    gate = next(g for g in door.world.why("gates/freeze", "latest").gates if g.name == "freeze")
    assert gate.verdict == "passed"
    assert any("dan may not freeze" in letter.get("Reason", "") for letter in door.world.dead_letters())


def test_recalled(door: Gated) -> None:
    image = door.pushed("recalled")
    door.say("recall", digest=image.digest)
    door.about("approve", "recalled", image.digest)
    assert door.closed("recalled") == {"recalled": "failed"}
    door.world.reconcile("dev/gates/recalled")
    assert door.closed("recalled") == {"recalled": "failed"}

"""An image whose manifest the parser refuses is recorded with its registry's answers, fails `verified`, and stops
nothing else."""

import json
from typing import Any

import pytest

from support.fakes.recording import RecordingStack, policy
from support.images.builders import DEV, PROD, image, push_event
from tallyman.domain.history.facts import Kind
from tallyman.domain.images.manifest import OCI_INDEX, OCI_MANIFEST, Manifest
from tallyman.domain.names import Digest, Repository

GOOD = json.loads(image("good").root.raw)
LAYER: dict[str, Any] = GOOD["layers"][0]
CHILD = {"mediaType": OCI_MANIFEST, "digest": image("child").digest, "size": 7}


def document(**changes: Any) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


def index(*children: Any) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(children)}).encode()


def without(key: str) -> dict[str, Any]:
    return {name: told for name, told in LAYER.items() if name != key}


REFUSED = {
    "duplicate keys": (document()[:-1] + b', "layers": []}', OCI_MANIFEST),
    "Layers": (document(Layers=[]), OCI_MANIFEST),
    "a size as text": (document(layers=[{**LAYER, "size": "7"}]), OCI_MANIFEST),
    "a layer without media type": (document(layers=[without("mediaType")]), OCI_MANIFEST),
    "a numeric platform": (index({**CHILD, "platform": {"os": 1, "architecture": 2}}), OCI_INDEX),
    "deep nesting": (b'{"schemaVersion": 2, "annotations": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", OCI_MANIFEST),
    "no JSON": (b"\xff\xfe", OCI_MANIFEST),
    "another type": (document(), "application/vnd.example+json"),
}


def held(world: RecordingStack, raw: bytes, media_type: str, tag: str, place: Repository = DEV) -> Digest:
    """Store an image in the registry without checks."""
    there, digest = world.registries.held(place), Digest.of(raw)
    there.manifests[digest] = Manifest(raw, media_type)
    there.pushed_at[digest] = world.clock()
    there.tags[tag] = digest
    return digest


@pytest.mark.parametrize("shape", REFUSED)
def test_an_event_of_an_unreadable_image_is_recorded_and_evaluated(shape: str) -> None:
    world = RecordingStack(policy(verified=True))
    digest = held(world, *REFUSED[shape], "v1.0.0")
    world.told(push_event(DEV, digest, "v1.0.0", at=world.clock()))
    (push,) = world.facts(Kind.PUSHED)
    assert (push.digest, push.tag) == (digest, "v1.0.0")
    (flaw,) = world.facts(Kind.UNREADABLE)
    assert flaw.detail["reason"]
    assert world.points_to("v1.0.0") == digest
    (decision,) = world.at_work().evaluator.image(digest)
    (gate,) = [g for g in decision.gates if g.name == "verified"]
    assert gate.verdict == "failed"
    assert "can't be read" in gate.reason


@pytest.mark.parametrize("shape", REFUSED)
def test_a_sweep_records_an_unreadable_image_and_every_other(shape: str) -> None:
    world = RecordingStack(policy(verified=True))
    first = world.registries.push(DEV, image("a"), "v1.0.0")
    bad = held(world, *REFUSED[shape], "v1.1.0")
    last = world.registries.push(DEV, image("z"), "v1.2.0")
    report = world.reconcile()
    assert [r["error"] for r in report["registries"]] == [None] * 3
    assert {f.digest for f in world.facts(Kind.PUSHED)} == {first, bad, last}
    assert {f.digest for f in world.facts(Kind.UNREADABLE)} == {bad}
    before = len(world.ledger.facts)
    world.reconcile()
    assert len(world.ledger.facts) == before  # and is known from then on


def test_an_unreadable_manifest_does_not_hide_a_stowaway() -> None:
    world = RecordingStack(policy(verified=True))
    world.reconcile()
    digest = held(world, *REFUSED["duplicate keys"], "v1.0.0", PROD)
    world.clock.advance(minutes=15)
    world.reconcile()
    assert {f.digest for f in world.facts(Kind.STOWAWAY)} == {digest}


def test_an_index_that_lists_one_child_3000_times_is_read_and_its_child_read_once() -> None:
    world = RecordingStack(policy(verified=True))
    child = world.registries.push(DEV, image("child"))
    raw = index(*[{**CHILD, "platform": {"os": "linux", "architecture": "amd64"}}] * 3000)
    digest = held(world, raw, OCI_INDEX, "v1.0.0")
    world.told(push_event(DEV, digest, "v1.0.0", at=world.clock()))
    (push,) = [f for f in world.facts(Kind.PUSHED) if f.digest == digest]
    assert [c["digest"] for c in push.detail["platforms"]] == [child]
    assert len(world.facts(Kind.CHILD_OF)) == 1


def test_an_image_that_cannot_be_recorded_does_not_stop_the_sweep_and_is_notified_the_second_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = RecordingStack(policy(verified=True))
    bad = world.registries.push(DEV, image("a"), "v1.0.0")
    good = world.registries.push(DEV, image("b"), "v1.1.0")
    append = world.ledger.append

    def refuses(fact: Any, *changes: Any) -> Any:
        from tallyman.errors import BadInput

        if fact.digest == bad and fact.kind is Kind.PUSHED:
            raise BadInput("too long for an item")
        return append(fact, *changes)

    monkeypatch.setattr(world.ledger, "append", refuses)
    for number in range(4):
        report = world.reconcile()
        assert "too long for an item" in report["problems"][0]
        told = [a for _, _, a in world.notices.published if a["kind"] == "sweep_failed"]
        assert len(told) == (number >= 1)
    assert {f.digest for f in world.facts(Kind.PUSHED)} == {good}


def test_a_repeatedly_failing_sweep_is_notified_once_until_it_succeeds() -> None:
    world = RecordingStack(policy(verified=True))
    for _ in range(2):
        world.registries.fail(DEV.registry, methods={"images"})
        for _ in range(3):
            world.reconcile()
        world.registries.heal()
        world.reconcile()
    told = [s for s, _, a in world.notices.published if a["kind"] == "sweep_failed"]
    assert len(told) == 2


def test_the_position_of_a_first_sweep_does_not_grow_with_the_repository() -> None:
    world = RecordingStack(policy(soak="1h"))
    there = world.registries.held(DEV)
    template = image("a").root
    for number in range(600):
        raw = template.raw[:-1] + f', "annotations": {{"n": "{number}"}}}}'.encode()
        digest = Digest.of(raw)
        there.manifests[digest] = Manifest(raw, template.media_type)
        there.pushed_at[digest] = world.clock()
    while world.reconcile({"repositories": ["dev/*"]})["more"]:
        pass
    assert len(world.facts(Kind.PUSHED)) == 600
    largest = max(len(str(item["data"])) for key, item in world.state.items.items() if key[0] == "S#sweep")
    assert largest < 20_000

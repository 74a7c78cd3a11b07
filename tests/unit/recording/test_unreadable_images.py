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
    return {name: result for name, result in LAYER.items() if name != key}


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


def held(system: RecordingStack, raw: bytes, media_type: str, tag: str, place: Repository = DEV) -> Digest:
    """Store an image in the registry without checks."""
    there, digest = system.registries.held(place), Digest.of(raw)
    there.manifests[digest] = Manifest(raw, media_type)
    there.pushed_at[digest] = system.clock()
    there.tags[tag] = digest
    return digest


@pytest.mark.parametrize("shape", REFUSED)
def test_an_event_of_an_unreadable_image_is_recorded_and_evaluated(shape: str) -> None:
    system = RecordingStack(policy(verified=True))
    digest = held(system, *REFUSED[shape], "v1.0.0")
    system.deliver(push_event(DEV, digest, "v1.0.0", at=system.clock()))
    (push,) = system.facts(Kind.PUSHED)
    assert (push.digest, push.tag) == (digest, "v1.0.0")
    (flaw,) = system.facts(Kind.UNREADABLE)
    assert flaw.detail["reason"]
    assert system.points_to("v1.0.0") == digest
    (decision,) = system.process().evaluator.image(digest)
    (gate,) = [g for g in decision.gates if g.name == "verified"]
    assert gate.verdict == "failed"
    assert "can't be read" in gate.reason


@pytest.mark.parametrize("shape", REFUSED)
def test_a_sweep_records_an_unreadable_image_and_every_other(shape: str) -> None:
    system = RecordingStack(policy(verified=True))
    first = system.registries.push(DEV, image("a"), "v1.0.0")
    bad = held(system, *REFUSED[shape], "v1.1.0")
    last = system.registries.push(DEV, image("z"), "v1.2.0")
    report = system.reconcile()
    assert [r["error"] for r in report["registries"]] == [None] * 3
    assert {f.digest for f in system.facts(Kind.PUSHED)} == {first, bad, last}
    assert {f.digest for f in system.facts(Kind.UNREADABLE)} == {bad}
    before = len(system.ledger.facts)
    system.reconcile()
    assert len(system.ledger.facts) == before  # and is known from then on


def test_an_unreadable_manifest_does_not_hide_a_stowaway() -> None:
    system = RecordingStack(policy(verified=True))
    system.reconcile()
    digest = held(system, *REFUSED["duplicate keys"], "v1.0.0", PROD)
    system.clock.advance(minutes=15)
    system.reconcile()
    assert {f.digest for f in system.facts(Kind.STOWAWAY)} == {digest}


def test_an_index_that_lists_one_child_3000_times_is_read_and_its_child_read_once() -> None:
    system = RecordingStack(policy(verified=True))
    child = system.registries.push(DEV, image("child"))
    raw = index(*[{**CHILD, "platform": {"os": "linux", "architecture": "amd64"}}] * 3000)
    digest = held(system, raw, OCI_INDEX, "v1.0.0")
    system.deliver(push_event(DEV, digest, "v1.0.0", at=system.clock()))
    (push,) = [f for f in system.facts(Kind.PUSHED) if f.digest == digest]
    assert [c["digest"] for c in push.detail["platforms"]] == [child]
    assert len(system.facts(Kind.CHILD_OF)) == 1


def test_an_image_that_cannot_be_recorded_does_not_stop_the_sweep_and_is_notified_the_second_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    system = RecordingStack(policy(verified=True))
    bad = system.registries.push(DEV, image("a"), "v1.0.0")
    good = system.registries.push(DEV, image("b"), "v1.1.0")
    append = system.ledger.append

    def refuses(fact: Any, *changes: Any) -> Any:
        from tallyman.errors import BadInput

        if fact.digest == bad and fact.kind is Kind.PUSHED:
            raise BadInput("too long for an item")
        return append(fact, *changes)

    monkeypatch.setattr(system.ledger, "append", refuses)
    for number in range(4):
        report = system.reconcile()
        assert "too long for an item" in report["problems"][0]
        result = [a for _, _, a in system.notices.published if a["kind"] == "sweep_failed"]
        assert len(result) == (number >= 1)
    assert {f.digest for f in system.facts(Kind.PUSHED)} == {good}


def test_a_repeatedly_failing_sweep_is_notified_once_until_it_succeeds() -> None:
    system = RecordingStack(policy(verified=True))
    for _ in range(2):
        system.registries.fail(DEV.registry, methods={"images"})
        for _ in range(3):
            system.reconcile()
        system.registries.heal()
        system.reconcile()
    result = [s for s, _, a in system.notices.published if a["kind"] == "sweep_failed"]
    assert len(result) == 2


def test_the_position_of_a_first_sweep_does_not_grow_with_the_repository() -> None:
    system = RecordingStack(policy(soak="1h"))
    there = system.registries.held(DEV)
    template = image("a").root
    for number in range(600):
        raw = template.raw[:-1] + f', "annotations": {{"n": "{number}"}}}}'.encode()
        digest = Digest.of(raw)
        there.manifests[digest] = Manifest(raw, template.media_type)
        there.pushed_at[digest] = system.clock()
    while system.reconcile({"repositories": ["dev/*"]})["more"]:
        pass
    assert len(system.facts(Kind.PUSHED)) == 600
    largest = max(len(str(item["data"])) for key, item in system.state.items.items() if key[0] == "S#sweep")
    assert largest < 20_000

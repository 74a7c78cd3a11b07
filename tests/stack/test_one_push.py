"""One push, from event to release, through the deployed template: two accounts, two regions, real handlers."""

import json
from collections.abc import Iterator

import pytest

from support.images import builders as b
from support.stacks.deployed import Deployed, deployed
from tallyman.domain.history.facts import Kind, Via


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    with deployed(tmp_path_factory.mktemp("cloud"), scanner="clean") as running:
        yield running


def test_a_push_is_recorded_verified_scanned_and_promoted_to_both_regions(system: Deployed) -> None:
    image = b.multi_arch("whole-way", attested=True)
    system.push(image, "rocketseat/whole-way", "v1.0.0-abc1234")
    assert system.digests_in("rocketseat/whole-way", "v1.0.0-abc1234") == [image.digest, image.digest]
    assert system.why("rocketseat/whole-way", "v1.0.0-abc1234").verdict == "promoted"
    kinds = {f.kind for f in system.facts(image.digest)}
    assert {Kind.PUSHED, Kind.VERIFIED, Kind.DECIDED, Kind.INTENDED, Kind.PROMOTED} <= kinds
    for platform in image.root.platform_children:
        assert system.facts(platform.digest, Kind.SCANNED)
    for number in (1, 2):
        place = system.place("rocketseat/whole-way", "prod", number)
        for digest, manifest in image.manifests.items():
            found = system.stack.source.manifest(place, digest)
            assert found is not None
            assert found.raw == manifest.raw


def test_our_own_push_to_prod_is_not_a_stowaway(system: Deployed) -> None:
    image = b.multi_arch("own")
    system.push(image, "rocketseat/own", "v1.0.0")
    assert system.digests_in("rocketseat/own", "v1.0.0") == [image.digest] * 2
    for digest in image.manifests:
        assert not system.facts(digest, Kind.STOWAWAY)


def test_a_foreign_push_to_prod_is_a_stowaway_with_a_notice(system: Deployed) -> None:
    image = b.image("foreign")
    system.push(image, "rocketseat/foreign", "v1.0.0", environment="prod")
    (found,) = system.facts(image.digest, Kind.STOWAWAY)
    assert (found.tag, found.detail["environment"]) == ("v1.0.0", "prod")
    assert any("stowaway" in subject and "rocketseat/foreign" in subject for subject in system.notices())


def test_doubled_and_reordered_events_leave_one_history(system: Deployed) -> None:
    image = b.multi_arch("doubled")
    with system.chaos(double=1.0, reorder=True, delay=0.2, seed=7):
        system.push(image, "rocketseat/doubled", "v1.0.0", settle=False)
    system.settle()
    pushes = [row for row in system.history("rocketseat/doubled", "v1.0.0") if row.kind == "pushed"]
    assert [row.digest for row in pushes] == [image.digest]
    assert system.digests_in("rocketseat/doubled", "v1.0.0") == [image.digest] * 2


def test_if_every_event_is_lost_the_sweep_has_the_same_result(system: Deployed) -> None:
    image = b.multi_arch("lost")
    with system.chaos(lose=1.0):
        system.push(image, "rocketseat/lost", "v1.0.0")
        assert not system.facts(image.digest)
        answer = system.reconcile("dev/rocketseat/lost")
    missed = sum(each["missed"] for each in answer["registries"])
    assert missed >= 1
    system.reconcile()
    assert system.digests_in("rocketseat/lost", "v1.0.0") == [image.digest] * 2
    (row,) = [row for row in system.history("rocketseat/lost", "v1.0.0") if row.kind == "pushed"]
    assert row.via is Via.RECONCILED


def test_a_push_reported_by_event_and_sweep_is_one_row(system: Deployed) -> None:
    image = b.image("late")
    system.create("rocketseat/late")
    system.cloud.bus.set_chaos(None)
    with system.chaos(delay=3600.0):  # longer than the sweep takes on any machine
        system.push(image, "rocketseat/late", "v1.0.0", settle=False)
        system.stack.reconcile({"repositories": ["dev/rocketseat/late"]})
        assert {f.via for f in system.facts(image.digest, Kind.PUSHED)} == {Via.RECONCILED}
    system.settle()  # chaos is off: what was held back arrived late
    assert {f.via for f in system.facts(image.digest, Kind.PUSHED) if f.registry == system.place("x").registry} == {
        Via.RECONCILED,
        Via.EVENT,
    }
    (row,) = [row for row in system.history("rocketseat/late", "v1.0.0") if row.kind == "pushed"]
    assert row.via is Via.EVENT


def test_a_tag_that_moves_is_a_push_and_a_move(system: Deployed) -> None:
    first, second = b.image("first"), b.image("second")
    system.push(first, "rocketseat/moves", "latest")
    system.push(second, "rocketseat/moves", "latest")
    result = [(row.kind, row.digest) for row in system.history("rocketseat/moves", "latest")]
    assert sorted(result) == sorted([("pushed", first.digest), ("pushed", second.digest), ("tag_moved", second.digest)])


def test_a_killed_worker_only_delays_the_promotion(system: Deployed) -> None:
    image = b.multi_arch("killed")
    system.push(image, "rocketseat/killed", "v1.0.0", settle=False)
    for function in ("tallyman-record-push", "tallyman-verify-digest", "tallyman-promote-image"):
        system.cloud.kill(function)
    system.settle()
    system.cloud.kill("tallyman-promote-image")
    system.reconcile()
    assert system.digests_in("rocketseat/killed", "v1.0.0") == [image.digest] * 2
    (row,) = [row for row in system.history("rocketseat/killed", "v1.0.0") if row.kind == "pushed"]
    assert row.digest == image.digest


def test_a_tag_taken_in_prod_is_a_conflict_and_not_changed(system: Deployed) -> None:
    theirs, ours = b.image("theirs"), b.image("ours")
    system.push(theirs, "rocketseat/taken", "v1.0.0", environment="prod", number=2)
    system.push(ours, "rocketseat/taken", "v1.0.0")
    decision = system.why("rocketseat/taken", "v1.0.0")
    assert decision.verdict == "conflict"
    assert "taken by" in next(g.reason for g in decision.gates if g.name == "target")
    assert system.digests_in("rocketseat/taken", "v1.0.0") == [None, theirs.digest]


def test_a_malformed_event_becomes_a_dead_letter_with_its_reason(system: Deployed) -> None:
    event = b.push_event(digest=b.image("x").digest)
    event["detail"]["image-digest"] = "sha256:short"
    system.send("push", json.dumps(event))
    system.send("scan", "not json")
    system.settle()
    letters = {letter["Function"]: letter for letter in system.dead_letters()}
    assert letters["record_push"]["body"] == json.dumps(event)
    assert "sha256:short" in letters["record_push"]["Reason"]
    assert letters["record_push"]["Error"] == "BadMessage"
    assert letters["record_scan"]["body"] == "not json"


def test_a_replayed_dead_letter_is_handled_like_any_message(system: Deployed) -> None:
    image = b.image("replayed")
    with system.chaos(lose=1.0):
        system.push(image, "rocketseat/replayed", "v1.0.0")
    event = b.push_event(system.place("rocketseat/replayed"), image.digest)
    system.send("push", json.dumps(event))
    system.settle()
    assert [f.tag for f in system.facts(image.digest, Kind.PUSHED) if f.via is Via.EVENT][:1] == ["v1.0.0"]

"""Retention carried out, on fakes: mark, grace period, second look, proof, removal; and what must never be written."""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from support.fakes.ports import FakeHints, stored
from support.fakes.retention import ENFORCED, Retaining
from support.images.builders import DEV, NOON, PROD, multi_arch, signature
from tallyman.domain.history.facts import Kind
from tallyman.domain.retention import Reading
from tallyman.domain.usage import Use
from tallyman.errors import BadMessage, Unreachable
from tallyman.services.retention.hints import hint_after_push
from tallyman.services.shared.lease import Leases
from tallyman.state import marks as mark_items
from tallyman.state import pending as pending_items
from tallyman.state.items import StateChange
from tallyman.state.pending import PENDING, Pending
from tallyman.state.retention import RUNS, run_key


class OnlyReads:
    """A port that fails the test on any call that writes (harbor #20996: a dry run that deletes)."""

    def __init__(self, port: Any) -> None:
        self._port = port

    def __getattr__(self, name: str) -> Any:
        assert name not in ("append", "put", "delete", "send", "publish", "remove", "store", "put_manifest", "upload")
        return getattr(self._port, name)


def task(digest: Any) -> Use:
    return Use("ecs task", "web/1", DEV.at(digest), DEV.registry, DEV, None, digest)


def test_a_plan_only_reads() -> None:
    world = Retaining()
    old, *_ = world.versions(3)
    needs, inventories = world.needs(OnlyReads)
    from tallyman.services.retention.plan_retention import Look

    assert Look.first(needs, inventories, DEV, lambda: 900.0).plan.goes(old)


def test_without_enforcement_a_run_writes_nothing() -> None:
    world = Retaining(ENFORCED.replace("enforce: true", "enforce: false"))
    world.versions(3)
    assert world.run().startswith("a plan only")
    assert (len(world.there()), world.ledger.items, world.state.items, world.archive.objects) == (3, {}, {}, {})


def test_an_image_that_no_rule_keeps_is_removed_with_a_proof() -> None:
    world = Retaining()
    old, *kept = world.versions(3)
    assert world.run() == "1 removed, 1 marked, 0 failed"
    assert world.there() == set(kept)
    proof = world.proof(old)
    assert (proof["digest"], proof["tags"], proof["policy"]) == (old, ["v1.0.0"], world.policy.digest)
    assert proof["reason"] == "no keep rule names any of its tags"
    assert json.loads(proof["manifest"])["config"]
    assert {p["answer"] for p in proof["protections"]} == {"no"}
    assert {u["where"] for u in proof["usage"]} == {str(r) for r in world.policy.registries()}
    assert world.archive.get("manifests", old) is not None


def test_a_continued_run_uses_the_policy_of_the_shown_plan() -> None:
    world = Retaining()
    world.versions(3)
    asked = {"repository": str(DEV), "request": "r1", "policy": str(world.policy.digest)}
    outcome = world.worker().handle(json.dumps(asked), lambda: 5.0).text
    assert outcome.endswith("goes on in another run")
    (going_on,) = world.hints.to("retention")
    assert going_on == asked | {"round": 1}


def test_work_longer_than_all_runs_stops_after_a_number_of_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tallyman.services.retention.apply_retention.MAX_ROUNDS", 3)
    world = Retaining()
    world.versions(3)
    hint: dict[str, Any] | None = {"repository": str(DEV), "request": "r1", "policy": str(world.policy.digest)}
    rounds, outcome = 0, ""
    while hint is not None:
        outcome, rounds = world.worker().handle(json.dumps(hint), lambda: 5.0).text, rounds + 1
        assert rounds <= 4
        hint = world.hints.to("retention")[-1] if outcome.endswith("goes on in another run") else None
    assert rounds == 4
    ended = stored(world.state, *run_key(DEV))
    assert ended is not None
    assert (ended.data["request"], ended.data["outcome"]) == ("r1", outcome)
    assert "stopped after 3 runs" in outcome


def test_an_invalid_round_number_is_a_bad_message() -> None:
    with pytest.raises(BadMessage, match="round"):
        Retaining().run(round="many")


def test_an_image_is_removed_only_after_its_grace_period() -> None:
    world = Retaining(ENFORCED.replace("grace: 0s", "grace: 2d"))
    old, *_ = world.versions(3)
    world.clock.advance(days=9)
    world.run()
    assert (len(world.facts(Kind.MARKED)), len(world.there())) == (1, 3)
    world.clock.advance(days=1)
    world.run()
    assert old in world.there()
    world.clock.advance(days=1)
    world.run()
    assert old not in world.there()


def test_a_mark_is_dropped_when_anything_needs_the_image_again() -> None:
    world = Retaining(ENFORCED.replace("grace: 0s", "grace: 2d"))
    old, *_ = world.versions(3)
    world.clock.advance(days=9)
    world.run()
    world.usage.uses.append(task(old))
    world.run()
    assert [fact.digest for fact in world.facts(Kind.UNMARKED)] == [old]
    assert stored(world.state, mark_items.partition(DEV), old) is None
    world.usage.uses.clear()
    world.clock.advance(days=1.5)
    world.run()
    assert old in world.there()  # its grace period starts again


def test_a_task_that_starts_between_plan_and_removal_keeps_its_image() -> None:
    world = Retaining()
    old, *_ = world.versions(3)

    def start() -> None:
        if world.usage.times == 2:
            world.usage.uses.append(task(old))

    world.usage.asked = start
    world.run()
    assert old in world.there()
    assert world.remover.calls == []
    assert [fact.digest for fact in world.facts(Kind.UNMARKED)] == [old]


def test_a_promotion_in_progress_keeps_its_image() -> None:
    world = Retaining()
    old, *_ = world.versions(3)
    with Leases(world.state, world.clock).hold("prod", f"{DEV.name}@{old}", "promotion"):
        assert world.run() == "0 removed, 1 marked, 1 failed"
    assert old in world.there()


def test_an_image_pending_promotion_stays_and_one_that_failed_a_gate_does_not() -> None:
    world = Retaining()
    old, older, *_ = world.versions(4)
    for digest, verdict in ((old, "waiting"), (older, "failed")):
        waits = Pending(digest, DEV.name, "dev", "prod", ("v1",), verdict, None, None, world.clock(), None, None, True)
        key = pending_items.key("prod", DEV.name, digest, "dev")
        world.state.put(PENDING.read(world.state, key).write(waits))
    world.run()
    assert old in world.there()
    assert older not in world.there()


def test_an_index_is_removed_before_its_children_and_with_its_signature() -> None:
    world = Retaining()
    built = multi_arch("old", attested=True)
    world.push("v1.0.0", built)
    world.push(None, signature(built))
    world.versions(0)
    kept = {world.push("v2.0.0"), world.push("v2.1.0")}
    world.clock.advance(days=1)
    world.run()
    assert world.there() == kept
    assert world.remover.calls[0][0] == built.digest


def test_failures_are_explained_and_the_rest_is_removed() -> None:
    world = Retaining()
    first, second, *_ = world.versions(4)
    world.remover.fails[first] = "an index that was pushed since the plan lists it: it stays"
    assert world.run() == "1 removed, 2 marked, 1 failed"
    assert first in world.there()
    assert second not in world.there()
    mark = stored(world.state, mark_items.partition(DEV), first)
    assert mark is not None
    assert "an index that was pushed since the plan lists it" in mark.data["failed"]


def test_beyond_at_most_nothing_is_removed_with_one_notice() -> None:
    world = Retaining(ENFORCED.replace("at_most: 100%", "at_most: 20%"))
    world.versions(4)
    assert world.run().startswith("refused: 2 of 4 images would go (50 %)")
    world.push("v1.4.0")
    world.clock.advance(days=1)
    assert world.run().startswith("refused: 3 of 5 images would go (60 %)")
    assert len(world.there()) == 5
    assert world.facts(Kind.MARKED) == []
    assert len(world.notices.published) == 1


def test_a_permanently_throttled_usage_source_stops_every_run_and_is_named() -> None:
    world = Retaining()
    world.versions(3)
    world.usage.error = "too many requests"
    assert world.run() == "refused: ECS of 111111111111/us-east-2 can't be read: too many requests"
    assert len(world.there()) == 3
    world.usage.error = "no answer"  # or the same error as a later version words it
    assert world.run() == "refused: ECS of 111111111111/us-east-2 can't be read: no answer"
    assert len(world.notices.published) == 1


ECS = Reading("ECS", DEV.registry, NOON, error="throttled")
BATCH = Reading("Batch", DEV.registry, NOON, error="throttled")


def test_a_cause_that_joins_another_is_announced_and_each_only_once_until_a_run_goes_through() -> None:
    world = Retaining()
    world.versions(3)
    announced = []
    for readings in ([ECS], [ECS, BATCH], [BATCH], [ECS], [BATCH, ECS], [], [ECS]):
        world.usage.more = readings
        world.run()
        announced.append(len(world.notices.published))
    assert announced == [1, 2, 2, 2, 2, 2, 3]


def test_a_request_by_another_policy_changes_nothing_about_what_was_announced() -> None:
    world = Retaining()
    world.versions(3)
    world.usage.error = "throttled"
    world.run()
    assert "by another policy" in world.run(request="r", policy=f"sha256:{'0' * 64}")
    world.run()
    assert len(world.notices.published) == 1


@pytest.mark.parametrize(
    ("sentence", "news"),
    [
        ("ECS of 111111111111/us-east-2 can't be read: words of an earlier release", False),
        ("Lambda of 111111111111/us-east-2 can't be read: throttled", True),
        ("6 of 9 images would go (67 %): more than at_most, 20% in one run", True),
        ("what no release has said", True),
    ],
)
def test_an_update_repeats_no_refusal_that_the_last_release_announced(sentence: str, news: bool) -> None:
    """Its items have the first refusal as a sentence; it announced the others with it."""
    world = Retaining()
    world.versions(3)
    stored_then = {"at": "2026-11-20T01:54:34Z", "outcome": f"refused: {sentence}", "refused": sentence}
    world.state.put(StateChange(*run_key(DEV), 0, stored_then))
    world.usage.more = [ECS, Reading("Inspector", DEV.registry, NOON, error="no answer")]
    world.run()
    world.run()
    assert len(world.notices.published) == news


def test_an_update_repeats_no_refusal_of_a_start_or_of_too_many_images() -> None:
    for sentence, cause in (
        (
            "ecs task web/1 in 111111111111/us-east-2 started at 2026-11-16T02:24:34Z from the tag v1: what "
            "that was is not known",
            "start ecs task web/1 in 111111111111/us-east-2 v1",
        ),
        ("6 of 9 images would go (67 %): more than at_most, 20% in one run", "too_many"),
        ("6 images would go: more than at_most_images, 4 in one run", "too_many"),
    ):
        run = RUNS.parse({"at": "2026-11-20T01:54:34Z", "outcome": f"refused: {sentence}", "refused": sentence})
        assert (run.acted, run.causes, run.first_cause) == (False, None, cause)


def test_the_archive_action_moves_images_and_removes_nothing() -> None:
    world = Retaining(ENFORCED.replace("enforce", "action: archive, enforce"))
    old, *_ = world.versions(3)
    assert world.run() == "1 archived, 1 marked, 0 failed"
    assert world.remover.stored == {old: True}
    assert len(world.there()) == 3


def test_an_image_whose_removal_would_be_replicated_to_a_user_stays() -> None:
    world = Retaining()
    old, *_ = world.versions(3)
    world.replication.reached = [PROD.registry]
    manifest = world.registries.manifest(DEV, old)
    assert manifest is not None
    held = world.registries.held(PROD)
    held.blobs.update(world.registries.held(DEV).blobs)
    world.registries.put_manifest(PROD, manifest, "v1.0.0")
    world.run()
    assert old in world.there()


def test_the_schedule_hints_every_enforcing_repository() -> None:
    world = Retaining()
    assert world.worker().handle('{"all": true}').text == "3 repositories to look at"
    assert {body["repository"] for _, body, _ in world.hints.take()} >= {str(DEV), str(PROD)}


def test_pushes_are_combined_into_one_hint_per_quarter_of_an_hour() -> None:
    world = Retaining()
    asked = [hint_after_push(world.policy, world.state, world.hints, DEV, world.clock()) for _ in range(3)]
    assert asked == [True, False, False]
    world.clock.advance(minutes=15)
    assert hint_after_push(world.policy, world.state, world.hints, DEV, world.clock())
    assert [delay for _, _, delay in world.hints.take()] == [900, 900]


def test_an_unsent_hint_is_sent_when_the_push_is_retried() -> None:
    world = Retaining()

    class Failing(FakeHints):
        def send(self, queue: str, body: Mapping[str, object], delay: int = 0) -> None:
            raise Unreachable("SQS does not answer")

    with pytest.raises(Unreachable):
        hint_after_push(world.policy, world.state, Failing(), DEV, world.clock())
    assert hint_after_push(world.policy, world.state, world.hints, DEV, world.clock())
    assert [body for _, body, _ in world.hints.take()] == [{"repository": str(DEV)}]


def test_a_plan_of_another_policy_is_not_carried_out() -> None:
    world = Retaining()
    world.versions(3)
    assert "another policy" in world.run(policy="sha256:" + "0" * 64, request="r")
    assert len(world.there()) == 3


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"repository": "nowhere"}', '{"repository": 5}'])
def test_an_invalid_hint_is_a_bad_message(body: str) -> None:
    with pytest.raises(BadMessage):
        Retaining().worker().handle(body)


def test_a_deleted_repository_needs_no_work() -> None:
    world = Retaining()
    hint = {"repository": "111111111111/us-east-2/rocketseat/nothing-here"}
    assert "no such repository" in world.worker().handle(json.dumps(hint)).text
    assert timedelta(0) == world.policy.repository(DEV.name).retention.grace

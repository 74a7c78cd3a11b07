"""Retention carried out, on fakes: mark, grace period, second look, proof, removal; and what must never be written."""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from support.fakes.ports import FakeHints, stored
from support.fakes.retention import ENFORCED, RetentionStack
from support.fakes.vanishing import dropped_before
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
    system = RetentionStack()
    old, *_ = system.versions(3)
    needs, inventories = system.needs(OnlyReads)
    from tallyman.services.retention.plan_retention import Look

    assert Look.first(needs, inventories, DEV, lambda: 900.0).plan.goes(old)


def test_without_enforcement_a_run_writes_nothing() -> None:
    system = RetentionStack(ENFORCED.replace("enforce: true", "enforce: false"))
    system.versions(3)
    assert system.run().startswith("a plan only")
    assert (len(system.present()), system.ledger.items, system.state.items, system.archive.objects) == (3, {}, {}, {})


def test_an_image_that_no_rule_keeps_is_removed_with_a_proof() -> None:
    system = RetentionStack()
    old, *kept = system.versions(3)
    assert system.run() == "1 removed, 1 marked, 0 failed"
    assert system.present() == set(kept)
    proof = system.proof(old)
    assert (proof["digest"], proof["tags"], proof["policy"]) == (old, ["v1.0.0"], system.policy.digest)
    assert proof["reason"] == "no keep rule names any of its tags"
    assert json.loads(proof["manifest"])["config"]
    assert {p["answer"] for p in proof["protections"]} == {"no"}
    assert {u["where"] for u in proof["usage"]} == {str(r) for r in system.policy.registries()}
    assert system.archive.get("manifests", old) is not None


def test_a_continued_run_uses_the_policy_of_the_shown_plan() -> None:
    system = RetentionStack()
    system.versions(3)
    asked = {"repository": str(DEV), "request": "r1", "policy": str(system.policy.digest)}
    outcome = system.worker().handle(json.dumps(asked), lambda: 5.0).text
    assert outcome.endswith("goes on in another run")
    (going_on,) = system.hints.to("retention")
    assert going_on == asked | {"round": 1}


def test_work_longer_than_all_runs_stops_after_a_number_of_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tallyman.services.retention.apply_retention.MAX_ROUNDS", 3)
    system = RetentionStack()
    system.versions(3)
    hint: dict[str, Any] | None = {"repository": str(DEV), "request": "r1", "policy": str(system.policy.digest)}
    rounds, outcome = 0, ""
    while hint is not None:
        outcome, rounds = system.worker().handle(json.dumps(hint), lambda: 5.0).text, rounds + 1
        assert rounds <= 4
        hint = system.hints.to("retention")[-1] if outcome.endswith("goes on in another run") else None
    assert rounds == 4
    ended = stored(system.state, *run_key(DEV))
    assert ended is not None
    assert (ended.data["request"], ended.data["outcome"]) == ("r1", outcome)
    assert "stopped after 3 runs" in outcome


def test_an_invalid_round_number_is_a_bad_message() -> None:
    with pytest.raises(BadMessage, match="round"):
        RetentionStack().run(round="many")


def test_an_image_is_removed_only_after_its_grace_period() -> None:
    system = RetentionStack(ENFORCED.replace("grace: 0s", "grace: 2d"))
    old, *_ = system.versions(3)
    system.clock.advance(days=9)
    system.run()
    assert (len(system.facts(Kind.MARKED)), len(system.present())) == (1, 3)
    system.clock.advance(days=1)
    system.run()
    assert old in system.present()
    system.clock.advance(days=1)
    system.run()
    assert old not in system.present()


def test_a_mark_is_dropped_when_anything_needs_the_image_again() -> None:
    system = RetentionStack(ENFORCED.replace("grace: 0s", "grace: 2d"))
    old, *_ = system.versions(3)
    system.clock.advance(days=9)
    system.run()
    system.usage.uses.append(task(old))
    system.run()
    assert [fact.digest for fact in system.facts(Kind.UNMARKED)] == [old]
    assert stored(system.state, mark_items.partition(DEV), old) is None
    system.usage.uses.clear()
    system.clock.advance(days=1.5)
    system.run()
    assert old in system.present()  # its grace period starts again


def test_a_task_that_starts_between_plan_and_removal_keeps_its_image() -> None:
    system = RetentionStack()
    old, *_ = system.versions(3)

    def start() -> None:
        if system.usage.times == 2:
            system.usage.uses.append(task(old))

    system.usage.asked = start
    system.run()
    assert old in system.present()
    assert system.remover.calls == []
    assert [fact.digest for fact in system.facts(Kind.UNMARKED)] == [old]


def test_a_promotion_in_progress_keeps_its_image() -> None:
    system = RetentionStack()
    old, *_ = system.versions(3)
    with Leases(system.state, system.clock).hold("prod", f"{DEV.name}@{old}", "promotion"):
        assert system.run() == "0 removed, 1 marked, 1 failed"
    assert old in system.present()


def test_an_image_pending_promotion_stays_and_one_that_failed_a_gate_does_not() -> None:
    system = RetentionStack()
    old, older, *_ = system.versions(4)
    for digest, verdict in ((old, "waiting"), (older, "failed")):
        waits = Pending(digest, DEV.name, "dev", "prod", ("v1",), verdict, None, None, system.clock(), None, None, True)
        key = pending_items.key("prod", DEV.name, digest, "dev")
        system.state.put(PENDING.read(system.state, key).write(waits))
    system.run()
    assert old in system.present()
    assert older not in system.present()


def test_an_index_is_removed_before_its_children_and_with_its_signature() -> None:
    system = RetentionStack()
    built = multi_arch("old", attested=True)
    system.push("v1.0.0", built)
    system.push(None, signature(built))
    system.versions(0)
    kept = {system.push("v2.0.0"), system.push("v2.1.0")}
    system.clock.advance(days=1)
    system.run()
    assert system.present() == kept
    assert system.remover.calls[0][0] == built.digest


def test_failures_are_explained_and_the_rest_is_removed() -> None:
    system = RetentionStack()
    first, second, *_ = system.versions(4)
    system.remover.fails[first] = "an index that was pushed since the plan lists it: it stays"
    assert system.run() == "1 removed, 2 marked, 1 failed"
    assert first in system.present()
    assert second not in system.present()
    mark = stored(system.state, mark_items.partition(DEV), first)
    assert mark is not None
    assert "an index that was pushed since the plan lists it" in mark.data["failed"]


def test_beyond_at_most_nothing_is_removed_with_one_notice() -> None:
    system = RetentionStack(ENFORCED.replace("at_most: 100%", "at_most: 20%"))
    system.versions(4)
    assert system.run().startswith("refused: 2 of 4 images would go (50 %)")
    system.push("v1.4.0")
    system.clock.advance(days=1)
    assert system.run().startswith("refused: 3 of 5 images would go (60 %)")
    assert len(system.present()) == 5
    assert system.facts(Kind.MARKED) == []
    assert len(system.notices.published) == 1


def test_a_permanently_throttled_usage_source_stops_every_run_and_is_named() -> None:
    system = RetentionStack()
    system.versions(3)
    system.usage.error = "too many requests"
    assert system.run() == "refused: ECS of 111111111111/us-east-2 can't be read: too many requests"
    assert len(system.present()) == 3
    system.usage.error = "no answer"  # or the same error as a later version words it
    assert system.run() == "refused: ECS of 111111111111/us-east-2 can't be read: no answer"
    assert len(system.notices.published) == 1


ECS = Reading("ECS", DEV.registry, NOON, error="throttled")
BATCH = Reading("Batch", DEV.registry, NOON, error="throttled")


def test_a_cause_that_joins_another_is_announced_and_each_only_once_until_a_run_goes_through() -> None:
    system = RetentionStack()
    system.versions(3)
    announced = []
    for readings in ([ECS], [ECS, BATCH], [BATCH], [ECS], [BATCH, ECS], [], [ECS]):
        system.usage.more = readings
        system.run()
        announced.append(len(system.notices.published))
    assert announced == [1, 2, 2, 2, 2, 2, 3]


def test_a_request_by_another_policy_changes_nothing_about_what_was_announced() -> None:
    system = RetentionStack()
    system.versions(3)
    system.usage.error = "throttled"
    system.run()
    assert "by another policy" in system.run(request="r", policy=f"sha256:{'0' * 64}")
    system.run()
    assert len(system.notices.published) == 1


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
    system = RetentionStack()
    system.versions(3)
    stored_then = {"at": "2026-11-20T01:54:34Z", "outcome": f"refused: {sentence}", "refused": sentence}
    system.state.put(StateChange(*run_key(DEV), 0, stored_then))
    system.usage.more = [ECS, Reading("Inspector", DEV.registry, NOON, error="no answer")]
    system.run()
    system.run()
    assert len(system.notices.published) == news


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
    system = RetentionStack(ENFORCED.replace("enforce", "action: archive, enforce"))
    old, *_ = system.versions(3)
    assert system.run() == "1 archived, 1 marked, 0 failed"
    assert system.remover.stored == {old: True}
    assert len(system.present()) == 3


def test_an_image_whose_removal_would_be_replicated_to_a_user_stays() -> None:
    system = RetentionStack()
    old, *_ = system.versions(3)
    system.replication.reached = [PROD.registry]
    manifest = system.registries.manifest(DEV, old)
    assert manifest is not None
    held = system.registries.held(PROD)
    held.blobs.update(system.registries.held(DEV).blobs)
    system.registries.put_manifest(PROD, manifest, "v1.0.0")
    system.run()
    assert old in system.present()


def test_the_schedule_hints_every_enforcing_repository() -> None:
    system = RetentionStack()
    assert system.worker().handle('{"all": true}').text == "3 repositories to look at"
    assert {body["repository"] for _, body, _ in system.hints.take()} >= {str(DEV), str(PROD)}


def test_pushes_are_combined_into_one_hint_per_quarter_of_an_hour() -> None:
    system = RetentionStack()
    asked = [hint_after_push(system.policy, system.state, system.hints, DEV, system.clock()) for _ in range(3)]
    assert asked == [True, False, False]
    system.clock.advance(minutes=15)
    assert hint_after_push(system.policy, system.state, system.hints, DEV, system.clock())
    assert [delay for _, _, delay in system.hints.take()] == [900, 900]


def test_an_unsent_hint_is_sent_when_the_push_is_retried() -> None:
    system = RetentionStack()

    class Failing(FakeHints):
        def send(self, queue: str, body: Mapping[str, object], delay: int = 0) -> None:
            raise Unreachable("SQS does not answer")

    with pytest.raises(Unreachable):
        hint_after_push(system.policy, system.state, Failing(), DEV, system.clock())
    assert hint_after_push(system.policy, system.state, system.hints, DEV, system.clock())
    assert [body for _, body, _ in system.hints.take()] == [{"repository": str(DEV)}]


def test_a_plan_of_another_policy_is_not_carried_out() -> None:
    system = RetentionStack()
    system.versions(3)
    assert "another policy" in system.run(policy="sha256:" + "0" * 64, request="r")
    assert len(system.present()) == 3


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"repository": "nowhere"}', '{"repository": 5}'])
def test_an_invalid_hint_is_a_bad_message(body: str) -> None:
    with pytest.raises(BadMessage):
        RetentionStack().worker().handle(body)


def test_a_deleted_repository_needs_no_work() -> None:
    system = RetentionStack()
    hint = {"repository": "111111111111/us-east-2/rocketseat/nothing-here"}
    assert "no such repository" in system.worker().handle(json.dumps(hint)).text
    assert timedelta(0) == system.policy.repository(DEV.name).retention.grace


@pytest.mark.parametrize("method", ["images", "manifests", "remove"])
def test_a_repository_that_is_deleted_during_a_run_ends_it(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    system = RetentionStack()
    system.versions(3)
    dropped_before(monkeypatch, system.remover if method == "remove" else system.registries, method, DEV)
    assert system.run() == "nothing to do: there is no such repository"

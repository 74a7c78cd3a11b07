"""Rollouts: region by region, each service awaited, repeatable at any point, rolled back everywhere if one fails."""

import json
from datetime import timedelta

import pytest

from support.fakes.rollouts import IMAGE, NAME, ONE, TWO, RolloutStack, policy
from tallyman.domain.times import format_time, parse_time
from tallyman.errors import BadMessage, NotAllowed, NotFound, Unreachable
from tallyman.ports.running import Moving
from tallyman.services.releases.rollout import LIMIT
from tallyman.state import leases
from tallyman.state.items import StateChange


@pytest.fixture
def system() -> RolloutStack:
    return RolloutStack()


def test_every_region_gets_the_digest_in_the_policys_order(system: RolloutStack) -> None:
    assert system.run() == "rolled out"
    assert [registry for registry, _ in system.fleet.moves] == [ONE, TWO]
    assert all(image.endswith(f"/{NAME}@{IMAGE.digest}") for _, image in system.fleet.moves)
    assert system.outcomes() == ["done", "moved", "moved"]


def test_a_doubled_hint_moves_nothing_twice(system: RolloutStack) -> None:
    system.run()
    assert system.run() == "done already"
    assert len(system.fleet.moves) == 2


def test_the_next_region_waits_until_the_previous_one_is_steady(system: RolloutStack) -> None:
    system.fleet.says[ONE, "shop/app"] = Moving(None, "in progress")
    assert system.run().startswith("waiting for ecs shop/app")
    assert [registry for registry, _ in system.fleet.moves] == [ONE]
    del system.fleet.says[ONE, "shop/app"]
    assert system.run() == "rolled out"


def test_the_pause_is_between_registries_and_not_after_the_last() -> None:
    system = RolloutStack(pause="10m")
    assert system.run() == f"pausing before {TWO}"
    system.now += timedelta(minutes=9)
    assert system.run() == f"pausing before {TWO}"
    system.now += timedelta(minutes=2)
    assert system.run() == "rolled out"


def test_a_failure_rolls_back_every_region_with_a_notice(system: RolloutStack) -> None:
    system.fleet.says[TWO, "shop/app"] = Moving(False, "tasks failed to start")
    assert system.run().startswith("failed")
    assert system.fleet.runs == {(ONE, "shop/app"): "old", (TWO, "shop/app"): "old"}
    assert system.data["status"] == "failed"
    assert "tasks failed to start" in system.data["reason"]
    assert system.outcomes() == ["failed", "moved"]
    assert system.run() == "failed already"


def test_an_unsent_failure_notice_is_sent_by_the_next_try(
    system: RolloutStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object) -> None:
        raise Unreachable("SNS does not answer")

    system.fleet.says[TWO, "shop/app"] = Moving(False, "it crashes")
    with monkeypatch.context() as broken:
        broken.setattr(system.notices, "publish", unreachable)
        with pytest.raises(Unreachable):
            system.run()
    assert system.run().startswith("failed: ")
    assert len(system.notices.published) == 1
    assert system.data["status"] == "failed"


def test_a_newer_release_restarts_the_rollout(system: RolloutStack) -> None:
    system.fleet.says[ONE, "shop/app"] = Moving(False, "no")
    system.run()
    system.fleet.says.clear()
    system.release("two")
    assert system.run() == "rolled out"


def test_a_failure_after_an_unfinished_rollout_goes_back_to_what_was_steady(system: RolloutStack) -> None:
    system.fleet.says[ONE, "shop/app"] = Moving(None, "in progress")
    system.run()
    unfinished = system.fleet.runs[ONE, "shop/app"]
    system.release("two", f"sha256:{'2' * 64}")
    system.run()
    assert system.fleet.runs[ONE, "shop/app"] != unfinished
    system.release("three", f"sha256:{'3' * 64}")
    system.fleet.says[ONE, "shop/app"] = Moving(False, "tasks failed to start")
    assert system.run().startswith("failed")
    assert system.fleet.runs[ONE, "shop/app"] == "old"


def test_a_service_that_could_not_be_moved_back_goes_back_further_next_time(system: RolloutStack) -> None:
    system.fleet.says[ONE, "shop/app"] = Moving(False, "tasks failed to start")
    system.fleet.immovable = {ONE}
    system.run()
    assert system.fleet.runs[ONE, "shop/app"] != "old"
    system.fleet.immovable.clear()
    system.release("two")
    assert system.run().startswith("failed")
    assert system.fleet.runs[ONE, "shop/app"] == "old"


def test_a_service_that_a_failed_rollout_did_not_reach_still_goes_back_to_what_was_steady(system: RolloutStack) -> None:
    system.fleet.says[TWO, "shop/app"] = Moving(None, "in progress")
    system.run()
    assert system.fleet.runs[TWO, "shop/app"] != "old"
    system.fleet.says[ONE, "shop/app"] = Moving(False, "tasks failed to start")
    system.release("two", f"sha256:{'2' * 64}")
    assert system.run().startswith("failed")
    del system.fleet.says[ONE, "shop/app"]
    system.fleet.says[TWO, "shop/app"] = Moving(False, "tasks failed to start")
    system.release("three", f"sha256:{'3' * 64}")
    assert system.run().startswith("failed")
    assert system.fleet.runs[TWO, "shop/app"] == "old"


def test_what_somebody_deployed_after_an_unfinished_rollout_is_what_a_failure_goes_back_to(
    system: RolloutStack,
) -> None:
    system.fleet.says[ONE, "shop/app"] = Moving(None, "in progress")
    system.run()
    system.fleet.runs[ONE, "shop/app"] = "by hand"
    system.release("two")
    system.fleet.says[ONE, "shop/app"] = Moving(False, "tasks failed to start")
    assert system.run().startswith("failed")
    assert system.fleet.runs[ONE, "shop/app"] == "by hand"


def test_a_service_that_never_settles_fails_after_an_hour(system: RolloutStack) -> None:
    system.fleet.says[ONE, "shop/app"] = Moving(None, "3 of 4 tasks run")
    system.run()
    system.now += LIMIT + timedelta(seconds=1)
    assert system.run().startswith("failed")
    assert "3 of 4 tasks run" in system.data["reason"]


def test_a_missing_service_fails_the_roll_out_and_a_transient_error_is_retried(
    system: RolloutStack,
) -> None:
    system.fleet.broken = Unreachable("not now")
    with pytest.raises(Unreachable):
        system.run()
    system.fleet.broken = NotFound("there is no ecs shop/app")
    assert system.run().startswith("failed")


@pytest.mark.parametrize("body", ["", "[]", '{"roll_out": {"environment": 1}}', '{"detail-type": "Image Action"}'])
def test_an_invalid_release_is_a_bad_message(system: RolloutStack, body: str) -> None:
    with pytest.raises(BadMessage):
        system.run(body)


def test_without_services_or_release_there_is_nothing_to_do(system: RolloutStack) -> None:
    other = json.dumps({"roll_out": {"environment": "prod", "repository": "rocketseat/other"}})
    assert system.run(other) == "nothing to roll out"


def test_its_own_hints_complete_a_rollout() -> None:
    system = RolloutStack(pause="40m")
    system.run()
    system.work()
    assert system.data["status"] == "done"
    assert system.now >= parse_time("2026-11-16T02:40:00Z")


def test_of_two_chains_of_hints_one_continues(system: RolloutStack) -> None:
    system.fleet.says[ONE, "shop/app"] = Moving(None, "in progress")
    for _ in range(3):  # a doubled event, and one that reconcile sent
        system.run()
        system.now += timedelta(seconds=1)
    hints = [json.dumps(body) for _, body, _ in system.hints.take("roll_out")]
    system.now += timedelta(seconds=10)
    outcomes = [system.run(body) for body in hints]
    assert outcomes[:2] == ["superseded by another hint"] * 2
    assert outcomes[2].startswith("waiting for")
    assert len(system.hints.take("roll_out")) == 1


def test_a_second_worker_waits_for_the_first_and_moves_nothing(system: RolloutStack) -> None:
    until = format_time(system.now + timedelta(seconds=4))
    data = {"owner": "somebody", "until": until}
    system.state.put(StateChange(*leases.key("prod", leases.of_rollout(NAME)), 0, data))
    assert system.run().startswith("another worker holds the lease")
    assert not system.fleet.moves
    ((_, body, delay),) = system.hints.take("roll_out")
    system.now += timedelta(seconds=delay)
    assert system.run(json.dumps(body)) == "rolled out"


def test_a_policy_change_during_a_roll_out_moves_nothing_twice_and_still_rolls_back() -> None:
    both = [{"ecs": "shop/app", "repository": NAME}, {"ecs": "shop/jobs", "repository": NAME}]
    system = RolloutStack(services=both)
    system.fleet.says[ONE, "shop/jobs"] = Moving(None, "in progress")
    system.run()
    system.policy = policy("0s", [both[1]])  # the first, which was moved, is no longer named
    system.fleet.says = {(TWO, "shop/jobs"): Moving(False, "it crashes")}
    assert system.run().startswith("failed")
    assert [registry for registry, _ in system.fleet.moves] == [ONE, ONE, TWO]
    assert system.fleet.runs[ONE, "shop/jobs"] == "old"
    assert f"ecs shop/app in {ONE} could not be moved back: the policy no longer names it" in system.data["reason"]


def test_missing_permission_fails_the_roll_out_at_once_with_one_notice(system: RolloutStack) -> None:
    system.fleet.broken = NotAllowed("not authorized to perform: ecs:UpdateService")
    assert system.run().startswith("failed")
    assert len(system.notices.published) == 1
    assert system.data["status"] == "failed"


def test_the_hour_counts_from_the_update_not_from_an_earlier_crash(system: RolloutStack) -> None:
    system.fleet.broken = Unreachable("not now")
    with pytest.raises(Unreachable):
        system.run()
    system.fleet.broken = None
    system.fleet.says[ONE, "shop/app"] = Moving(None, "3 of 4 tasks run")
    system.now += timedelta(hours=3)
    assert system.run().startswith("waiting for")


# --- display


def states(system: RolloutStack) -> list[str]:
    return [target["state"] for target in system.shown()["targets"]]


def test_the_display_follows_each_target(system: RolloutStack) -> None:
    assert (system.shown()["status"], states(system)) == ("not_begun", ["not_begun", "not_begun"])
    system.fleet.says[TWO, "shop/app"] = Moving(None, "1 of 2 tasks run")
    system.run()
    shown = system.shown()
    assert (shown["status"], states(system)) == ("running", ["done", "running"])
    assert shown["said"] == f"waiting for ecs shop/app in {TWO}: 1 of 2 tasks run"
    assert shown["next_at"] == "2026-11-16T02:00:05Z"
    assert shown["targets"][0]["image"].endswith(IMAGE.digest)
    system.fleet.says[TWO, "shop/app"] = Moving(False, "tasks failed to start")
    system.run()
    shown = system.shown()
    assert (shown["status"], states(system)) == ("failed", ["rolled_back", "failed"])
    assert shown["targets"][1]["said"] == "tasks failed to start"
    assert [t["before"] for t in shown["targets"]] == ["old", "old"]
    system.release("two")
    assert (system.shown()["status"], states(system)) == ("not_begun", ["not_begun", "not_begun"])


def test_a_target_that_could_not_be_rolled_back_is_shown_as_stuck(system: RolloutStack) -> None:
    system.fleet.immovable = {ONE}
    system.fleet.says[TWO, "shop/app"] = Moving(False, "tasks failed to start")
    system.run()
    assert states(system) == ["stuck", "failed"]
    assert "ecs:UpdateService" in system.shown()["targets"][0]["said"]


def test_without_targets_nothing_is_shown(system: RolloutStack) -> None:
    system.policy = policy("0s", [{"ecs": "shop/app", "repository": "rocketseat/other"}])
    assert system.shown() is None

"""Roll-outs: region by region, each service awaited, repeatable at any point, rolled back everywhere if one fails."""

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
def world() -> RolloutStack:
    return RolloutStack()


def test_every_region_gets_the_digest_in_the_policys_order(world: RolloutStack) -> None:
    assert world.run() == "rolled out"
    assert [registry for registry, _ in world.fleet.moves] == [ONE, TWO]
    assert all(image.endswith(f"/{NAME}@{IMAGE.digest}") for _, image in world.fleet.moves)
    assert world.outcomes() == ["done", "moved", "moved"]


def test_a_doubled_hint_moves_nothing_twice(world: RolloutStack) -> None:
    world.run()
    assert world.run() == "done already"
    assert len(world.fleet.moves) == 2


def test_the_next_region_waits_until_the_previous_one_is_steady(world: RolloutStack) -> None:
    world.fleet.says[ONE, "shop/app"] = Moving(None, "in progress")
    assert world.run().startswith("waiting for ecs shop/app")
    assert [registry for registry, _ in world.fleet.moves] == [ONE]
    del world.fleet.says[ONE, "shop/app"]
    assert world.run() == "rolled out"


def test_the_pause_is_between_registries_and_not_after_the_last() -> None:
    world = RolloutStack(pause="10m")
    assert world.run() == f"pausing before {TWO}"
    world.now += timedelta(minutes=9)
    assert world.run() == f"pausing before {TWO}"
    world.now += timedelta(minutes=2)
    assert world.run() == "rolled out"


def test_a_failure_rolls_back_every_region_with_a_notice(world: RolloutStack) -> None:
    world.fleet.says[TWO, "shop/app"] = Moving(False, "tasks failed to start")
    assert world.run().startswith("failed")
    assert world.fleet.runs == {(ONE, "shop/app"): "old", (TWO, "shop/app"): "old"}
    assert world.data["status"] == "failed"
    assert "tasks failed to start" in world.data["reason"]
    assert world.outcomes() == ["failed", "moved"]
    assert world.run() == "failed already"


def test_an_unsent_failure_notice_is_sent_by_the_next_try(world: RolloutStack, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object) -> None:
        raise Unreachable("SNS does not answer")

    world.fleet.says[TWO, "shop/app"] = Moving(False, "it crashes")
    with monkeypatch.context() as broken:
        broken.setattr(world.notices, "publish", unreachable)
        with pytest.raises(Unreachable):
            world.run()
    assert world.run().startswith("failed: ")
    assert len(world.notices.published) == 1
    assert world.data["status"] == "failed"


def test_a_newer_release_restarts_the_roll_out(world: RolloutStack) -> None:
    world.fleet.says[ONE, "shop/app"] = Moving(False, "no")
    world.run()
    world.fleet.says.clear()
    world.release("two")
    assert world.run() == "rolled out"


def test_a_service_that_never_settles_fails_after_an_hour(world: RolloutStack) -> None:
    world.fleet.says[ONE, "shop/app"] = Moving(None, "3 of 4 tasks run")
    world.run()
    world.now += LIMIT + timedelta(seconds=1)
    assert world.run().startswith("failed")
    assert "3 of 4 tasks run" in world.data["reason"]


def test_a_missing_service_fails_the_roll_out_and_a_transient_error_is_retried(
    world: RolloutStack,
) -> None:
    world.fleet.broken = Unreachable("not now")
    with pytest.raises(Unreachable):
        world.run()
    world.fleet.broken = NotFound("there is no ecs shop/app")
    assert world.run().startswith("failed")


@pytest.mark.parametrize("body", ["", "[]", '{"roll_out": {"environment": 1}}', '{"detail-type": "Image Action"}'])
def test_an_invalid_release_is_a_bad_message(world: RolloutStack, body: str) -> None:
    with pytest.raises(BadMessage):
        world.run(body)


def test_without_services_or_release_there_is_nothing_to_do(world: RolloutStack) -> None:
    other = json.dumps({"roll_out": {"environment": "prod", "repository": "rocketseat/other"}})
    assert world.run(other) == "nothing to roll out"


def test_its_own_hints_complete_a_roll_out() -> None:
    world = RolloutStack(pause="40m")
    world.run()
    world.work()
    assert world.data["status"] == "done"
    assert world.now >= parse_time("2026-11-16T02:40:00Z")


def test_of_two_chains_of_hints_one_continues(world: RolloutStack) -> None:
    world.fleet.says[ONE, "shop/app"] = Moving(None, "in progress")
    for _ in range(3):  # a doubled event, and one that reconcile sent
        world.run()
        world.now += timedelta(seconds=1)
    hints = [json.dumps(body) for _, body, _ in world.hints.take("roll_out")]
    world.now += timedelta(seconds=10)
    outcomes = [world.run(body) for body in hints]
    assert outcomes[:2] == ["superseded by another hint"] * 2
    assert outcomes[2].startswith("waiting for")
    assert len(world.hints.take("roll_out")) == 1


def test_a_second_worker_waits_for_the_first_and_moves_nothing(world: RolloutStack) -> None:
    until = format_time(world.now + timedelta(seconds=4))
    data = {"owner": "somebody", "until": until}
    world.state.put(StateChange(*leases.key("prod", leases.of_rollout(NAME)), 0, data))
    assert world.run().startswith("another worker holds the lease")
    assert not world.fleet.moves
    ((_, body, delay),) = world.hints.take("roll_out")
    world.now += timedelta(seconds=delay)
    assert world.run(json.dumps(body)) == "rolled out"


def test_a_policy_change_during_a_roll_out_moves_nothing_twice_and_still_rolls_back() -> None:
    both = [{"ecs": "shop/app", "repository": NAME}, {"ecs": "shop/jobs", "repository": NAME}]
    world = RolloutStack(services=both)
    world.fleet.says[ONE, "shop/jobs"] = Moving(None, "in progress")
    world.run()
    world.policy = policy("0s", [both[1]])  # the first, which was moved, is no longer named
    world.fleet.says = {(TWO, "shop/jobs"): Moving(False, "it crashes")}
    assert world.run().startswith("failed")
    assert [registry for registry, _ in world.fleet.moves] == [ONE, ONE, TWO]
    assert world.fleet.runs[ONE, "shop/jobs"] == "old"
    assert f"ecs shop/app in {ONE} could not be moved back: the policy no longer names it" in world.data["reason"]


def test_missing_permission_fails_the_roll_out_at_once_with_one_notice(world: RolloutStack) -> None:
    world.fleet.broken = NotAllowed("not authorized to perform: ecs:UpdateService")
    assert world.run().startswith("failed")
    assert len(world.notices.published) == 1
    assert world.data["status"] == "failed"


def test_the_hour_counts_from_the_update_not_from_an_earlier_crash(world: RolloutStack) -> None:
    world.fleet.broken = Unreachable("not now")
    with pytest.raises(Unreachable):
        world.run()
    world.fleet.broken = None
    world.fleet.says[ONE, "shop/app"] = Moving(None, "3 of 4 tasks run")
    world.now += timedelta(hours=3)
    assert world.run().startswith("waiting for")


# --- display


def states(world: RolloutStack) -> list[str]:
    return [target["state"] for target in world.shown()["targets"]]


def test_the_display_follows_each_target(world: RolloutStack) -> None:
    assert (world.shown()["status"], states(world)) == ("not_begun", ["not_begun", "not_begun"])
    world.fleet.says[TWO, "shop/app"] = Moving(None, "1 of 2 tasks run")
    world.run()
    shown = world.shown()
    assert (shown["status"], states(world)) == ("running", ["done", "running"])
    assert shown["said"] == f"waiting for ecs shop/app in {TWO}: 1 of 2 tasks run"
    assert shown["next_at"] == "2026-11-16T02:00:05Z"
    assert shown["targets"][0]["image"].endswith(IMAGE.digest)
    world.fleet.says[TWO, "shop/app"] = Moving(False, "tasks failed to start")
    world.run()
    shown = world.shown()
    assert (shown["status"], states(world)) == ("failed", ["rolled_back", "failed"])
    assert shown["targets"][1]["said"] == "tasks failed to start"
    assert [t["before"] for t in shown["targets"]] == ["old", "old"]
    world.release("two")
    assert (world.shown()["status"], states(world)) == ("not_begun", ["not_begun", "not_begun"])


def test_a_target_that_could_not_be_rolled_back_is_shown_as_stuck(world: RolloutStack) -> None:
    world.fleet.immovable = {ONE}
    world.fleet.says[TWO, "shop/app"] = Moving(False, "tasks failed to start")
    world.run()
    assert states(world) == ["stuck", "failed"]
    assert "ecs:UpdateService" in world.shown()["targets"][0]["said"]


def test_without_targets_nothing_is_shown(world: RolloutStack) -> None:
    world.policy = policy("0s", [{"ecs": "shop/app", "repository": "rocketseat/other"}])
    assert world.shown() is None

"""Roll-outs whose message was lost are resumed: unfinished or never begun, and by one worker only."""

import json
from datetime import timedelta

import pytest

from support.fakes.rollouts import NAME, ONE, TWO, RolloutStack, policy
from tallyman.domain.times import format_time
from tallyman.ports.running import Moving
from tallyman.services.reconcile.unfinished_rollouts import AGAIN, OVERDUE
from tallyman.state import leases
from tallyman.state.items import StateChange

SECOND = timedelta(seconds=1)


@pytest.fixture
def world() -> RolloutStack:
    return RolloutStack()


def finished(world: RolloutStack) -> bool:
    world.work()
    return bool(world.data["status"] == "done")


def test_a_roll_out_with_a_lost_event_starts_when_the_event_is_overdue(world: RolloutStack) -> None:
    assert not world.reconcile()
    world.now += OVERDUE
    assert world.reconcile()
    assert finished(world)
    assert len(world.fleet.moves) == 2


def test_a_roll_out_with_a_lost_continuation_is_resumed(world: RolloutStack) -> None:
    world.fleet.says[TWO, "shop/app"] = Moving(None, "in progress")
    world.run()
    world.hints.take()  # its queue was emptied
    world.fleet.says.clear()
    world.now += timedelta(seconds=5) + OVERDUE
    assert world.reconcile()
    assert finished(world)
    assert len(world.fleet.moves) == 2


def test_a_roll_out_that_waits_for_its_next_check_is_not_disturbed(world: RolloutStack) -> None:
    world.fleet.says[ONE, "shop/app"] = Moving(None, "in progress")
    world.run()
    world.now += OVERDUE
    assert not world.reconcile()  # five seconds later it is
    world.now += timedelta(seconds=5)
    assert world.reconcile()


def test_a_pause_between_regions_is_not_taken_for_a_lost_message() -> None:
    world = RolloutStack(pause="24h")
    world.run()
    for _ in range(24 * 4):
        assert not world.reconcile()
        world.now += timedelta(minutes=15)
        ((_, body, _),) = world.hints.take()
        world.run(json.dumps(body))
    assert world.data["status"] == "done"


def test_a_roll_out_with_a_working_worker_is_not_disturbed_even_by_a_person(world: RolloutStack) -> None:
    world.now += OVERDUE
    until = format_time(world.now + SECOND)
    world.state.put(StateChange(*leases.key("prod", leases.of_rollout(NAME)), 0, {"owner": "somebody", "until": until}))
    assert not world.reconcile()
    assert not world.reconcile(at_once=True)
    world.now += SECOND
    assert world.reconcile()


def test_a_persons_run_resumes_it_before_it_is_overdue(world: RolloutStack) -> None:
    assert world.reconcile(at_once=True)
    world.hints.take()
    assert world.reconcile(at_once=True)
    assert finished(world)


def test_a_roll_out_whose_message_is_lost_repeatedly_is_resumed_once_an_hour(world: RolloutStack) -> None:
    world.now += OVERDUE
    assert world.reconcile()
    world.hints.take()
    world.now += AGAIN - SECOND
    assert not world.reconcile()
    world.now += SECOND
    assert world.reconcile()


def test_a_permanently_failed_roll_out_waits_for_a_person(world: RolloutStack) -> None:
    world.fleet.says[ONE, "shop/app"] = Moving(False, "it crashes")
    world.run()
    world.now += timedelta(days=1)
    assert not world.reconcile()
    assert not world.reconcile(at_once=True)
    world.release("two")
    assert world.reconcile(at_once=True)


def test_a_completed_roll_out_is_not_resumed(world: RolloutStack) -> None:
    world.run()
    world.now += timedelta(days=1)
    assert not world.reconcile(at_once=True)


def test_a_superseded_release_is_no_longer_rolled_out(world: RolloutStack) -> None:
    world.fleet.says[ONE, "shop/app"] = Moving(None, "in progress")
    world.run()
    world.hints.take()
    world.fleet.says.clear()
    world.now += timedelta(hours=1)
    world.release("two")
    assert not world.reconcile()  # the event of the new one is in transit
    world.now += OVERDUE
    assert world.reconcile()
    assert finished(world)
    assert world.data["release"] == "two"


def test_without_targets_in_the_policy_nothing_is_resumed(world: RolloutStack) -> None:
    world.now += OVERDUE
    world.policy = policy("0s", [{"ecs": "shop/app", "repository": "rocketseat/other"}])
    assert not world.reconcile(at_once=True)


def test_a_roll_out_recorded_by_an_older_version_is_resumed(world: RolloutStack) -> None:
    data = {"release": "one", "digest": "sha256:" + "0" * 64, "status": "running", "step": 0, "moving": None}
    world.state.put(StateChange("RO#prod", NAME, 0, {**data, "moved": [], "not_before": None, "reason": None}))
    assert world.reconcile()

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


def test_one_whose_event_was_lost_is_begun_when_the_event_is_overdue(world: RolloutStack) -> None:
    assert not world.reconcile()
    world.now += OVERDUE
    assert world.reconcile()
    assert finished(world)
    assert len(world.fleet.moves) == 2


def test_one_whose_continuation_was_lost_goes_on_where_it_stood(world: RolloutStack) -> None:
    world.fleet.says[TWO, "shop/app"] = Moving(None, "in progress")
    world.run()
    world.hints.take()  # its queue was emptied
    world.fleet.says.clear()
    world.now += timedelta(seconds=5) + OVERDUE
    assert world.reconcile()
    assert finished(world)
    assert len(world.fleet.moves) == 2


def test_one_that_waits_for_its_next_look_is_left_alone(world: RolloutStack) -> None:
    world.fleet.says[ONE, "shop/app"] = Moving(None, "in progress")
    world.run()
    world.now += OVERDUE
    assert not world.reconcile()  # five seconds later it is
    world.now += timedelta(seconds=5)
    assert world.reconcile()


def test_a_pause_between_regions_is_no_sign_of_death() -> None:
    world = RolloutStack(pause="24h")
    world.run()
    for _ in range(24 * 4):
        assert not world.reconcile()
        world.now += timedelta(minutes=15)
        ((_, body, _),) = world.hints.take()
        world.run(json.dumps(body))
    assert world.data["status"] == "done"


def test_one_that_a_worker_holds_is_left_alone_even_where_a_person_asks(world: RolloutStack) -> None:
    world.now += OVERDUE
    until = format_time(world.now + SECOND)
    world.state.put(StateChange(*leases.key("prod", leases.of_rollout(NAME)), 0, {"owner": "somebody", "until": until}))
    assert not world.reconcile()
    assert not world.reconcile(at_once=True)
    world.now += SECOND
    assert world.reconcile()


def test_a_person_need_not_wait_until_it_is_overdue(world: RolloutStack) -> None:
    assert world.reconcile(at_once=True)
    world.hints.take()
    assert world.reconcile(at_once=True)
    assert finished(world)


def test_one_whose_message_keeps_dying_is_taken_up_once_an_hour(world: RolloutStack) -> None:
    world.now += OVERDUE
    assert world.reconcile()
    world.hints.take()
    world.now += AGAIN - SECOND
    assert not world.reconcile()
    world.now += SECOND
    assert world.reconcile()


def test_one_that_failed_for_good_waits_for_a_person(world: RolloutStack) -> None:
    world.fleet.says[ONE, "shop/app"] = Moving(False, "it crashes")
    world.run()
    world.now += timedelta(days=1)
    assert not world.reconcile()
    assert not world.reconcile(at_once=True)
    world.release("two")
    assert world.reconcile(at_once=True)


def test_one_that_is_done_is_done(world: RolloutStack) -> None:
    world.run()
    world.now += timedelta(days=1)
    assert not world.reconcile(at_once=True)


def test_a_release_that_is_superseded_is_not_rolled_out_any_more(world: RolloutStack) -> None:
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


def test_where_the_policy_moves_nothing_nothing_is_taken_up(world: RolloutStack) -> None:
    world.now += OVERDUE
    world.policy = policy("0s", [{"ecs": "shop/app", "repository": "rocketseat/other"}])
    assert not world.reconcile(at_once=True)


def test_what_an_older_version_wrote_down_is_taken_up(world: RolloutStack) -> None:
    data = {"release": "one", "digest": "sha256:" + "0" * 64, "status": "running", "step": 0, "moving": None}
    world.state.put(StateChange("RO#prod", NAME, 0, {**data, "moved": [], "not_before": None, "reason": None}))
    assert world.reconcile()

"""Rollouts whose message was lost are resumed: unfinished or never begun, and by one worker only."""

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
def system() -> RolloutStack:
    return RolloutStack()


def finished(system: RolloutStack) -> bool:
    system.work()
    return bool(system.data["status"] == "done")


def test_a_roll_out_with_a_lost_event_starts_when_the_event_is_overdue(system: RolloutStack) -> None:
    assert not system.reconcile()
    system.now += OVERDUE
    assert system.reconcile()
    assert finished(system)
    assert len(system.fleet.moves) == 2


def test_a_roll_out_with_a_lost_continuation_is_resumed(system: RolloutStack) -> None:
    system.fleet.says[TWO, "shop/app"] = Moving(None, "in progress")
    system.run()
    system.hints.take()  # its queue was emptied
    system.fleet.says.clear()
    system.now += timedelta(seconds=5) + OVERDUE
    assert system.reconcile()
    assert finished(system)
    assert len(system.fleet.moves) == 2


def test_a_roll_out_that_waits_for_its_next_check_is_not_disturbed(system: RolloutStack) -> None:
    system.fleet.says[ONE, "shop/app"] = Moving(None, "in progress")
    system.run()
    system.now += OVERDUE
    assert not system.reconcile()  # five seconds later it is
    system.now += timedelta(seconds=5)
    assert system.reconcile()


def test_a_pause_between_regions_is_not_taken_for_a_lost_message() -> None:
    system = RolloutStack(pause="24h")
    system.run()
    for _ in range(24 * 4):
        assert not system.reconcile()
        system.now += timedelta(minutes=15)
        ((_, body, _),) = system.hints.take()
        system.run(json.dumps(body))
    assert system.data["status"] == "done"


def test_a_roll_out_with_a_working_worker_is_not_disturbed_even_by_a_person(system: RolloutStack) -> None:
    system.now += OVERDUE
    until = format_time(system.now + SECOND)
    system.state.put(
        StateChange(*leases.key("prod", leases.of_rollout(NAME)), 0, {"owner": "somebody", "until": until})
    )
    assert not system.reconcile()
    assert not system.reconcile(at_once=True)
    system.now += SECOND
    assert system.reconcile()


def test_a_persons_run_resumes_it_before_it_is_overdue(system: RolloutStack) -> None:
    assert system.reconcile(at_once=True)
    system.hints.take()
    assert system.reconcile(at_once=True)
    assert finished(system)


def test_a_roll_out_whose_message_is_lost_repeatedly_is_resumed_once_an_hour(system: RolloutStack) -> None:
    system.now += OVERDUE
    assert system.reconcile()
    system.hints.take()
    system.now += AGAIN - SECOND
    assert not system.reconcile()
    system.now += SECOND
    assert system.reconcile()


def test_a_permanently_failed_roll_out_waits_for_a_person(system: RolloutStack) -> None:
    system.fleet.says[ONE, "shop/app"] = Moving(False, "it crashes")
    system.run()
    system.now += timedelta(days=1)
    assert not system.reconcile()
    assert not system.reconcile(at_once=True)
    system.release("two")
    assert system.reconcile(at_once=True)


def test_a_completed_roll_out_is_not_resumed(system: RolloutStack) -> None:
    system.run()
    system.now += timedelta(days=1)
    assert not system.reconcile(at_once=True)


def test_a_superseded_release_is_no_longer_rolled_out(system: RolloutStack) -> None:
    system.fleet.says[ONE, "shop/app"] = Moving(None, "in progress")
    system.run()
    system.hints.take()
    system.fleet.says.clear()
    system.now += timedelta(hours=1)
    system.release("two")
    assert not system.reconcile()  # the event of the new one is in transit
    system.now += OVERDUE
    assert system.reconcile()
    assert finished(system)
    assert system.data["release"] == "two"


def test_without_targets_in_the_policy_nothing_is_resumed(system: RolloutStack) -> None:
    system.now += OVERDUE
    system.policy = policy("0s", [{"ecs": "shop/app", "repository": "rocketseat/other"}])
    assert not system.reconcile(at_once=True)


def test_a_roll_out_recorded_by_an_older_version_is_resumed(system: RolloutStack) -> None:
    data = {"release": "one", "digest": "sha256:" + "0" * 64, "status": "running", "step": 0, "moving": None}
    system.state.put(StateChange("RO#prod", NAME, 0, {**data, "moved": [], "not_before": None, "reason": None}))
    assert system.reconcile()

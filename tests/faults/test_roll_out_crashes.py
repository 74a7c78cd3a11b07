"""A roll-out that dies at any call and loses its message ends as an undisturbed one."""

import json
from datetime import timedelta
from typing import Any

import pytest

from support.fakes.ports import Crash, CrashAfter
from support.fakes.promotion import PromotionStack
from support.fakes.rollouts import ONE, TWO, RolloutStack
from support.images.builders import DEV, image
from tallyman.domain.history.facts import Kind
from tallyman.ports.running import Moving
from tallyman.services.releases.pointer import releases


def failing(world: RolloutStack) -> None:
    world.fleet.says[TWO, "shop/app"] = Moving(False, "tasks failed to start")


def fine(world: RolloutStack) -> None:
    world.fleet.says.clear()


def end(world: RolloutStack) -> tuple[Any, ...]:
    """The final state that people and programs can see, without times."""
    shown = world.shown()
    targets = [{k: v for k, v in target.items() if k != "since"} for target in shown["targets"]]
    return shown["status"], shown["reason"], targets, world.fleet.runs, world.outcomes()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("case", [fine, failing])
@pytest.mark.parametrize("again", ["queue", "reconcile"])
def test_the_next_worker_completes_the_work_of_one_that_died_at_any_call(when: str, case: Any, again: str) -> None:
    calm = RolloutStack()
    case(calm)
    calm.run()
    n = 0
    while True:
        n += 1
        world = RolloutStack()
        case(world)
        crash = CrashAfter(n, when)
        try:
            world.run(crash=crash)
            break  # it has fewer calls than n
        except Crash:
            if again == "queue":  # the queue delivers the message again
                world.now += timedelta(minutes=12)
                world.run()
            else:  # the message is lost
                world.now += timedelta(minutes=16)
                assert world.reconcile() or world.data["status"] in ("done", "failed"), crash.calls[-1]
        world.work()
        assert end(world) == end(calm), (n, crash.calls)
        told = 1 if case is failing else 0
        assert told <= len(world.notices.published) <= 2 * told
        assert len(world.fleet.moves) == 2
    assert n > 15


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_roll_out_that_dies_while_waiting_resumes_when_its_message_is_delivered_again(when: str) -> None:
    n = 0
    while True:
        n += 1
        world = RolloutStack()
        world.fleet.says[ONE, "shop/app"] = Moving(None, "in progress")
        world.run()
        ((_, body, delay),) = world.hints.take("roll_out")
        world.now += timedelta(seconds=delay)
        try:
            world.run(json.dumps(body), CrashAfter(n, when))
            break
        except Crash:
            world.now += timedelta(minutes=12)
        world.run(json.dumps(body))
        world.fleet.says.clear()
        world.work()
        assert world.data["status"] == "done", n
        assert len(world.fleet.moves) == 2
    assert n > 5


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_release_whose_promoter_died_is_announced_even_if_the_next_overtakes_it(when: str) -> None:
    """Every release has its event and its place in the history, in order, wherever its worker died."""
    n = 0
    while True:
        n += 1
        stack = PromotionStack()
        first = stack.push(image("a"), "v1.0.0")
        ((_, body, _),) = stack.hints.take("promote")
        try:
            stack.handle(body, stack.worker(CrashAfter(n, when)))
            break
        except Crash:
            stack.clock.advance(seconds=5)  # and its message is lost
        moved = stack.released() == first
        second = stack.push(image("b"), "v1.1.0")
        stack.hints.sent = [row for row in stack.hints.sent if row[1]["digest"] == second]
        stack.work()
        assert stack.released() == second
        wanted = [first, second] if moved else [second]
        told = list(dict.fromkeys(detail["digest"] for _, detail in stack.announcements.emitted))
        assert told == wanted, n
        assert [f.digest for f in releases(stack.ledger, "prod", DEV.name)] == wanted[::-1]
        assert len(stack.facts(Kind.RELEASED)) == len(wanted)
    assert n > 20

"""A rollout that dies at any call and loses its message ends as an undisturbed one."""

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


def failing(system: RolloutStack) -> None:
    system.fleet.says[TWO, "shop/app"] = Moving(False, "tasks failed to start")


def fine(system: RolloutStack) -> None:
    system.fleet.says.clear()


def end(system: RolloutStack) -> tuple[Any, ...]:
    """The final state that people and programs can see, without times."""
    shown = system.shown()
    targets = [{k: v for k, v in target.items() if k != "since"} for target in shown["targets"]]
    return shown["status"], shown["reason"], targets, system.fleet.runs, system.outcomes()


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
        system = RolloutStack()
        case(system)
        crash = CrashAfter(n, when)
        try:
            system.run(crash=crash)
            break  # it has fewer calls than n
        except Crash:
            if again == "queue":  # the queue delivers the message again
                system.now += timedelta(minutes=12)
                system.run()
            else:  # the message is lost
                system.now += timedelta(minutes=16)
                assert system.reconcile() or system.data["status"] in ("done", "failed"), crash.calls[-1]
        system.work()
        assert end(system) == end(calm), (n, crash.calls)
        result = 1 if case is failing else 0
        assert result <= len(system.notices.published) <= 2 * result
        assert len(system.fleet.moves) == 2
    assert n > 15


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_roll_out_that_dies_while_waiting_resumes_when_its_message_is_delivered_again(when: str) -> None:
    n = 0
    while True:
        n += 1
        system = RolloutStack()
        system.fleet.says[ONE, "shop/app"] = Moving(None, "in progress")
        system.run()
        ((_, body, delay),) = system.hints.take("roll_out")
        system.now += timedelta(seconds=delay)
        try:
            system.run(json.dumps(body), CrashAfter(n, when))
            break
        except Crash:
            system.now += timedelta(minutes=12)
        system.run(json.dumps(body))
        system.fleet.says.clear()
        system.work()
        assert system.data["status"] == "done", n
        assert len(system.fleet.moves) == 2
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
        result = list(dict.fromkeys(detail["digest"] for _, detail in stack.announcements.emitted))
        assert result == wanted, n
        assert [f.digest for f in releases(stack.ledger, "prod", DEV.name)] == wanted[::-1]
        assert len(stack.facts(Kind.RELEASED)) == len(wanted)
    assert n > 20

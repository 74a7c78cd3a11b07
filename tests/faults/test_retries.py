"""Retries never stop without a reason, clock skew changes nothing, and an unchanged policy causes no news."""

import json
import random
from contextlib import suppress
from datetime import datetime, timedelta

import pytest

from support.fakes.policies import parsed
from support.fakes.ports import CRASH_STEPS, Crash, CrashAfter, FakeClock
from support.fakes.promotion import PromotionStack, one
from support.images.builders import DEV, PROD, PROD_SA, push_event
from tallyman.domain.history.facts import Kind
from tallyman.domain.names import Digest, Repository
from tallyman.errors import Throttled


def failing() -> PromotionStack:
    """prod's second region accepts no content; the hint to promote waits."""
    stack, _ = one()
    stack.registries.fail(PROD_SA.registry, Throttled("Rate exceeded"), methods={"upload"})
    return stack


def calls() -> int:
    stack = failing()
    ((_, body, _),) = stack.hints.take("promote")
    crash = CrashAfter()
    stack.handle(body, stack.worker(crash))
    return crash.count


@CRASH_STEPS
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_failed_try_whose_worker_died_is_repeated_without_a_sweep(when: str, step: int) -> None:
    for n in range(1, calls() + 1, step):
        stack = failing()
        ((_, body, _),) = stack.hints.take("promote")
        with suppress(Crash):  # threads: the last calls are not always made
            stack.worker(CrashAfter(n, when)).handle(json.dumps(body), lambda: 900.0)
        stack.hints.send("promote", body, delay=5)  # the queue delivers it again
        stack.work(until=timedelta(seconds=30))
        stack.registries.heal()
        stack.work(until=timedelta(hours=1))
        assert stack.released(), (n, when)
        assert stack.hints.to("promote") == []


def test_doubled_hints_of_one_try_do_not_multiply() -> None:
    stack = failing()
    ((_, body, _),) = stack.hints.take("promote")
    for _ in range(3):
        stack.hints.send("promote", body)
    stack.work(until=timedelta(hours=2))
    assert len(stack.hints.to("promote")) <= 3  # each schedules at most one next try: later ones are superseded
    attempts = [f.detail["attempt"] for f in stack.facts(Kind.DELAYED)]
    assert attempts == sorted(attempts)


class SkewedClock(FakeClock):
    """A worker's clock, which is wrong."""

    def __init__(self, true: FakeClock, seconds: float) -> None:
        self.true, self.by = true, timedelta(seconds=seconds)

    def __call__(self) -> datetime:
        return self.true() + self.by

    def advance(self, **by: float) -> datetime:
        return self.true.advance(**by) + self.by


@pytest.mark.parametrize("seed", range(20))
def test_with_half_a_minute_of_clock_skew_an_image_is_promoted_and_released_once(seed: int) -> None:
    chance = random.Random(seed)
    stack, digest = one()
    true_clock = stack.clock
    bodies = [body for _, body, _ in stack.hints.take("promote")] * 3
    for body in bodies:
        stack.clock = SkewedClock(true_clock, chance.choice([-30, 0, 30]))
        worker = stack.worker()
        stack.clock = true_clock
        for _ in range(3):  # events of our own pushes arrive meanwhile
            place = chance.choice([PROD, PROD_SA])
            if digest in stack.registries.held(place).manifests:
                tell(stack, digest, place)
        stack.handle(body, worker)
        true_clock.advance(seconds=chance.uniform(0, 10))
    stack.work(until=timedelta(minutes=30))
    assert stack.released() == digest
    assert len(stack.facts(Kind.PROMOTED)) == 1
    assert len({d["id"] for _, d in stack.announcements.emitted}) == 1


def tell(stack: PromotionStack, digest: Digest, place: Repository) -> None:
    stack.record().handle(json.dumps(push_event(place, digest, "v1.0.0", at=stack.clock())))


def test_a_policy_change_without_effect_on_releases_writes_nothing() -> None:
    stack, digest = one()
    stack.work()
    decided = len(stack.facts(Kind.DECIDED))
    for n in range(3):
        data = {
            "environments": {"dev": {"registries": [str(DEV.registry)]},
                             "prod": {"registries": [str(PROD.registry), str(PROD_SA.registry)]},
                             f"other-{n}": {"registries": ["999999999999/us-east-2"]}},
            "repositories": [{"match": "rocketseat/*", "create": {"immutable": True, "mutable_tags": ["latest"]},
                              "tags": {"allow": ["semver", "semver-commit", "latest"]},
                              "promotions": [{"from": "dev", "to": "prod", "tags": ["semver", "semver-commit"],
                                              "gates": {"verified": True}}]}],
        }  # fmt: skip
        stack.policy = parsed(data)
        stack.clock.advance(hours=1)
        stack.evaluator.digest(digest)
    assert len(stack.facts(Kind.DECIDED)) == decided

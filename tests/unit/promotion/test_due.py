"""Changes that need only time are evaluated within seconds, by a hint sent for that moment; sweeps are the fallback."""

from datetime import timedelta

import pytest

from support.fakes.promotion import PromotionStack
from support.fakes.recording import policy
from support.images.builders import image
from tallyman.domain.history.facts import Kind


def waits(soak: str = "10m", **gates: object) -> PromotionStack:
    stack = PromotionStack(policy=policy(verified=True, soak=soak, **gates))
    stack.push(image("a"), "v1.0.0")
    return stack


def promoted_after(stack: PromotionStack) -> timedelta:
    (promoted,) = stack.facts(Kind.PROMOTED)
    first = min(f.at for f in stack.facts(Kind.PUSHED))
    return promoted.at - first


@pytest.mark.parametrize("soak", ["1s", "10m", "15m", "29m"])
def test_a_soak_that_ends_before_the_next_sweep_is_evaluated_at_its_end(soak: str) -> None:
    stack = waits(soak)
    stack.work(until=timedelta(hours=1))
    length = {"1s": 1, "10m": 600, "15m": 900, "29m": 1740}[soak]
    assert timedelta(seconds=length) <= promoted_after(stack) <= timedelta(seconds=length + 5)


def test_a_longer_soak_is_hinted_by_the_last_sweep_before_its_end() -> None:
    stack = waits("2h")
    assert stack.hints.to("promote") == []
    for _ in range(7):
        stack.clock.advance(minutes=15)
        stack.evaluator.digest(image("a").digest, again=True)
        stack.work(until=timedelta(minutes=1))
    assert stack.facts(Kind.PROMOTED) == []
    stack.work(until=timedelta(minutes=16))
    assert timedelta(hours=2) <= promoted_after(stack) <= timedelta(hours=2, seconds=5)


def test_one_hint_is_pending_however_often_it_is_evaluated() -> None:
    stack = waits("10m")
    for _ in range(5):
        stack.evaluator.digest(image("a").digest)
    (row,) = stack.hints.take("promote")
    assert row[1]["due"]
    assert 590 <= row[2] <= 600


def test_a_hint_that_arrives_early_is_sent_again() -> None:
    """A worker's clock may be behind."""
    stack = waits("10m")
    ((_, body, _),) = stack.hints.take("promote")
    stack.clock.advance(minutes=9, seconds=30)
    stack.handle(body)
    ((_, _, delay),) = stack.hints.take("promote")
    assert delay <= 30


def test_a_window_is_evaluated_when_it_opens() -> None:
    at = {"days": "mon-sun", "between": "02:00-03:00", "timezone": "UTC"}  # the fake clock stands at 01:54:34
    stack = waits("0s", window=at)
    stack.work(until=timedelta(hours=1))
    (promoted,) = stack.facts(Kind.PROMOTED)
    assert (promoted.at.hour, promoted.at.minute) == (2, 0)
    assert promoted.at.second <= 5


def test_a_failed_promotion_sends_only_its_own_hint() -> None:
    stack = PromotionStack()
    stack.push(image("a"), "v1.0.0")
    stack.registries.fail(stack.registries.pushes[0][0].registry)  # the source does not answer
    stack.work(until=timedelta(seconds=1))
    assert len(stack.hints.to("promote")) == 1

"""Of several runs that find a notice due at one moment, one sends it; a notice is never lost."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Thread

import pytest

from support.fakes.ports import Crash, CrashAfter, FakeClock, FakeNotices, FakeState
from support.fakes.promotion import PromotionStack
from support.fakes.recording import policy
from support.fakes.wiring import services
from support.images.builders import DEV, image
from tallyman.errors import Unreachable
from tallyman.ports.messages import Notices
from tallyman.services.shared.one_sender import LONGEST, RECENT, OneSender


@dataclass
class Slow(FakeNotices):
    """Begins `meanwhile` while the first notice is being sent."""

    meanwhile: Callable[[], object] = lambda: None
    threads: list[Thread] = field(default_factory=list)

    def publish(self, subject: str, text: str, attributes: Mapping[str, str]) -> None:
        if not self.threads:
            self.threads.append(Thread(target=self.meanwhile))
            self.threads[0].start()
            self.threads[0].join(0.3)  # it waits for this one
        super().publish(subject, text, attributes)


def test_two_runs_at_one_moment_that_decide_the_same_send_one_notice() -> None:
    slow = Slow()
    stack = PromotionStack(policy(soak="24h"), notices=slow)
    slow.meanwhile = lambda: services(stack.ports(), time.sleep).evaluator.digest(image("a").digest)
    stack.push(image("a"), "v1.0.0")
    slow.threads[0].join()
    assert [subject for subject, _, _ in stack.notices.published] == [f"{DEV.name}:v1.0.0 is held for prod"]
    (waits,) = stack.pending()
    assert waits["noticed"]


@dataclass
class Sender:
    """Runs at one clock; waiting advances it."""

    clock: FakeClock = field(default_factory=FakeClock)
    state: FakeState = field(default_factory=FakeState)
    fake: FakeNotices = field(default_factory=FakeNotices)

    def publish(self, text: str = "t", over: Notices | None = None, stands_still: bool = False) -> None:
        def sleep(seconds: float) -> None:
            self.clock.advance(seconds=0 if stands_still else seconds)

        OneSender(over or self.fake, self.state, self.clock, sleep).publish("s", text, {"kind": "failed"})

    @property
    def texts(self) -> list[str]:
        return [text for _, text, _ in self.fake.published]


def test_a_notice_whose_run_died_is_sent_by_the_next_which_waits_some_seconds() -> None:
    sender = Sender()
    with pytest.raises(Crash):
        sender.publish(over=CrashAfter(1).wrap(sender.fake))
    begun = sender.clock()
    sender.publish()
    assert sender.texts == ["t"]
    assert LONGEST <= sender.clock() - begun <= LONGEST + timedelta(seconds=0.2)


def test_a_clock_that_stands_still_or_is_behind_does_not_hold_a_notice() -> None:
    sender = Sender()
    with pytest.raises(Crash):
        sender.publish(over=CrashAfter(1).wrap(sender.fake))
    sender.clock.advance(seconds=-30)
    sender.publish(stands_still=True)
    assert sender.texts == ["t"]


def test_a_notice_that_could_not_be_sent_is_sent_by_the_next_run_at_once() -> None:
    class Silent(FakeNotices):
        def publish(self, subject: str, text: str, attributes: Mapping[str, str]) -> None:
            raise Unreachable("no answer")

    sender = Sender()
    with pytest.raises(Unreachable):
        sender.publish(over=Silent())
    begun = sender.clock()
    sender.publish()
    assert (sender.texts, sender.clock()) == (["t"], begun)


def test_an_equal_notice_is_sent_again_after_a_minute_and_another_one_at_once() -> None:
    sender = Sender()
    for text in ("t", "t", "other"):
        sender.publish(text)
    sender.clock.advance(seconds=RECENT.total_seconds())
    sender.publish("t")
    assert sender.texts == ["t", "other", "t"]

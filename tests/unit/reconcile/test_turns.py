"""Every part of a reconcile run has a share of its time and a position: none keeps another from ever being done."""

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from support.fakes.ports import FakeClock, FakeState
from support.fakes.recording import SCHEDULE, RecordingStack, policy
from support.images.builders import DEV, PROD, image, push_event
from tallyman.errors import OutOfTime
from tallyman.services.copying.blobs import enough_time
from tallyman.services.reconcile.rejudge import Watched
from tallyman.services.reconcile.turns import Turns, share
from tallyman.state.positions import RELEASED


def countdown(looks: int) -> Callable[[], float]:
    times = count(looks * 10.0, -10.0)
    return lambda: next(times)


def test_a_list_longer_than_its_share_is_resumed_and_restarts_at_its_end() -> None:
    turns, done = Turns(FakeState(), FakeClock()), list[int]()
    items = [((f"{n:03d}",), n) for n in range(10)]
    runs = 0
    while len(done) < 20:
        runs += 1
        try:
            turns.each(RELEASED, items, done.append, countdown(4), "numbers")
        except OutOfTime:
            continue
    assert done == [*range(10), *range(10)]
    assert runs > 4


def test_an_item_that_ran_out_of_time_is_first_in_the_next_run() -> None:
    turns, done = Turns(FakeState(), FakeClock()), list[int]()

    def step(number: int) -> None:
        if number == 3 and 3 not in done:
            done.append(3)
            raise OutOfTime("in the middle of it")
        done.append(number)

    items = [((f"{n}",), n) for n in range(5)]
    with pytest.raises(OutOfTime):
        turns.each(RELEASED, items, step, lambda: 900.0, "numbers")
    turns.each(RELEASED, items, step, lambda: 900.0, "numbers")
    assert done == [0, 1, 2, 3, 3, 4]


def test_a_share_is_a_part_of_the_remaining_time() -> None:
    left = [100.0]
    part = share(lambda: left[0], 0.25)
    assert part() == 25
    left[0] = 80.0
    assert part() == 5


class EndlessReleases:
    """Supervision with so many releases that no run finishes."""

    def __init__(self) -> None:
        self.push_protection = self

    def watched(self, *_: Any) -> tuple[Watched, None]:
        return Watched(), None

    def carry_out(self, todo: None, problems: Any, left: Callable[[], float]) -> None:
        self.all(None, None, problems, left)

    def all(self, takes: Any, found: Any, problems: Any, left: Callable[[], float]) -> None:
        while True:
            enough_time(left, "releases without end")


class CountdownDeadline:
    """A deadline that comes a second nearer with each read."""

    def __init__(self, seconds: float) -> None:
        self.left = seconds

    def __call__(self) -> float:
        self.left -= 1.0
        return self.left


def test_too_many_releases_do_not_stop_pending_work_and_sweeps() -> None:
    system = RecordingStack(policy(soak="1h"))
    waits = system.registries.push(DEV, image("a"), "v1.0.0")
    system.deliver(push_event(DEV, waits, "v1.0.0", at=system.clock()))
    system.clock.advance(hours=2)
    stowaway = system.registries.push(PROD, image("b"), "v1.0.0")
    system.hints.take()
    made = system.process()
    endless: Any = EndlessReleases()
    made.all.released = endless
    report = made.reconcile.run(SCHEDULE, "one", CountdownDeadline(900.0))
    assert report["more"]
    assert [hint["digest"] for hint in system.hints.to("promote")] == [waits]
    assert stowaway in {fact.digest for fact in system.ledger.facts}


def test_a_repository_that_never_fits_does_not_stop_sweeps_of_others() -> None:
    system = RecordingStack(policy(soak="1h"))
    for number in range(300):
        system.registries.push(DEV, image(str(number)))
    small = system.registries.push(PROD, image("small"), "v1.0.0")
    for _ in range(3):
        system.reconcile(SCHEDULE, left=countdown(40))
        system.clock.advance(minutes=15)
    assert small in {fact.digest for fact in system.ledger.facts}

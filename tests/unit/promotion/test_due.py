"""What time alone opens is looked at within seconds of its moment, by a hint sent for it; sweeps are the net."""

from datetime import timedelta

import pytest

from support.fakes.promotion import Harbour
from support.fakes.recording import policy
from support.images.builders import image
from tallyman.domain.history.facts import Kind


def waits(soak: str = "10m", **gates: object) -> Harbour:
    harbour = Harbour(policy=policy(verified=True, soak=soak, **gates))
    harbour.push(image("a"), "v1.0.0")
    return harbour


def promoted_after(harbour: Harbour) -> timedelta:
    (promoted,) = harbour.facts(Kind.PROMOTED)
    first = min(f.at for f in harbour.facts(Kind.PUSHED))
    return promoted.at - first


@pytest.mark.parametrize("soak", ["1s", "10m", "15m", "29m"])
def test_a_soak_that_ends_before_the_next_sweep_is_looked_at_when_it_ends(soak: str) -> None:
    harbour = waits(soak)
    harbour.work(until=timedelta(hours=1))
    length = {"1s": 1, "10m": 600, "15m": 900, "29m": 1740}[soak]
    assert timedelta(seconds=length) <= promoted_after(harbour) <= timedelta(seconds=length + 5)


def test_a_longer_one_is_hinted_by_the_last_sweep_before_its_end() -> None:
    harbour = waits("2h")
    assert harbour.hints.to("promote") == []
    for _ in range(7):
        harbour.clock.advance(minutes=15)
        harbour.evaluator.digest(image("a").digest, again=True)
        harbour.work(until=timedelta(minutes=1))
    assert harbour.facts(Kind.PROMOTED) == []
    harbour.work(until=timedelta(minutes=16))
    assert timedelta(hours=2) <= promoted_after(harbour) <= timedelta(hours=2, seconds=5)


def test_one_hint_is_under_way_however_often_it_is_decided() -> None:
    harbour = waits("10m")
    for _ in range(5):
        harbour.evaluator.digest(image("a").digest)
    (row,) = harbour.hints.take("promote")
    assert row[1]["due"]
    assert 590 <= row[2] <= 600


def test_a_hint_that_comes_early_is_sent_again() -> None:
    """A worker's clock may be behind."""
    harbour = waits("10m")
    ((_, body, _),) = harbour.hints.take("promote")
    harbour.clock.advance(minutes=9, seconds=30)
    harbour.handle(body)
    ((_, _, delay),) = harbour.hints.take("promote")
    assert delay <= 30


def test_a_window_is_looked_at_when_it_opens() -> None:
    at = {"days": "mon-sun", "between": "02:00-03:00", "timezone": "UTC"}  # the fake clock stands at 01:54:34
    harbour = waits("0s", window=at)
    harbour.work(until=timedelta(hours=1))
    (promoted,) = harbour.facts(Kind.PROMOTED)
    assert (promoted.at.hour, promoted.at.minute) == (2, 0)
    assert promoted.at.second <= 5


def test_what_failed_sends_its_own_hint_and_no_second_one() -> None:
    harbour = Harbour()
    harbour.push(image("a"), "v1.0.0")
    harbour.registries.fail(harbour.registries.pushes[0][0].registry)  # the source does not answer
    harbour.work(until=timedelta(seconds=1))
    assert len(harbour.hints.to("promote")) == 1

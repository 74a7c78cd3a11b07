"""Delivery faults on purpose: lost, doubled, late and reordered events, identical for the same seed."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from moto.sqs.models import sqs_backends

from support.stacks import sample_stack as sample
from tallyman_local.events.bus import Bus
from tallyman_local.events.chaos import Chaos, Settings
from tallyman_local.moto import calls as moto_calls
from tallyman_local.stack.deploy import HUB, deploy_hub


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def bus(clock: Clock) -> Iterator[Bus]:
    moto_calls.reset()
    deploy_hub(sample.ROOT, "sample")
    yield Bus(invoke=lambda arn, payload: None, clock=clock)
    moto_calls.reset()


def emit(bus: Bus, *names: str, source: str = "aws.ecr") -> None:
    for name in names:
        bus.emit(sample.push_event(HUB.account, HUB.region, id=name, source=source), HUB.account, HUB.region)


def arrived() -> list[str]:
    queue = sqs_backends[HUB.account][HUB.region].queues["sample-work"]
    return [json.loads(message.body)["id"] for message in queue._messages]


def fates(**settings: Any) -> list[list[float]]:
    chaos = Chaos(Settings(**settings))
    return [chaos.deliveries() for _ in range(200)]


def test_without_chaos_every_event_arrives_once_and_in_order(bus: Bus) -> None:
    emit(bus, "a", "b", "c")
    assert arrived() == ["a", "b", "c"]


def test_the_same_seed_makes_the_same_choices() -> None:
    settings = {"lose": 0.3, "double": 0.3, "reorder": True, "delay": 1.0}
    assert fates(**settings, seed=7) == fates(**settings, seed=7)
    assert fates(**settings, seed=7) != fates(**settings, seed=8)


def test_a_higher_loss_rate_does_not_change_which_events_are_doubled() -> None:
    little, much = fates(lose=0.1, double=0.5, seed=3), fates(lose=0.6, double=0.5, seed=3)
    assert all(more in (less, []) for less, more in zip(little, much, strict=True))


def test_lost_events_are_counted_and_stay_lost(bus: Bus) -> None:
    bus.set_chaos(Settings(lose=1))
    emit(bus, "a", "b")
    assert (bus.counts["lost"], bus.pending()) == (2, 0)
    bus.set_chaos(None)
    emit(bus, "c")
    assert arrived() == ["c"]


def test_doubled_events_arrive_twice_with_the_same_id(bus: Bus) -> None:
    bus.set_chaos(Settings(double=1))
    emit(bus, "a")
    assert arrived() == ["a", "a"]
    assert bus.counts["doubled"] == 1


def test_delayed_events_are_pending_until_off_delivers_them(bus: Bus) -> None:
    bus.set_chaos(Settings(delay=60))
    emit(bus, "a", "b")
    assert arrived() == []
    assert bus.pending() == 2
    bus.set_chaos(None)
    assert arrived() == ["a", "b"]
    assert bus.pending() == 0


def test_delayed_events_arrive_after_their_delay(bus: Bus, clock: Clock) -> None:
    bus.set_chaos(Settings(delay=60))
    emit(bus, "a")
    clock.now = 61
    bus.start()
    try:
        sample.wait_for(lambda: bus.pending() == 0)
        assert arrived() == ["a"]
    finally:
        bus.stop()


def test_reordered_events_all_arrive_in_another_order(bus: Bus) -> None:
    names = [f"{n:02}" for n in range(20)]
    bus.set_chaos(Settings(reorder=True, seed=1))
    emit(bus, *names)
    bus.set_chaos(None)
    assert sorted(arrived()) == names
    assert arrived() != names


def test_chaos_affects_only_events_of_ecr_and_inspector(bus: Bus) -> None:
    bus.set_chaos(Settings(lose=1))
    emit(bus, "ours", source="tallyman")
    assert bus.counts["lost"] == 0


@pytest.mark.parametrize("wrong", [{"lose": 1.1}, {"double": -1}, {"delay": -1}, {"delay": 99999}, {"loose": 1}])
def test_invalid_chaos_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Settings.of(wrong)

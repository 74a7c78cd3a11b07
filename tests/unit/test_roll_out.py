"""Roll-outs: region by region, each service waited for, repeatable at any point, back everywhere when one fails."""

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest

import builders as b
from fake_registries import FakeRegistries
from fakes import FakeHints, FakeLedger, FakeNotices, FakeState
from tallyman.domain.facts import Kind
from tallyman.domain.names import Registry
from tallyman.domain.policy import Policy, Service
from tallyman.domain.times import parse_time
from tallyman.errors import BadMessage, NotFound, Unreachable
from tallyman.ports import Moving, StateChange
from tallyman.services.roll_out import LIMIT, RollOutReleases, roll_out_partition

NAME = "rocketseat/app"
ONE, TWO = Registry("222222222222", "us-east-2"), Registry("222222222222", "sa-east-1")
IMAGE = b.multi_arch("roll-out")
HINT = json.dumps({"detail-type": "Image Released", "detail": {"environment": "prod", "repository": NAME}})


@dataclass
class Fleet:
    """Services that settle when told to; `runs` is what each runs."""

    runs: dict[tuple[Registry, str], str] = field(default_factory=dict)
    says: dict[tuple[Registry, str], Moving] = field(default_factory=dict)
    takes: str | None = None
    moves: list[tuple[Registry, str]] = field(default_factory=list)
    broken: Exception | None = None

    def current(self, registry: Registry, service: Service) -> str:
        return self.runs.get((registry, service.name), "old")

    def architecture(self, registry: Registry, service: Service) -> str | None:
        return self.takes

    def move(self, registry: Registry, service: Service, image: str) -> str:
        if self.broken:
            raise self.broken
        if self.runs.get((registry, service.name)) != image:
            self.moves.append((registry, image))
        self.runs[registry, service.name] = image
        return image

    def settled(self, registry: Registry, service: Service, moved: str) -> Moving:
        return self.says.get((registry, service.name), Moving(True, "steady"))

    def back(self, registry: Registry, service: Service, before: str) -> None:
        self.runs[registry, service.name] = before


class World:
    def __init__(self, pause: str = "0s") -> None:
        self.now = parse_time("2026-11-16T02:00:00Z")
        self.policy = Policy.parse({
            "environments": {
                "dev": {"registries": ["111111111111/us-east-2"]},
                "prod": {
                    "registries": [str(ONE), str(TWO)],
                    "rollout": {"services": [{"ecs": "shop/app", "repository": NAME}], "pause": pause},
                },
            },
        })  # fmt: skip
        self.fleet, self.state = Fleet(), FakeState()
        self.ledger = FakeLedger(self.state)
        self.hints, self.notices, self.source = FakeHints(), FakeNotices(), FakeRegistries(self.clock)
        self.service = RollOutReleases(
            self.policy, self.source, self.fleet, self.ledger, self.state, self.hints, self.notices, self.clock
        )
        self.release("one")

    def clock(self) -> datetime:
        return self.now

    def release(self, name: str) -> None:
        item = self.state.get("REL#prod", NAME)
        data = {"id": name, "digest": IMAGE.digest, "tags": ["v1"]}
        self.state.put(StateChange("REL#prod", NAME, item.revision if item else 0, data))

    def run(self) -> str:
        return self.service.handle(HINT)

    @property
    def data(self) -> Any:
        item = self.state.get(roll_out_partition("prod"), NAME)
        assert item is not None
        return item.data

    def outcomes(self) -> list[str]:
        facts = self.ledger.of_environment("prod", NAME)
        return sorted(f.detail["outcome"] for f in facts if f.kind is Kind.ROLLED_OUT)


@pytest.fixture
def world() -> World:
    return World()


def test_every_region_gets_the_digest_in_the_policys_order(world: World) -> None:
    assert world.run() == "rolled out"
    assert [registry for registry, _ in world.fleet.moves] == [ONE, TWO]
    assert all(image.endswith(f"/{NAME}@{IMAGE.digest}") for _, image in world.fleet.moves)
    assert world.outcomes() == ["done", "moved", "moved"]


def test_a_doubled_hint_moves_nothing_twice(world: World) -> None:
    world.run()
    assert world.run() == "done already"
    assert len(world.fleet.moves) == 2


def test_the_next_region_waits_until_the_one_before_is_steady(world: World) -> None:
    world.fleet.says[ONE, "shop/app"] = Moving(None, "in progress")
    assert world.run().startswith("waiting for ecs shop/app")
    assert [registry for registry, _ in world.fleet.moves] == [ONE]
    del world.fleet.says[ONE, "shop/app"]
    assert world.run() == "rolled out"


def test_the_pause_is_between_registries_and_not_after_the_last() -> None:
    world = World(pause="10m")
    assert world.run() == "pausing"
    world.now += timedelta(minutes=9)
    assert world.run() == "pausing"
    world.now += timedelta(minutes=2)
    assert world.run() == "rolled out"


def test_when_one_fails_everything_goes_back_and_people_are_told(world: World) -> None:
    world.fleet.says[TWO, "shop/app"] = Moving(False, "tasks failed to start")
    assert world.run().startswith("failed")
    assert world.fleet.runs == {(ONE, "shop/app"): "old", (TWO, "shop/app"): "old"}
    assert world.data["status"] == "failed"
    assert "tasks failed to start" in world.data["reason"]
    assert world.outcomes() == ["failed", "moved"]
    assert world.run() == "failed already"


def test_a_failure_that_could_not_be_told_is_told_by_the_next_try(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object) -> None:
        raise Unreachable("SNS does not answer")

    world.fleet.says[TWO, "shop/app"] = Moving(False, "it crashes")
    with monkeypatch.context() as broken:
        broken.setattr(world.notices, "publish", unreachable)
        with pytest.raises(Unreachable):
            world.run()
    assert world.run().startswith("failed: ")
    assert len(world.notices.published) == 1
    assert world.data["status"] == "failed"


def test_a_release_that_came_meanwhile_begins_anew(world: World) -> None:
    world.fleet.says[ONE, "shop/app"] = Moving(False, "no")
    world.run()
    world.fleet.says.clear()
    world.release("two")
    assert world.run() == "rolled out"


def test_what_never_settles_fails_after_an_hour(world: World) -> None:
    world.fleet.says[ONE, "shop/app"] = Moving(None, "3 of 4 tasks run")
    world.run()
    world.now += LIMIT + timedelta(seconds=1)
    assert world.run().startswith("failed")
    assert "3 of 4 tasks run" in world.data["reason"]


def test_a_service_that_is_not_there_is_a_failed_roll_out_and_a_passing_error_is_tried_again(world: World) -> None:
    world.fleet.broken = Unreachable("not now")
    with pytest.raises(Unreachable):
        world.run()
    world.fleet.broken = NotFound("there is no ecs shop/app")
    assert world.run().startswith("failed")


@pytest.mark.parametrize("body", ["", "[]", '{"roll_out": {"environment": 1}}', '{"detail-type": "Image Action"}'])
def test_what_is_no_release_is_a_bad_message(world: World, body: str) -> None:
    with pytest.raises(BadMessage):
        world.service.handle(body)


def test_without_services_or_release_there_is_nothing_to_do(world: World) -> None:
    other = json.dumps({"roll_out": {"environment": "prod", "repository": "rocketseat/other"}})
    assert world.service.handle(other) == "nothing to roll out"

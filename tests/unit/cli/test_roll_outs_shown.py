"""release, pending and why show a release's roll-out: each target, then and now."""

import json
from typing import Any

import pytest

from support.fakes.cli_stack import POLICY, FakeStack
from support.fakes.rollouts import Fleet
from support.images.builders import DEV, PROD, PROD_SA, Built, image
from tallyman.adapters.files import policy_file
from tallyman.domain.times import format_time
from tallyman.ports.running import Moving
from tallyman.services.releases.rollout import RollOutReleases
from tallyman.services.releases.rollout_progress import roll_out_hint
from tallyman.services.shared.lease import Leases

NAME = "rocketseat/widget-server"
RELEASE = f"prod/{NAME}"
TEXT = POLICY.replace("{verified: true, scan: {max: {critical: 0}}}", "{verified: true}").replace(
    "222222222222/sa-east-1]}",
    f"222222222222/sa-east-1], rollout: {{services: [{{ecs: shop/app, repository: {NAME}}}]}}}}",
)
SERVICE = "shop/app"


class Shop:
    """The stack, with services that roll_out updates."""

    def __init__(self, world: FakeStack) -> None:
        self.world, self.fleet = world, Fleet()
        world.policy = world.stack.given = policy_file.loads(TEXT.encode()).for_hub(DEV.registry)

    def release(self, name: str, tag: str) -> Built:
        """Push, promote and release; the roll-out has not begun."""
        built = image(name)
        self.world.clock.advance(minutes=1)
        self.world.push(built, tag)
        self.world.work()
        return built

    def roll_out(self) -> None:
        w = self.world
        w.clock.advance(minutes=1)
        leases = Leases(w.state, w.clock)
        service = RollOutReleases(
            w.policy, w.registries, self.fleet, w.ledger, w.state, w.hints, w.notices, w.clock, leases
        )
        service.handle(json.dumps(roll_out_hint("prod", NAME)))
        w.hints.take("roll_out")

    def shown(self, *more: str) -> Any:
        return self.world.json("release", "show", RELEASE, *more)

    def states(self, *more: str) -> tuple[str, list[str]]:
        rollout = self.shown(*more)["rollout"]
        return rollout["status"], [target["state"] for target in rollout["targets"]]


@pytest.fixture
def shop(everywhere: FakeStack) -> Shop:
    return Shop(everywhere)


def test_each_target_is_shown_from_start_to_end(shop: Shop) -> None:
    built = shop.release("app", "v1.0.0")
    assert shop.states() == ("not_begun", ["not_begun", "not_begun"])
    shop.fleet.says[PROD_SA.registry, SERVICE] = Moving(None, "1 of 2 tasks run")
    shop.roll_out()
    assert shop.states() == ("running", ["done", "running"])
    text = shop.world.run("release", "show", RELEASE).stdout
    assert f"being rolled out: waiting for ecs {SERVICE} in {PROD_SA.registry}: 1 of 2 tasks run" in text
    shop.fleet.says.clear()
    shop.roll_out()
    assert shop.states() == ("done", ["done", "done"])
    first, _ = shop.shown()["rollout"]["targets"]
    assert (first["registry"], first["service"], first["before"]) == (str(PROD.registry), f"ecs {SERVICE}", "old")
    assert first["image"] == PROD.at(built.digest)


def test_a_failure_is_shown_with_its_reason_and_the_rolled_back_digests(shop: Shop) -> None:
    shop.release("app", "v1.0.0")
    shop.fleet.says[PROD_SA.registry, SERVICE] = Moving(False, "tasks failed to start")
    shop.roll_out()
    assert shop.states() == ("failed", ["rolled_back", "failed"])
    text = shop.world.run("release", "show", RELEASE).stdout
    assert f"not rolled out: ecs {SERVICE} in {PROD_SA.registry}: tasks failed to start" in text
    (row,) = [line for line in text.splitlines() if "rolled back" in line]
    assert str(PROD.registry) in row
    assert "old" in row


def test_a_past_moment_is_shown_as_it_was_and_the_history_has_each_result(shop: Shop) -> None:
    shop.release("one", "v1.0.0")
    shop.roll_out()
    one = shop.world.clock()
    shop.release("two", "v1.1.0")
    shop.fleet.says[PROD_SA.registry, SERVICE] = Moving(None, "in progress")
    shop.roll_out()
    two = shop.world.clock()
    shop.fleet.says[PROD_SA.registry, SERVICE] = Moving(False, "no")
    shop.roll_out()
    assert shop.states("--at", format_time(one)) == ("done", ["done", "done"])
    assert shop.states("--at", format_time(two)) == ("running", ["done"])
    assert shop.states("--at", format_time(shop.world.clock())) == ("failed", ["rolled_back", "failed"])
    assert [row["rollout"] for row in shop.shown()["history"]] == ["failed", "done"]
    shop.release("three", "v1.2.0")
    assert [row["rollout"] for row in shop.shown()["history"]] == [None, "failed", "done"]
    assert shop.states() == ("not_begun", ["not_begun", "not_begun"])


def test_list_shows_the_state_of_each_roll_out(shop: Shop) -> None:
    shop.release("app", "v1.0.0")
    (row,) = shop.world.json("release", "list", "prod")
    assert row["rollout"]["status"] == "not_begun"
    assert "not begun" in shop.world.run("release", "list", "prod").stdout


def test_pending_counts_unfinished_roll_outs_and_lists_them_on_request(shop: Shop) -> None:
    built = shop.release("app", "v1.0.0")
    assert "1 roll-out is not done" in shop.world.run("pending", "prod").stderr
    assert shop.world.json("pending") == []
    (row,) = shop.world.json("pending", "prod", "--rollouts")
    assert (row["environment"], row["repository"], row["digest"], row["tags"]) == (
        "prod",
        NAME,
        built.digest,
        ["v1.0.0"],
    )
    assert row["rollout"]["status"] == "not_begun"
    assert "not rolled out yet" in shop.world.run("pending", "--rollouts").stdout
    shop.roll_out()
    assert shop.world.json("pending", "--rollouts") == []
    assert "every release is rolled out" in shop.world.run("pending", "--rollouts").stdout
    assert "roll-out" not in shop.world.run("pending").stderr


def test_why_shows_the_roll_out_of_releases_only(shop: Shop) -> None:
    def why(tag: str, *more: str) -> Any:
        return shop.world.json("why", f"dev/{NAME}:{tag}", "--to", "prod", *more)["rollout"]

    shop.release("one", "v1.0.0")
    shop.roll_out()
    then = format_time(shop.world.clock())
    assert why("v1.0.0")["status"] == "done"
    assert "rolled out" in shop.world.run("why", f"dev/{NAME}:v1.0.0", "--to", "prod").stdout
    shop.release("two", "v1.1.0")
    assert why("v1.0.0") is None
    assert why("v1.1.0")["status"] == "not_begun"
    assert why("v1.0.0", "--at", then)["status"] == "done"


def test_without_targets_in_the_policy_there_is_no_roll_out(everywhere: FakeStack) -> None:
    shop = Shop(everywhere)
    everywhere.policy = everywhere.stack.given = policy_file.loads(
        POLICY.replace("{verified: true, scan: {max: {critical: 0}}}", "{verified: true}").encode()
    ).for_hub(DEV.registry)
    shop.release("app", "v1.0.0")
    assert shop.shown()["rollout"] is None
    assert shop.world.json("pending", "--rollouts") == []
    assert "roll" not in everywhere.run("release", "show", RELEASE).stdout

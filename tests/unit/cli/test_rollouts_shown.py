"""release, pending and why show a release's rollout: each target, then and now."""

import json
from typing import Any

import pytest

from support.fakes.cli_stack import POLICY, FakeStack
from support.fakes.rollouts import Fleet
from support.images.builders import DEV, PROD, PROD_SA, Built, image
from tallyman.adapters.files import policy_file
from tallyman.domain.policy import Runs
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


class RolloutCliStack:
    """The stack, with services that roll_out updates."""

    def __init__(self, system: FakeStack) -> None:
        self.system, self.fleet = system, Fleet()
        system.policy = system.stack.given = policy_file.loads(TEXT.encode()).for_hub(DEV.registry)

    def release(self, name: str, tag: str) -> Built:
        """Push, promote and release; the rollout has not begun."""
        built = image(name)
        self.system.clock.advance(minutes=1)
        self.system.push(built, tag)
        self.system.work()
        return built

    def roll_out(self) -> None:
        w = self.system
        w.clock.advance(minutes=1)
        leases = Leases(w.state, w.clock)
        fleets = dict.fromkeys(Runs, self.fleet)
        service = RollOutReleases(
            w.policy, w.registries, fleets, w.ledger, w.state, w.hints, w.notices, w.clock, leases
        )
        service.handle(json.dumps(roll_out_hint("prod", NAME)))
        w.hints.take("roll_out")

    def shown(self, *more: str) -> Any:
        return self.system.json("release", "show", RELEASE, *more)

    def states(self, *more: str) -> tuple[str, list[str]]:
        rollout = self.shown(*more)["rollout"]
        return rollout["status"], [target["state"] for target in rollout["targets"]]


@pytest.fixture
def rollout_stack(everywhere: FakeStack) -> RolloutCliStack:
    return RolloutCliStack(everywhere)


def test_each_target_is_shown_from_start_to_end(rollout_stack: RolloutCliStack) -> None:
    built = rollout_stack.release("app", "v1.0.0")
    assert rollout_stack.states() == ("not_begun", ["not_begun", "not_begun"])
    rollout_stack.fleet.says[PROD_SA.registry, SERVICE] = Moving(None, "1 of 2 tasks run")
    rollout_stack.roll_out()
    assert rollout_stack.states() == ("running", ["done", "running"])
    text = rollout_stack.system.run("release", "show", RELEASE).stdout
    assert f"being rolled out: waiting for ecs {SERVICE} in {PROD_SA.registry}: 1 of 2 tasks run" in text
    rollout_stack.fleet.says.clear()
    rollout_stack.roll_out()
    assert rollout_stack.states() == ("done", ["done", "done"])
    first, _ = rollout_stack.shown()["rollout"]["targets"]
    assert (first["registry"], first["service"], first["before"]) == (str(PROD.registry), f"ecs {SERVICE}", "old")
    assert first["image"] == PROD.at(built.digest)


def test_a_failure_is_shown_with_its_reason_and_the_rolled_back_digests(rollout_stack: RolloutCliStack) -> None:
    rollout_stack.release("app", "v1.0.0")
    rollout_stack.fleet.says[PROD_SA.registry, SERVICE] = Moving(False, "tasks failed to start")
    rollout_stack.roll_out()
    assert rollout_stack.states() == ("failed", ["rolled_back", "failed"])
    text = rollout_stack.system.run("release", "show", RELEASE).stdout
    assert f"not rolled out: ecs {SERVICE} in {PROD_SA.registry}: tasks failed to start" in text
    (row,) = [line for line in text.splitlines() if "rolled back" in line]
    assert str(PROD.registry) in row
    assert "old" in row


def test_a_past_moment_is_shown_as_it_was_and_the_history_has_each_result(rollout_stack: RolloutCliStack) -> None:
    rollout_stack.release("one", "v1.0.0")
    rollout_stack.roll_out()
    one = rollout_stack.system.clock()
    rollout_stack.release("two", "v1.1.0")
    rollout_stack.fleet.says[PROD_SA.registry, SERVICE] = Moving(None, "in progress")
    rollout_stack.roll_out()
    two = rollout_stack.system.clock()
    rollout_stack.fleet.says[PROD_SA.registry, SERVICE] = Moving(False, "no")
    rollout_stack.roll_out()
    assert rollout_stack.states("--at", format_time(one)) == ("done", ["done", "done"])
    assert rollout_stack.states("--at", format_time(two)) == ("running", ["done"])
    assert rollout_stack.states("--at", format_time(rollout_stack.system.clock())) == (
        "failed",
        ["rolled_back", "failed"],
    )
    assert [row["rollout"] for row in rollout_stack.shown()["history"]] == ["failed", "done"]
    rollout_stack.release("three", "v1.2.0")
    assert [row["rollout"] for row in rollout_stack.shown()["history"]] == [None, "failed", "done"]
    assert rollout_stack.states() == ("not_begun", ["not_begun", "not_begun"])


def test_list_shows_the_state_of_each_rollout(rollout_stack: RolloutCliStack) -> None:
    rollout_stack.release("app", "v1.0.0")
    (row,) = rollout_stack.system.json("release", "list", "prod")
    assert row["rollout"]["status"] == "not_begun"
    assert "not begun" in rollout_stack.system.run("release", "list", "prod").stdout


def test_pending_counts_unfinished_roll_outs_and_lists_them_on_request(rollout_stack: RolloutCliStack) -> None:
    built = rollout_stack.release("app", "v1.0.0")
    assert "1 rollout is not done" in rollout_stack.system.run("pending", "prod").stderr
    assert rollout_stack.system.json("pending") == []
    (row,) = rollout_stack.system.json("pending", "prod", "--rollouts")
    assert (row["environment"], row["repository"], row["digest"], row["tags"]) == (
        "prod",
        NAME,
        built.digest,
        ["v1.0.0"],
    )
    assert row["rollout"]["status"] == "not_begun"
    assert "not rolled out yet" in rollout_stack.system.run("pending", "--rollouts").stdout
    rollout_stack.roll_out()
    assert rollout_stack.system.json("pending", "--rollouts") == []
    assert "every release is rolled out" in rollout_stack.system.run("pending", "--rollouts").stdout
    assert "rollout" not in rollout_stack.system.run("pending").stderr


def test_why_shows_the_rollout_of_releases_only(rollout_stack: RolloutCliStack) -> None:
    def why(tag: str, *more: str) -> Any:
        return rollout_stack.system.json("why", f"dev/{NAME}:{tag}", "--to", "prod", *more)["rollout"]

    rollout_stack.release("one", "v1.0.0")
    rollout_stack.roll_out()
    then = format_time(rollout_stack.system.clock())
    assert why("v1.0.0")["status"] == "done"
    assert "rolled out" in rollout_stack.system.run("why", f"dev/{NAME}:v1.0.0", "--to", "prod").stdout
    rollout_stack.release("two", "v1.1.0")
    assert why("v1.0.0") is None
    assert why("v1.1.0")["status"] == "not_begun"
    assert why("v1.0.0", "--at", then)["status"] == "done"


def test_without_targets_in_the_policy_there_is_no_rollout(everywhere: FakeStack) -> None:
    rollout_stack = RolloutCliStack(everywhere)
    everywhere.policy = everywhere.stack.given = policy_file.loads(
        POLICY.replace("{verified: true, scan: {max: {critical: 0}}}", "{verified: true}").encode()
    ).for_hub(DEV.registry)
    rollout_stack.release("app", "v1.0.0")
    assert rollout_stack.shown()["rollout"] is None
    assert rollout_stack.system.json("pending", "--rollouts") == []
    assert "roll" not in everywhere.run("release", "show", RELEASE).stdout

"""`tallyman doctor` against a stack that is well, and one that is not."""

import json
from collections.abc import Iterator

import pytest
from deployed import Deployed, deployed
from typer.testing import CliRunner

import builders as b
from tallyman_cli.main import app

NAME = "rocketseat/doctor"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    with deployed(tmp_path_factory.mktemp("cloud"), scanner="clean") as running:
        running.push(b.image("doctor"), NAME, "v1.0.0")
        yield running


def findings(status: int) -> dict[str, list[tuple[str, str]]]:
    """(verdict, found) by check."""
    done = CliRunner().invoke(app, ["doctor", "--json"])
    assert done.exit_code == status, done.stderr
    found: dict[str, list[tuple[str, str]]] = {}
    for each in json.loads(done.stdout):
        found.setdefault(each["check"], []).append((each["verdict"], each["found"]))
    return found


def test_what_is_well_and_what_is_not_is_told(world: Deployed) -> None:
    well = findings(0)
    assert [verdict for verdict, _ in well["rules"] + well["queues"]] == ["ok", "ok"]
    assert [verdict for verdict, _ in well["registries"]] == ["ok"] * 3
    assert [verdict for verdict, _ in well["events"]] == ["ok"] * 3
    assert well["quotas"][0][0] == "unknown"  # what can't be seen gets no tick

    world.send("push", "no event")
    world.client("events").disable_rule(Name="tallyman-image-own")
    policy = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "ecr:BatchGetImage"}],
    }
    world.client("ecr").set_repository_policy(repositoryName=NAME, policyText=json.dumps(policy))
    world.settle()
    with world.chaos(lose=1.0):
        world.push(b.image("unheard"), NAME, "v2.0.0")
    ill = findings(1)
    assert ill["rules"] == [("failed", "disabled: tallyman-image-own")]
    assert ill["queues"] == [("failed", "not empty: tallyman-push-dead-letters (1)")]
    assert [verdict for verdict, _ in ill["events"]] == ["failed", "ok", "ok"]
    assert any("lets everybody in" in found for _, found in ill["repositories"])

"""On the deployed stack: roll-back, recall and push protection, as people type them and as registries enforce them."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from typer.testing import CliRunner

from support.fakes.ports import stored
from support.images import builders as b
from support.stacks.deployed import Deployed, deployed
from tallyman.domain.push_protection import problem
from tallyman.state import creations as creation_items
from tallyman.state.items import StateChange
from tallyman_cli.main import app

POLICY = """\
environments:
  dev:  {registries: [111111111111/us-east-2]}
  prod: {registries: [222222222222/us-east-2, 222222222222/sa-east-1]}
repositories:
  - match: rocketseat/*
    create: {immutable: true, scan_on_push: true, push: tallyman-only, break_glass: role/break-glass}
    promotions:
      - {from: dev, to: prod, tags: [semver], gates: {verified: true}}
"""
NAME = "rocketseat/widget-server"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    with deployed(tmp_path_factory.mktemp("cloud"), POLICY, scanner="clean") as running:
        running.first, running.second = b.image("first"), b.image("second")  # type: ignore[attr-defined]
        running.push(running.first, NAME, "v1.0.0")  # type: ignore[attr-defined]
        running.push(running.second, NAME, "v1.1.0")  # type: ignore[attr-defined]
        yield running


def run(*words: str, status: int = 0) -> Any:
    result = CliRunner().invoke(app, [*words, "--json"])
    assert result.exit_code == status, result.output
    return json.loads(result.stdout)


def test_only_promotions_and_the_break_glass_role_push_into_prod(system: Deployed) -> None:
    assert system.digests_in(NAME, "v1.1.0") == [system.second.digest] * 2  # type: ignore[attr-defined]
    role = "arn:aws:iam::222222222222:role/ci"
    with pytest.raises(ClientError, match="explicit deny"):
        system.client("ecr", role=role).initiate_layer_upload(repositoryName=NAME)
    there = system.client("ecr", role="arn:aws:iam::222222222222:role/break-glass")
    assert there.initiate_layer_upload(repositoryName=NAME)["uploadId"]
    assert system.client("ecr").initiate_layer_upload(repositoryName=NAME)["uploadId"]  # dev is unrestricted


def test_reconcile_finds_a_repository_that_is_open_to_pushes(system: Deployed) -> None:
    assert "unguarded" not in system.reconcile(NAME)["found"]
    other = system.client("ecr", "sa-east-1", role="arn:aws:iam::222222222222:role/admin")
    text = other.get_repository_policy(repositoryName=NAME)["policyText"]
    other.delete_repository_policy(repositoryName=NAME)
    for _ in range(2):
        assert system.reconcile(NAME)["found"]["unguarded"] == 1
    assert system.notices().count(f"{NAME} in prod is open to pushes") == 1  # other tests open other repositories
    (differs,) = [r for r in run("repository", "create", NAME, "--in", "prod", status=1) if r["state"] == "differs"]
    assert "no policy" in differs["problem"]
    other.set_repository_policy(repositoryName=NAME, policyText=text)
    assert "unguarded" not in system.reconcile(NAME)["found"]
    assert json.loads(text) == differs["policy"]


def test_reconcile_sets_the_policy_that_an_interrupted_creation_did_not(system: Deployed) -> None:
    place = system.place("rocketseat/half-made", "prod")
    owner = system.client("ecr", role="arn:aws:iam::222222222222:role/admin")
    owner.create_repository(repositoryName=place.name)
    begun = {"environment": "prod", "name": place.name, "at": "2020-01-01T00:00:00Z"}
    system.stack.state.put(StateChange(creation_items.PARTITION, str(place), 0, begun))
    system.reconcile(place.name)
    text = owner.get_repository_policy(repositoryName=place.name)["policyText"]
    promoter = system.stack.clients().promoter("222222222222")
    assert problem(text, [promoter, "arn:aws:iam::222222222222:role/break-glass"]) is None
    assert stored(system.stack.state, creation_items.PARTITION, str(place)) is None


def test_a_release_is_rolled_back_and_then_recalled(system: Deployed) -> None:
    first, second = system.first.digest, system.second.digest  # type: ignore[attr-defined]
    (row,) = run("release", "list", "prod")
    assert (row["repository"], row["digest"], row["tags"]) == (NAME, second, ["v1.1.0"])
    back = run("release", "roll-back", f"prod/{NAME}", "--to", "v1.0.0")
    assert (back["digest"], back["refused"]) == (first, None)
    shown = run("release", "show", f"prod/{NAME}")
    assert (shown["digest"], shown["change"], shown["previous"]) == (first, "roll_back", second)
    assert [r["digest"] for r in shown["history"]] == [first, second, first]
    then = run("release", "show", f"prod/{NAME}", "--at", shown["history"][1]["at"])
    assert then["digest"] == second
    assert system.digests_in(NAME, "v1.1.0") == [second, second]
    recalled = run("recall", f"prod/{NAME}@{first}", "--because", "a leaked key", "--roll-back")
    assert [(r["environment"], r["digest"]) for r in recalled["releases"]] == [("prod", first)]
    assert recalled["rolled_back"] == [
        {"environment": "prod", "repository": NAME, "digest": second, "tags": ["v1.1.0"], "refused": None}
    ]
    assert run("release", "show", f"prod/{NAME}")["digest"] == second
    refused = run("release", "roll-back", f"prod/{NAME}", "--to", first, status=1)
    assert "recalled" in refused["refused"]
    (listed,) = run("pending", "prod", "--released")
    assert (listed["digest"], [g["name"] for g in listed["gates"]], listed["released"]) == (first, ["recalled"], False)


@pytest.mark.parametrize(
    ("function", "service", "call", "arguments"),
    [
        ("promote-image", "ecr", "batch_delete_image", {"repositoryName": NAME, "imageIds": [{"imageTag": "v1.0.0"}]}),
        ("promote-image", "ecr", "delete_repository", {"repositoryName": NAME, "force": True}),
        ("promote-image", "dynamodb", "update_item", {"Key": {"pk": {"S": "D#x"}, "sk": {"S": "x"}}}),
        ("record-command", "ecr", "initiate_layer_upload", {"repositoryName": NAME}),
        ("reconcile", "ecr", "initiate_layer_upload", {"repositoryName": NAME}),
        ("record-command", "dynamodb", "delete_item", {"Key": {"pk": {"S": "D#x"}, "sk": {"S": "x"}}}),
    ],
)
def test_a_role_may_not_do_another_roles_work(
    system: Deployed, function: str, service: str, call: str, arguments: dict[str, Any]
) -> None:
    client = system.client(service, role=f"arn:aws:iam::111111111111:role/tallyman-{function}-us-east-2")
    table = {"TableName": f"{system.cloud.stack}-ledger"} if service == "dynamodb" else {}
    with pytest.raises(ClientError, match="AccessDenied"):
        getattr(client, call)(**arguments, **table)

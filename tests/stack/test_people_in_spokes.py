"""People in another account: with only PeoplePolicy, in the roles that the spoke's parameters allow them to assume.

The local cloud enforces the roles' policies and trust, as IAM would.
"""

import json
import os
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import boto3
import pytest
from botocore.exceptions import ClientError
from typer.testing import CliRunner

from support.images import builders as b
from support.stacks.deployed import Deployed, deployed
from tallyman.domain.history.facts import Kind
from tallyman_cli.main import app

HUB, PROD = "111111111111", "222222222222"
READER, CHANGER, STRANGER = (f"arn:aws:iam::{HUB}:role/{name}" for name in ("readers", "keepers", "strangers"))
POLICY = """
environments:
  dev:  {registries: [111111111111/us-east-2]}
  prod: {registries: [222222222222/us-east-2]}
  old:  {registries: [222222222222/sa-east-1]}
repositories:
  - match: shop/*
    create: {immutable: true}
    retention: {keep: [{newest: 1, of: semver}], grace: 0s, at_most: 100%, enforce: true}
  - match: guarded/*
    create: {immutable: true, push: tallyman-only}
    promotions: [{from: dev, to: prod, tags: [semver], gates: {verified: true}}]
"""
Run = Callable[..., Any]


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    parameters = {"PeopleRoles": f"{READER},{CHANGER}", "PeopleChangeRoles": CHANGER}
    with deployed(tmp_path_factory.mktemp("people"), POLICY, parameters=parameters) as running:
        stacks = running.client("cloudformation").describe_stacks(StackName=running.cloud.stack)["Stacks"]
        policy = next(o["OutputValue"] for o in stacks[0]["Outputs"] if o["OutputKey"] == "PeoplePolicyArn")
        for role in (READER, CHANGER, STRANGER):
            running.cloud.credentials(role)  # creates the role, as an administrator
            running.client("iam").attach_role_policy(RoleName=role.rpartition("/")[2], PolicyArn=policy)
            running.cloud.permissions.held.add(role)
        yield running


@pytest.fixture
def run(system: Deployed) -> Run:
    """Run a command with --json as a session of the role: (exit status, its JSON)."""

    def as_role(role: str, *arguments: str) -> tuple[int, Any]:
        with mock.patch.dict(os.environ, system.cloud.credentials(role, session="ana")):
            result = CliRunner().invoke(app, [*arguments, "--json"])
        return result.exit_code, json.loads(result.stdout)

    return as_role


def spoke(system: Deployed, role: str, name: str, region: str = "us-east-2") -> Any:
    """ECR's client of a session of `role` that assumed the spoke's role for people of this name."""
    keys = system.client("sts", role=role).assume_role(
        RoleArn=f"arn:aws:iam::{PROD}:role/{system.cloud.stack}-{name}", RoleSessionName="ana"
    )["Credentials"]
    return boto3.client(
        "ecr",
        region_name=region,
        endpoint_url=system.cloud.url,
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["SessionToken"],
    )


def versions(system: Deployed, name: str, count: int) -> list[b.Built]:
    built = [b.image(f"{name} {n}") for n in range(count)]
    for n, each in enumerate(built):
        system.push(each, name, f"v1.{n}.0", environment="prod", settle=False)
    system.settle()
    return built


def test_a_reader_plans_retention_in_a_spoke_and_every_source_of_usage_answers(system: Deployed, run: Run) -> None:
    old, _ = versions(system, "shop/plan", 2)
    status, plan = run(READER, "retention", "plan", "prod/shop/plan")
    assert (status, plan["refused"]) == (0, None)
    assert {i["digest"] for i in plan["images"] if i["action"] == "remove"} == {old.digest}


def test_an_unnamed_person_is_refused_with_the_role_and_what_to_do(system: Deployed, run: Run) -> None:
    versions(system, "shop/closed", 1)
    status, answer = run(STRANGER, "retention", "plan", "prod/shop/closed")
    assert status == 1
    assert f"arn:aws:iam::{PROD}:role/{system.cloud.stack}-spoke-people," in answer["error"]
    assert f"in account {PROD}" in answer["error"]
    assert "PeopleRoles" in answer["error"]
    assert "PeoplePolicyArn" in answer["error"]


def test_only_the_changing_role_creates_a_repository(system: Deployed, run: Run) -> None:
    status, (answer,) = run(READER, "repository", "create", "guarded/new", "--in", "prod")
    assert (status, answer["state"]) == (1, "failed")
    assert "spoke-people-change" in answer["error"]
    assert "PeopleChangeRoles" in answer["error"]
    assert system.stack.registries.settings(system.place("guarded/new", "prod")) is None
    status, (answer,) = run(CHANGER, "repository", "create", "guarded/new", "--in", "prod")
    assert (status, answer["state"], answer["problem"]) == (0, "created", None)
    ecr = spoke(system, CHANGER, "spoke-people-change")
    text = ecr.get_repository_policy(repositoryName="guarded/new")["policyText"]
    assert f"arn:aws:iam::{PROD}:role/{system.cloud.stack}-spoke-push" in text  # still only the promoting role
    assert "people" not in text


def test_the_changing_role_restores_a_removed_image(system: Deployed, run: Run) -> None:
    old, _ = versions(system, "shop/back", 2)
    system.push(old, "shop/back", "v1.0.0", environment="old")
    system.send("retention", json.dumps({"repository": str(system.place("shop/back", "prod"))}))
    system.settle()
    assert system.facts(old.digest, Kind.REMOVED)
    assert system.digests_in("shop/back", "v1.0.0") == [None]
    origin, name = system.place("shop/back", "old"), f"prod/shop/back@{old.digest}"
    status, answer = run(READER, "retention", "restore", name)
    assert status == 1
    assert system.digests_in("shop/back", "v1.0.0") == [None]
    status, answer = run(CHANGER, "retention", "restore", name)
    assert (status, answer["outcome"], answer["tags"]) == (0, f"copied back from {origin}", ["v1.0.0"]), answer
    assert system.digests_in("shop/back", "v1.0.0") == [old.digest]


def test_the_changing_role_restores_an_archived_image(system: Deployed, run: Run) -> None:
    (image,) = versions(system, "shop/cold", 1)
    place = system.place("shop/cold", "prod")
    system.stack.remover.store(place, image.digest, archive=True)
    name = f"prod/shop/cold@{image.digest}"
    assert run(READER, "retention", "restore", name)[0] == 1
    assert system.stack.source.describe(place, [image.digest])[0].archived
    assert run(CHANGER, "retention", "restore", name)[1]["outcome"] == "restored from the archive"
    assert not system.stack.source.describe(place, [image.digest])[0].archived


@pytest.mark.parametrize("name", ["spoke-read", "spoke-push", "spoke-remove"])
def test_nobody_can_assume_a_functions_role(system: Deployed, name: str) -> None:
    with pytest.raises(ClientError, match="AccessDenied"):
        spoke(system, CHANGER, name)


def test_no_role_of_people_deletes_and_the_reading_role_writes_nothing(system: Deployed) -> None:
    (image,) = versions(system, "shop/kept", 1)
    kept: dict[str, Any] = {"repositoryName": "shop/kept"}
    wanted = [{"imageDigest": image.digest}]
    for role, name in ((READER, "spoke-people"), (CHANGER, "spoke-people-change")):
        ecr = spoke(system, role, name)
        with pytest.raises(ClientError, match="AccessDenied"):
            ecr.batch_delete_image(**kept, imageIds=wanted)
        with pytest.raises(ClientError, match="AccessDenied"):
            ecr.delete_repository(**kept, force=True)
    reads = spoke(system, READER, "spoke-people")
    assert reads.describe_images(**kept)["imageDetails"][0]["imageTags"] == ["v1.0.0"]
    refused: list[Callable[[], object]] = [
        lambda: reads.put_image(**kept, imageManifest=image.root.raw.decode(), imageTag="v2.0.0"),
        lambda: reads.create_repository(repositoryName="shop/more"),
        lambda: reads.set_repository_policy(**kept, policyText="{}"),
        lambda: reads.update_image_storage_class(**kept, imageId=wanted[0], targetStorageClass="ARCHIVE"),
    ]
    for call in refused:
        with pytest.raises(ClientError, match="AccessDenied"):
            call()
    with pytest.raises(ClientError, match="AccessDenied"):
        spoke(system, READER, "spoke-people-change")


def test_readers_can_run_the_doctor_and_unreadable_parts_are_not_ok(system: Deployed, run: Run) -> None:
    system.push(b.image("asked"), "shop/asked", "v1.0.0")
    system.create("shop/asked", "prod")
    status, found = run(READER, "doctor")
    assert status == 0, found
    unseen = [f for f in found if f["verdict"] == "unknown"]
    assert {f["check"] for f in unseen} <= {"events"}  # in a repository to which nothing was pushed yet
    assert all("no push is known yet" in f["found"] for f in unseen)
    seen = {f["found"].partition(": ")[0] for f in found if f["check"] == "repositories"}
    assert {f"{HUB}/us-east-2/shop/asked", f"{PROD}/us-east-2/shop/asked"} <= seen
    status, found = run(STRANGER, "doctor")
    assert status == 0, found
    assert {f["verdict"] for f in found if f["check"] == "round trip"} == {"ok"}  # the stack's own roles do that
    unseen = [f["found"] for f in found if f["check"] == "repositories" and f["verdict"] == "unknown"]
    assert [text.partition(": ")[0] for text in unseen] == [f"{PROD}/us-east-2", f"{PROD}/sa-east-1"]

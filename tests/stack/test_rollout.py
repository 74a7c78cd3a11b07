"""A release updates running services by digest: ECS services and Lambda functions of two regions, through the stack."""

import json
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from botocore.exceptions import ClientError

from support.fakes.ports import stored
from support.images import builders as b
from support.stacks import sample_stack as sample
from support.stacks.deployed import Deployed, deployed
from tallyman.domain.history.facts import Kind
from tallyman_local.moto import rollouts

ACCOUNT, REGIONS = "222222222222", ("us-east-2", "sa-east-1")
ECS, FUNCTION = "rocketseat/shop", "rocketseat/resizer"
POLICY = f"""\
environments:
  dev: {{registries: [111111111111/us-east-2]}}
  prod:
    registries: [{", ".join(f"{ACCOUNT}/{r}" for r in REGIONS)}]
    rollout:
      services:
        - {{ecs: shop/widgets, container: app, repository: {ECS}}}
        - {{lambda: resizer, alias: live, repository: {FUNCTION}}}
repositories:
  - match: rocketseat/*
    promotions: [{{from: dev, to: prod, tags: [semver], gates: {{verified: true}}}}]
"""
PARAMETERS = {
    "RollOutServices": f"arn:aws:ecs:*:{ACCOUNT}:service/shop/widgets",
    "RollOutTaskRoles": f"arn:aws:iam::{ACCOUNT}:role/task",
    "RollOutFunctions": f"arn:aws:lambda:*:{ACCOUNT}:function:resizer",
}
ADMIN = f"arn:aws:iam::{ACCOUNT}:role/admin"
VERSIONS = (f"v{n}.0.0" for n in count(1))
"""A release never moves to an older one, and tests come in any order."""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    with deployed(tmp_path_factory.mktemp("cloud"), POLICY, parameters=PARAMETERS) as running:
        for region in REGIONS:
            ecs = running.client("ecs", region, ADMIN)
            ecs.create_cluster(clusterName="shop")
            ecs.register_task_definition(
                family="widgets",
                containerDefinitions=[
                    {"name": "app", "image": "old", "memory": 128, "environment": [{"name": "A", "value": "1"}]},
                    {"name": "proxy", "image": "proxy", "memory": 64},
                ],
            )
            ecs.create_service(cluster="shop", serviceName="widgets", taskDefinition="widgets", desiredCount=2)
            function = running.client("lambda", region, ADMIN)
            role = running.client("iam", role=ADMIN).create_role(
                RoleName=f"resizer-{region}", AssumeRolePolicyDocument=json.dumps(trust())
            )["Role"]["Arn"]
            function.create_function(
                FunctionName="resizer",
                Role=role,
                PackageType="Image",
                Code={"ImageUri": f"{ACCOUNT}.dkr.ecr.{region}.amazonaws.com/old@sha256:{'0' * 64}"},
                Architectures=["arm64"],
            )
            version = function.publish_version(FunctionName="resizer")["Version"]
            function.create_alias(FunctionName="resizer", Name="live", FunctionVersion=version)
        yield running


@pytest.fixture(autouse=True)
def nothing_fails() -> Iterator[None]:
    yield
    rollouts.FAILING.clear()


def trust() -> dict[str, Any]:
    principal = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    return {"Version": "2012-10-17", "Statement": [principal]}


def running_tasks(system: Deployed, region: str) -> dict[str, str]:
    """The images of the service's containers."""
    ecs = system.client("ecs", region, ADMIN)
    (service,) = ecs.describe_services(cluster="shop", services=["widgets"])["services"]
    definition = ecs.describe_task_definition(taskDefinition=service["taskDefinition"])["taskDefinition"]
    return {c["name"]: c["image"] for c in definition["containerDefinitions"]}


def live(system: Deployed, region: str) -> str:
    """The image of the version that the alias names."""
    client = system.client("lambda", region, ADMIN)
    version = client.get_alias(FunctionName="resizer", Name="live")["FunctionVersion"]
    return str(client.get_function(FunctionName="resizer", Qualifier=version)["Code"]["ImageUri"])


def outcomes(system: Deployed, name: str) -> list[tuple[str | None, str]]:
    """The facts of a repository's rollouts, oldest first: (registry, outcome)."""
    facts = [f for f in system.stack.ledger.of_environment("prod", name) if f.kind is Kind.ROLLED_OUT]
    return [(f.detail["registry"], f.detail["outcome"]) for f in reversed(facts)]


def test_a_service_moves_in_every_region_in_order_and_back_everywhere_when_one_fails(system: Deployed) -> None:
    first = b.multi_arch("shop-one")
    earlier = len(outcomes(system, ECS))
    system.push(first, ECS, next(VERSIONS))
    for region in REGIONS:
        address = f"{ACCOUNT}.dkr.ecr.{region}.amazonaws.com/{ECS}@{first.digest}"
        assert running_tasks(system, region) == {"app": address, "proxy": "proxy"}
    places = [f"{ACCOUNT}/{region}" for region in REGIONS]
    assert outcomes(system, ECS)[earlier:] == [(places[0], "moved"), (places[1], "moved"), (None, "done")]

    moto_reason = "tasks failed to start"
    with failing_in("shop/widgets", moto_reason, REGIONS[1]):
        second = b.multi_arch("shop-two")
        system.push(second, ECS, version := next(VERSIONS))
    assert system.digests_in(ECS, version) == [second.digest] * 2
    for region in REGIONS:
        assert first.digest in running_tasks(system, region)["app"]
    assert outcomes(system, ECS)[earlier + 3 :] == [(places[0], "moved"), (places[1], "failed")]
    assert any("was not rolled out to prod" in subject for subject in system.notices())
    item = stored(system.stack.state, "RO#prod", ECS)
    assert item is not None
    assert item.data["status"] == "failed"
    assert moto_reason in item.data["reason"]


def failing_in(service: str, reason: str, region: str) -> Any:
    """Make deployments of the service fail in one region only."""
    from contextlib import contextmanager

    @contextmanager
    def failing() -> Iterator[None]:
        rollouts.FAILING[f"{region}:{service}"] = reason
        yield
        rollouts.FAILING.clear()

    return failing()


def test_a_function_gets_the_image_of_its_architecture_and_a_failed_update_moves_no_alias(system: Deployed) -> None:
    image = b.multi_arch("resizer-one")
    system.push(image, FUNCTION, next(VERSIONS))
    (arm,) = [c for c in image.root.platform_children if c.platform and c.platform.architecture == "arm64"]
    for region in REGIONS:
        assert live(system, region).endswith(f"@{arm.digest}")
    with failing_in("resizer", "the image is not valid", REGIONS[0]):
        system.push(b.multi_arch("resizer-two"), FUNCTION, next(VERSIONS))
        # a reaction that found the lease taken is retried later, which `settle` does not wait for
        sample.wait_for(lambda: outcomes(system, FUNCTION)[-1] == (f"{ACCOUNT}/{REGIONS[0]}", "failed"))
    for region in REGIONS:
        assert live(system, region).endswith(f"@{arm.digest}")


def test_a_doubled_release_rolls_out_once(system: Deployed) -> None:
    image = b.image("shop-three")
    system.push(image, ECS, next(VERSIONS))
    client = system.client("ecs", REGIONS[0], ADMIN)
    before = client.list_task_definitions(familyPrefix="widgets")["taskDefinitionArns"]
    hint = {"roll_out": {"environment": "prod", "repository": ECS}}
    for _ in range(3):
        system.send("roll-out", json.dumps(hint))
    system.settle()
    assert client.list_task_definitions(familyPrefix="widgets")["taskDefinitionArns"] == before
    assert not [letter for letter in system.dead_letters() if "roll-out" in letter["queue"]]


def test_a_release_whose_event_was_lost_is_rolled_out_by_reconcile(system: Deployed) -> None:
    events = system.client("events")
    (bus,) = [b["Name"] for b in events.list_event_buses()["EventBuses"] if b["Name"] != "default"]
    rule = {"Name": f"{system.cloud.stack}-released", "EventBusName": bus}
    image = b.image("shop-lost")
    events.disable_rule(**rule)
    try:
        system.push(image, ECS, version := next(VERSIONS))
    finally:
        events.enable_rule(**rule)
    assert system.digests_in(ECS, version) == [image.digest] * 2
    assert image.digest not in running_tasks(system, REGIONS[0])["app"]
    answer = system.reconcile(f"prod/{ECS}")
    assert answer["retried"] == 1
    for region in REGIONS:
        assert image.digest in running_tasks(system, region)["app"]
    assert system.reconcile(f"prod/{ECS}")["retried"] == 0


def test_missing_permission_to_update_a_function_is_reported_as_by_iam(system: Deployed) -> None:
    role = f"arn:aws:iam::{ACCOUNT}:role/reader"
    system.cloud.credentials(role)  # creates it
    arn = f"arn:aws:lambda:{REGIONS[0]}:{ACCOUNT}:function:resizer"
    allowed = {"Effect": "Allow", "Action": "lambda:GetFunction", "Resource": arn}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    system.client("iam", role=ADMIN).put_role_policy(RoleName="reader", PolicyName="read", PolicyDocument=policy)
    system.cloud.permissions.held.add(role)
    client = system.client("lambda", REGIONS[0], role)
    assert client.get_function(FunctionName="resizer")["Configuration"]["FunctionName"] == "resizer"
    calls: dict[str, Any] = {
        "UpdateFunctionCode": {"ImageUri": f"{ACCOUNT}.dkr.ecr.{REGIONS[0]}.amazonaws.com/old@sha256:{'1' * 64}"},
        "PublishVersion": {},
        "UpdateAlias": {"Name": "live", "FunctionVersion": "1"},
        "GetAlias": {"Name": "live"},
        "GetFunctionConfiguration": {},
        "DeleteFunction": {},
    }
    for operation, arguments in calls.items():
        method = getattr(client, boto3_name(operation))
        with pytest.raises(ClientError) as refused:
            method(FunctionName="resizer", **arguments)
        assert refused.value.response["Error"]["Code"] == "AccessDeniedException"
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
        assert refused.value.response["Error"]["Message"] == (
            f"User: arn:aws:sts::{ACCOUNT}:assumed-role/reader/local is not authorized to perform: lambda:{operation} "
            f"on resource: {arn} because no identity-based policy allows the lambda:{operation} action"
        )
    with pytest.raises(ClientError, match=r"lambda:GetFunction on resource: .*:function:resizer:1 "):
        client.get_function(FunctionName="resizer", Qualifier="1")
    with pytest.raises(ClientError, match="lambda:ListFunctions"):
        client.list_functions()


def test_lambda_may_pull_from_repositories_created_by_promotions_and_otherwise_the_roll_out_fails(
    system: Deployed,
) -> None:
    first = b.multi_arch("resizer-allowed")
    system.push(first, FUNCTION, next(VERSIONS))
    before = [live(system, region) for region in REGIONS]
    assert all(any(c.digest in image for c in first.root.platform_children) for image in before)
    ecr = system.client("ecr", REGIONS[1], ADMIN)
    text = ecr.get_repository_policy(repositoryName=FUNCTION)["policyText"]
    assert [s["Sid"] for s in json.loads(text)["Statement"]] == ["LambdaPulls"]
    ecr.delete_repository_policy(repositoryName=FUNCTION)
    try:
        system.push(b.multi_arch("resizer-refused"), FUNCTION, version := next(VERSIONS))
        item = stored(system.stack.state, "RO#prod", FUNCTION)
        assert item is not None
        assert item.data["status"] == "failed"
        assert "Lambda does not have permission to access the ECR image" in item.data["reason"]
        assert [live(system, region) for region in REGIONS] == before
        # Lambda adds the permission it needs if the caller may set the repository's policy, as an administrator may
        functions = system.client("lambda", REGIONS[1], ADMIN)
        image = f"{ACCOUNT}.dkr.ecr.{REGIONS[1]}.amazonaws.com/{FUNCTION}:{version}"
        functions.update_function_code(FunctionName="resizer", ImageUri=image)
        added = json.loads(ecr.get_repository_policy(repositoryName=FUNCTION)["policyText"])["Statement"]
        assert [s["Sid"] for s in added] == ["LambdaECRImageRetrievalPolicy"]
    finally:
        ecr.set_repository_policy(repositoryName=FUNCTION, policyText=text)


def boto3_name(operation: str) -> str:
    """`UpdateAlias` as boto3 names the call."""
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in operation).lstrip("_")


def test_a_hint_without_a_release_becomes_a_dead_letter_with_its_reason(system: Deployed) -> None:
    system.send("roll-out", '{"hello": 1}')
    system.settle()
    (letter,) = [letter for letter in system.dead_letters() if "roll-out" in letter["queue"]]
    assert (letter["Error"], letter["Function"]) == ("BadMessage", "roll_out")

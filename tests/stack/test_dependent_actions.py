"""Permissions that a call needs besides its own: without them it fails here as on AWS, and names what it needs."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from botocore.exceptions import ClientError

from support.images import builders as b
from support.stacks.deployed import Deployed, deployed
from support.stacks.roles import changed
from tallyman.domain.permissions import CALLS

HUB, PROD = "111111111111", "222222222222"
PROFILE = f"arn:aws:signer:us-east-2:{PROD}:/signing-profiles/release"
TASK = f"arn:aws:iam::{PROD}:role/task"
POLICY = f"""\
environments:
  dev: {{registries: [{HUB}/us-east-2]}}
  prod: {{registries: [{PROD}/us-east-2]}}
repositories:
  - match: shop/*
    create: {{scan_on_push: true}}
    promotions: [{{from: dev, to: prod, tags: [semver], gates: {{verified: true, scan: {{max: {{critical: 0}}}}}}}}]
"""
PARAMETERS = {
    "RollOutServices": f"arn:aws:ecs:*:{PROD}:service/shop/widgets",
    "RollOutTaskRoles": TASK,
    "RollOutFunctions": f"arn:aws:lambda:*:{PROD}:function:resizer",
    "SigningProfileArns": PROFILE,
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    with deployed(tmp_path_factory.mktemp("needs"), POLICY, parameters=PARAMETERS) as running:
        yield running


@contextmanager
def without(account: str, name: str, action: str) -> Iterator[None]:
    """Remove one action from the role's own and attached managed policies until the block ends."""

    def less(statement: dict[str, Any]) -> dict[str, Any]:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        return {**statement, "Action": [a for a in actions if a != action] or ["nothing:Nothing"]}

    with changed(account, name, less):
        yield


def register(ecs: Any) -> None:
    ecs.register_task_definition(
        family="widgets",
        containerDefinitions=[{"name": "app", "image": "old", "memory": 128}],
        taskRoleArn=TASK,
        tags=[{"key": "team", "value": "shop"}],
    )


CASES = {
    "ecs:TagResource": ("spoke-roll-out", "ecs", register),
    "iam:PassRole": ("spoke-roll-out", "ecs", register),
    "inspector2:ListFindings": (
        "spoke-read",
        "ecr",
        lambda ecr: ecr.describe_image_scan_findings(repositoryName="shop/there", imageId={"imageTag": "v1.0.0"}),
    ),
    "ecr:BatchGetImage": (
        "spoke-read",
        "ecr",
        lambda ecr: ecr.list_image_referrers(
            repositoryName="shop/there", subjectId={"imageDigest": "sha256:" + "0" * 64}
        ),
    ),
    "signer:SignPayload": (
        "spoke-push",
        "ecr",
        lambda ecr: ecr.put_image(
            repositoryName="shop/there", imageManifest=b.image("there").root.raw.decode(), imageTag="v2.0.0"
        ),
    ),
}


@pytest.fixture(scope="module")
def there(stack: Deployed) -> Iterator[Deployed]:
    """An image in prod, whose registry signs pushes by a profile."""
    stack.push(b.image("there"), "shop/there", "v1.0.0", environment="prod")
    admin = stack.client("ecr", role=f"arn:aws:iam::{PROD}:role/admin")
    rules = [{"signingProfileArn": PROFILE}]
    admin.put_signing_configuration(signingConfiguration={"rules": rules})
    yield stack
    admin.delete_signing_configuration()


@pytest.mark.parametrize("action", sorted(CASES))
def test_a_call_is_refused_if_the_role_lacks_its_dependent_action(there: Deployed, action: str) -> None:
    power, service, call = CASES[action]
    name = f"{there.cloud.stack}-{power}"
    client = there.client(service, role=f"arn:aws:iam::{PROD}:role/{name}")
    with without(PROD, name, action), pytest.raises(ClientError, match=f"AccessDenied.*{action}"):
        call(client)
    call(client)


def test_every_dependent_action_of_a_function_has_a_case() -> None:
    dependent = {n.action for call, needs in CALLS.items() for n in needs if n.action != call and n.resource != "key"}
    elsewhere = {
        "dynamodb:DeleteItem",  # of a transaction's items: test_cloud_tables, and every promotion
        "dynamodb:PutItem",
        "ecr:GetDownloadUrlForLayer",  # of a function's image: test_rollout
        "ecr:GetRepositoryPolicy",
        "lambda:InvokeFunction",  # used by people: test_people_permissions
        "s3:ListBucket",  # tested below
        "s3:ListBucketVersions",  # used by people: test_sealed_ledger
        "servicequotas:ListServiceQuotas",
        "sqs:ChangeMessageVisibility",  # test_people_permissions; of a batch: test_letters
    }
    assert dependent == set(CASES) | elsewhere


def test_a_missing_object_is_forbidden_without_list_permission(stack: Deployed) -> None:
    name = f"{stack.cloud.stack}-record-scan-us-east-2"
    s3 = stack.client("s3", role=f"arn:aws:iam::{HUB}:role/{name}")
    bucket = f"{stack.cloud.stack}-archive-{HUB}-us-east-2"
    with pytest.raises(ClientError, match="NoSuchKey"):
        s3.get_object(Bucket=bucket, Key="policies/none")
    with without(HUB, name, "s3:ListBucket"), pytest.raises(ClientError, match="AccessDenied"):
        s3.get_object(Bucket=bucket, Key="policies/none")


def test_an_unreadable_scan_becomes_a_dead_letter_with_the_reason(stack: Deployed) -> None:
    image = b.image("scanned")
    with without(HUB, f"{stack.cloud.stack}-record-scan-us-east-2", "inspector2:ListFindings"):
        stack.push(image, "shop/scanned", "v1.0.0")
        stack.scan(image, "shop/scanned")
        (letter,) = [each for each in stack.dead_letters() if each["queue"].endswith("scan-dead-letters")]
    assert letter["Error"] == "NotAllowed"
    assert "inspector2:ListFindings" in letter["Reason"]


def test_a_promotion_without_signing_permission_waits_with_the_reason(there: Deployed) -> None:
    image = b.image("unsigned")
    with without(PROD, f"{there.cloud.stack}-spoke-push", "signer:SignPayload"):
        there.push(image, "shop/unsigned", "v1.0.0")
        there.scan(image, "shop/unsigned")
        assert there.digests_in("shop/unsigned", "v1.0.0") == [None]
        pending = [i.data for i in there.stack.state.list("P#prod") if i.data["digest"] == image.digest]
    assert "signer:SignPayload" in json.dumps(pending)

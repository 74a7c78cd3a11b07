"""Statements of roles that no other stack test needs: without each of them a call of its role is refused.

`make least-privilege` combines what all stack tests needed; a statement that it lists needs a test here, or is deleted.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from support.images import builders as b
from support.stacks.deployed import Deployed, deployed
from support.stacks.roles import changed

HUB, PROD = "111111111111", "222222222222"
NAME = "shop/there"
TASK = f"arn:aws:iam::{HUB}:role/task"
POLICY = f"""\
environments:
  dev: {{registries: [{HUB}/us-east-2]}}
  prod: {{registries: [{PROD}/us-east-2]}}
repositories:
  - match: shop/*
    create: {{immutable: true, mutable_tags: ["moving*"], scan_on_push: false}}
"""
PARAMETERS = {
    "RollOutServices": f"arn:aws:ecs:us-east-2:{HUB}:service/shop/widgets",
    "RollOutTaskRoles": TASK,
    "RollOutFunctions": f"arn:aws:lambda:us-east-2:{HUB}:function:resizer",
    "SigningProfileArns": ",".join(
        f"arn:aws:signer:us-east-2:{account}:/signing-profiles/release" for account in (HUB, PROD)
    ),
    "PeopleRoles": f"arn:aws:iam::{HUB}:role/auditor",
    "PeopleChangeRoles": f"arn:aws:iam::{HUB}:role/auditor",
}
REFUSED = ("AccessDenied", "not authorized")
Call = Callable[[Deployed, Any], object]


def queue(name: str) -> Call:
    """Send to a queue."""

    def send(system: Deployed, sqs: Any) -> object:
        own = system.client("sqs").get_queue_url(QueueName=f"{system.cloud.stack}-{name}")["QueueUrl"]
        return sqs.send_message(QueueUrl=own, MessageBody="{}")

    return send


def put_image(system: Deployed, ecr: Any) -> object:
    """Push an existing image under another tag."""
    return ecr.put_image(repositoryName=NAME, imageManifest=b.image("there").root.raw.decode(), imageTag="moving-on")


def register(system: Deployed, ecs: Any) -> object:
    return ecs.register_task_definition(
        family="widgets",
        containerDefinitions=[{"name": "app", "image": "old", "memory": 128}],
        taskRoleArn=TASK,
        tags=[{"key": "team", "value": "shop"}],
    )


def findings(system: Deployed, ecr: Any) -> object:
    return ecr.describe_image_scan_findings(repositoryName=NAME, imageId={"imageTag": "v1.0.0"})


def tasks(account: str) -> Call:
    """Describe a task of the account."""
    arn = f"arn:aws:ecs:us-east-2:{account}:task/shop/{'0' * 32}"
    return lambda _, ecs: ecs.describe_tasks(cluster="shop", tasks=[arn])


def announce(system: Deployed, events: Any) -> object:
    entry = {"Source": "tallyman", "DetailType": "x", "Detail": "{}", "EventBusName": system.cloud.stack}
    answer = events.put_events(Entries=[entry])
    assert not answer["FailedEntryCount"], answer
    return answer


CASES: dict[tuple[str, str], tuple[str, Call]] = {
    ("apply-retention", "DeadLetter"): ("sqs", queue("retention-dead-letters")),
    ("apply-retention", "Findings"): ("ecr", findings),
    ("apply-retention", "Hint"): ("sqs", queue("retention")),
    ("apply-retention", "NeedsRead"): ("ecs", tasks(HUB)),
    ("promote-image", "Findings"): ("ecr", findings),
    ("promote-image", "Sign"): ("ecr", put_image),
    ("reconcile", "Tell"): ("events", announce),
    ("reconcile", "UsageRead"): ("ecs", tasks(HUB)),
    ("roll-out", "FunctionImages"): ("ecr", lambda _, ecr: ecr.get_repository_policy(repositoryName=NAME)),
    ("roll-out", "Functions"): ("lambda", lambda _, functions: functions.get_function(FunctionName="resizer")),
    ("roll-out", "Hint"): ("sqs", queue("roll-out")),
    ("roll-out", "Read"): ("ecr", lambda _, ecr: ecr.describe_images(repositoryName=NAME)),
    ("roll-out", "ReadTaskDefinitions"): (
        "ecs",
        lambda _, ecs: ecs.describe_task_definition(taskDefinition="widgets"),
    ),
    ("roll-out", "Services"): ("ecs", lambda _, ecs: ecs.describe_services(cluster="shop", services=["widgets"])),
    ("roll-out", "TaskDefinitions"): ("ecs", register),
    ("roll-out", "TaskDefinitionTags"): ("ecs", register),
    ("roll-out", "TaskRoles"): ("ecs", register),
    ("verify-digest", "DeadLetter"): ("sqs", queue("verify-dead-letters")),
    ("verify-origin", "DeadLetter"): ("sqs", queue("origin-dead-letters")),
    ("verify-origin", "ReadSpokes"): (
        "sts",
        lambda system, sts: sts.assume_role(
            RoleArn=f"arn:aws:iam::{PROD}:role/{system.cloud.stack}-spoke-read", RoleSessionName="origin"
        ),
    ),
    ("spoke-people", "NeedsRead"): ("ecs", tasks(PROD)),
    ("spoke-people-change", "Sign"): ("ecr", put_image),
    ("spoke-read", "Scan"): (
        "ecr",
        lambda _, ecr: ecr.start_image_scan(repositoryName=NAME, imageId={"imageTag": "v1.0.0"}),
    ),
    ("spoke-read", "UsageRead"): ("ecs", tasks(PROD)),
    ("auditor", "DoctorTrails"): (
        "cloudtrail",
        lambda _, trail: trail.get_trail_status(Name=f"arn:aws:cloudtrail:us-east-2:{HUB}:trail/all"),
    ),
    ("auditor", "NeedsRead"): ("ecs", tasks(HUB)),
}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """An image in both registries, which sign pushes by a profile."""
    with deployed(tmp_path_factory.mktemp("statements"), POLICY, parameters=PARAMETERS) as running:
        for environment in ("dev", "prod"):
            running.push(b.image("there"), NAME, "v1.0.0", environment=environment)
        for account in (HUB, PROD):
            profile = f"arn:aws:signer:us-east-2:{account}:/signing-profiles/release"
            admin = running.client("ecr", role=f"arn:aws:iam::{account}:role/admin")
            admin.put_signing_configuration(signingConfiguration={"rules": [{"signingProfileArn": profile}]})
        running.cloud.credentials(f"arn:aws:iam::{HUB}:role/auditor")  # creates the role
        stacks = running.client("cloudformation").describe_stacks(StackName=running.cloud.stack)["Stacks"]
        policy = next(o["OutputValue"] for o in stacks[0]["Outputs"] if o["OutputKey"] == "PeoplePolicyArn")
        running.client("iam").attach_role_policy(RoleName="auditor", PolicyArn=policy)
        running.cloud.permissions.held.add(f"arn:aws:iam::{HUB}:role/auditor")
        yield running


def of_stack(system: Deployed, role: str) -> tuple[str, str]:
    """Account and name of a role."""
    if role.startswith("spoke-"):
        return PROD, f"{system.cloud.stack}-{role}"
    return HUB, role if role == "auditor" else f"{system.cloud.stack}-{role}-us-east-2"


def refusal(call: Call, system: Deployed, client: Any) -> str | None:
    """IAM's refusal; None if it allows the call, whatever its result."""
    try:
        call(system, client)
    except ClientError as error:
        text = str(error)
        return text if any(word in text for word in REFUSED) else None
    return None


@pytest.mark.parametrize(("role", "sid"), sorted(CASES))
def test_without_the_statement_a_call_of_its_role_is_refused(system: Deployed, role: str, sid: str) -> None:
    service, call = CASES[role, sid]
    account, name = of_stack(system, role)
    client = system.client(service, role=f"arn:aws:iam::{account}:role/{name}")
    with changed(account, name, lambda statement: None if statement.get("Sid") == sid else statement):
        assert refusal(call, system, client)
    assert refusal(call, system, client) is None

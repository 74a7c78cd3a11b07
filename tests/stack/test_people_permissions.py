"""A person's permissions with the stack's policy for people: read, and send commands; nobody can write a fact.

The local cloud evaluates the attached policy as IAM would; a person has a session of the role.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from support.images import builders as b
from support.stacks.clients import client_of
from support.stacks.gate_stack import RELEASE, Gated, gate_stack
from tallyman.domain.history.facts import Kind

ACCOUNT = "111111111111"
ROLE = f"arn:aws:iam::{ACCOUNT}:{RELEASE}"
Client = Callable[[str], Any]


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gated]:
    with gate_stack(tmp_path_factory.mktemp("people")) as running:
        running.system.cloud.credentials(ROLE)  # creates the role, as an administrator
        iam = running.system.client("iam")
        iam.attach_role_policy(RoleName=RELEASE.partition("/")[2], PolicyArn=outputs(running)["PeoplePolicyArn"])
        running.system.cloud.permissions.held.add(ROLE)
        yield running


@pytest.fixture
def person(gated: Gated) -> Client:
    """Clients of a session of the role."""
    keys = gated.system.cloud.credentials(ROLE, session="ana")

    def client(service: str) -> Any:
        return client_of(gated.system.cloud.url, keys, service)

    return client


def outputs(gated: Gated) -> dict[str, str]:
    stack = gated.system.client("cloudformation").describe_stacks(StackName=gated.system.cloud.stack)["Stacks"][0]
    return {o["OutputKey"]: o["OutputValue"] for o in stack["Outputs"]}


ITEM = {"pk": {"S": "D#x"}, "sk": {"S": "x"}}
FORGED = {
    "put": lambda ddb, table: ddb.put_item(TableName=table, Item=ITEM),
    "update": lambda ddb, table: ddb.update_item(TableName=table, Key=ITEM),
    "delete": lambda ddb, table: ddb.delete_item(TableName=table, Key=ITEM),
    "batch": lambda ddb, table: ddb.batch_write_item(RequestItems={table: [{"PutRequest": {"Item": ITEM}}]}),
    "transaction": lambda ddb, table: ddb.transact_write_items(
        TransactItems=[{"Put": {"TableName": table, "Item": ITEM}}]
    ),
}


@pytest.mark.parametrize("table", ["LedgerTable", "StateTable"])
@pytest.mark.parametrize("way", sorted(FORGED))
def test_nobody_can_write_a_fact_directly(gated: Gated, person: Client, table: str, way: str) -> None:
    name = outputs(gated)[table]
    with pytest.raises(ClientError, match="AccessDenied"):
        FORGED[way](person("dynamodb"), name)
    assert "Item" not in gated.system.client("dynamodb").get_item(TableName=name, Key=ITEM)


@pytest.mark.parametrize("queue", ["push", "scan", "promote"])
def test_nobody_can_forge_an_event_or_a_decision(gated: Gated, person: Client, queue: str) -> None:
    url = gated.system.client("sqs").get_queue_url(QueueName=f"{gated.system.cloud.stack}-{queue}")["QueueUrl"]
    with pytest.raises(ClientError, match="AccessDenied"):
        person("sqs").send_message(QueueUrl=url, MessageBody=json.dumps(b.push_event()))


def test_nobody_can_change_the_archive_the_bus_or_the_topic(gated: Gated, person: Client) -> None:
    found = outputs(gated)
    with pytest.raises(ClientError, match="AccessDenied"):
        person("s3").put_object(Bucket=found["ArchiveBucket"], Key="policies/x", Body=b"x")
    with pytest.raises(ClientError, match="AccessDenied"):
        person("events").put_events(
            Entries=[{"Source": "tallyman", "DetailType": "x", "Detail": "{}", "EventBusName": found["BusName"]}]
        )
    with pytest.raises(ClientError, match="AuthorizationError"):
        person("sns").publish(TopicArn=found["NoticesTopicArn"], Message="x")


def test_a_person_reads_facts_and_sends_commands_recorded_with_their_name(gated: Gated, person: Client) -> None:
    image = b.image("people")
    gated.system.push(image, "gates/approvals", "v1.0.0")
    found = outputs(gated)
    read = person("dynamodb").query(
        TableName=found["LedgerTable"],
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": {"S": f"D#{image.digest}"}},
    )
    assert read["Count"] > 0
    command = {
        "command": "approve",
        "request": "by-hand",
        "digest": image.digest,
        "repository": "gates/approvals",
        "from": "dev",
        "to": "prod",
        "because": "I am somebody else",
        "actor": "AROASOMEBODY:else",
        "principal": "role/security",
    }
    person("sqs").send_message(QueueUrl=found["CommandsQueueUrl"], MessageBody=json.dumps(command))
    gated.system.settle()
    (approved,) = gated.system.facts(image.digest, Kind.APPROVED)
    role = gated.system.client("iam").get_role(RoleName="release-managers")["Role"]
    assert (approved.actor, approved.detail["principal"]) == (f"{role['RoleId']}:ana", RELEASE)
    assert gated.is_in("approvals", image.digest)


def test_a_person_can_read_the_inputs_of_retention_plan_and_native(gated: Gated, person: Client) -> None:
    gated.system.create("gates/approvals")
    ecr, place = person("ecr"), {"registryId": ACCOUNT, "repositoryName": "gates/approvals"}
    assert ecr.describe_registry()["registryId"] == ACCOUNT
    with pytest.raises(ClientError, match="LifecyclePolicyNotFoundException"):
        ecr.get_lifecycle_policy(**place)
    assert "clusterArns" in person("ecs").list_clusters()
    assert "Functions" in person("lambda").list_functions()
    assert "jobDefinitions" in person("batch").describe_job_definitions()
    with pytest.raises(ClientError, match="AccessDenied"):
        ecr.put_lifecycle_policy(**place, lifecyclePolicyText='{"rules": []}'.ljust(100))
    with pytest.raises(ClientError, match="AccessDenied"):
        ecr.batch_delete_image(**place, imageIds=[{"imageTag": "v1.0.0"}])


def test_the_policy_for_people_allows_no_writes_except_commands(gated: Gated) -> None:
    iam = gated.system.client("iam")
    arn = outputs(gated)["PeoplePolicyArn"]
    version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    document = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
    actions = {
        action
        for statement in document["Statement"]
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
    }
    reading = ("Describe", "Get", "List", "BatchGet", "Query", "Scan")
    assert {a for a in actions if not a.partition(":")[2].startswith(reading)} == {
        "sqs:SendMessage",
        "lambda:InvokeFunction",
        "sqs:ReceiveMessage",  # only of dead letters: test_letters
        "sqs:ChangeMessageVisibility",
        "sts:AssumeRole",  # of the roles for people in spokes: test_people_in_spokes
    }
    assert not any("*" in action for action in actions)

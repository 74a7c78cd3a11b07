"""Dead letters on the local cloud, with a person's permissions: a poison message becomes a letter, and is removed."""

import json
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from typer.testing import CliRunner

from support.stacks.gate_stack import RELEASE, Gated, gate_stack
from tallyman_cli.main import app

ROLE = f"arn:aws:iam::111111111111:{RELEASE}"


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gated]:
    with gate_stack(tmp_path_factory.mktemp("letters")) as running:
        cloud = running.system.cloud
        cloud.credentials(ROLE)  # creates the role, as an administrator
        stacks = running.system.client("cloudformation").describe_stacks(StackName=cloud.stack)["Stacks"]
        arn = next(o["OutputValue"] for o in stacks[0]["Outputs"] if o["OutputKey"] == "PeoplePolicyArn")
        running.system.client("iam").attach_role_policy(RoleName=RELEASE.partition("/")[2], PolicyArn=arn)
        cloud.permissions.held.add(ROLE)
        yield running


@pytest.fixture
def tallyman(gated: Gated) -> Any:
    """The command, run by a session of the role."""
    cloud = gated.system.cloud
    keys = {name.upper(): value for name, value in cloud.credentials(ROLE, session="ana").items()}
    environment = {"AWS_ENDPOINT_URL": cloud.url, "AWS_REGION": "us-east-2", "TALLYMAN_STACK": cloud.stack, **keys}

    def run(*words: str, status: int = 0) -> Any:
        result = CliRunner(env=environment).invoke(app, [*words, "--json"])
        assert result.exit_code == status, result.output
        return json.loads(result.stdout)

    return run


def test_a_poison_message_is_listed_replayed_and_discarded(gated: Gated, tallyman: Any) -> None:
    gated.system.send("push", '{"no": "event"}')
    gated.system.settle()
    (letter,) = tallyman("letters", "list")
    assert (letter["queue"], letter["source"], letter["function"]) == ("push", "push", "record_push")
    assert (letter["error"], letter["again"]) == ("BadMessage", None)
    assert tallyman("letters", "show", letter["letter"])["body"] == '{"no": "event"}'

    (row,) = tallyman("letters", "replay", letter["letter"], "--because", "mended")
    assert row["done"], row
    gated.system.settle()
    (again,) = tallyman("letters", "list", "--queue", "push")  # the cause still exists
    assert again["letter"] != letter["letter"]

    (row,) = tallyman("letters", "discard", "--queue", "push", "--because", "sent by hand")
    assert row["done"], row
    assert tallyman("letters", "list") == []
    facts = [f for f in gated.system.stack.ledger.of_environment("*") if f.detail.get("queue") == "push"]
    assert [f.detail["command"] for f in facts] == ["discard", "replay"]
    assert all(f.actor is not None and f.actor.endswith(":ana") for f in facts)


def test_a_persons_command_is_sent_again_by_the_person(gated: Gated, tallyman: Any) -> None:
    gated.say("freeze", "dan", "role/developers", environment="prod")
    (letter,) = tallyman("letters", "list", "--queue", "commands")
    (row,) = tallyman("letters", "replay", letter["letter"], status=1)
    assert not row["done"]
    answer = tallyman(*shlex.split(letter["again"])[1:])
    assert answer["frozen"]
    tallyman("thaw", "prod")
    tallyman("letters", "discard", letter["letter"], "--because", "done by ana")


def test_a_person_cannot_remove_or_add_a_letter(gated: Gated, tallyman: Any) -> None:
    cloud = gated.system.cloud
    sqs = gated.system.client("sqs", role=ROLE)
    url = sqs.get_queue_url(QueueName=f"{cloud.stack}-push-dead-letters")["QueueUrl"]
    with pytest.raises(ClientError, match="AccessDenied"):
        sqs.send_message(QueueUrl=url, MessageBody="{}")
    with pytest.raises(ClientError, match="AccessDenied"):
        sqs.delete_message(QueueUrl=url, ReceiptHandle="x")
    work = sqs.get_queue_url(QueueName=f"{cloud.stack}-push")["QueueUrl"]
    with pytest.raises(ClientError, match="AccessDenied"):
        sqs.receive_message(QueueUrl=work)

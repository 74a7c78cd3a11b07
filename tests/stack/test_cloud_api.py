"""The endpoint: the caller, account and region of a request, and the answer for services that are not supported."""

import http.client
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from support.stacks import sample_stack as sample
from support.stacks.clients import client_of
from tallyman_local.cloud.cloud import Cloud
from tallyman_local.moto import calls as moto_calls


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sample")


@pytest.fixture(scope="module")
def cloud(folder: Path) -> Iterator[Cloud]:
    with sample.cloud(folder) as running:
        yield running


def test_the_exported_principal_is_the_hubs_developer(cloud: Cloud) -> None:
    caller = sample.client(cloud, "sts").get_caller_identity()
    assert caller["Arn"] == "arn:aws:sts::111111111111:assumed-role/developer/local"


def test_a_message_has_its_sender(cloud: Cloud) -> None:
    sqs = sample.client(cloud, "sqs")
    url = sqs.create_queue(QueueName="who")["QueueUrl"]
    other = sample.client(cloud, "sqs", role="arn:aws:iam::111111111111:role/release-managers")
    sqs.send_message(QueueUrl=url, MessageBody="mine")
    other.send_message_batch(QueueUrl=url, Entries=[{"Id": "1", "MessageBody": "theirs"}])
    got = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["SenderId"])
    senders = {message["Body"]: message["Attributes"]["SenderId"] for message in got["Messages"]}
    iam = sample.client(cloud, "iam")
    for body, role, session in (("mine", "developer", "local"), ("theirs", "release-managers", "local")):
        assert senders[body] == iam.get_role(RoleName=role)["Role"]["RoleId"] + ":" + session
    assert senders["mine"].startswith("AROA")


def test_a_handler_gets_the_sender_of_a_message(cloud: Cloud, folder: Path) -> None:
    sample.send(cloud, name="sent")
    assert cloud.settle(30) == {}
    assert "sent" in sample.done(folder)


def test_each_account_and_region_has_its_own_resources(cloud: Cloud) -> None:
    role = "arn:aws:iam::222222222222:role/anyone"
    sample.client(cloud, "sqs", role=role, region="sa-east-1").create_queue(QueueName="there")
    assert "QueueUrls" not in sample.client(cloud, "sqs", region="sa-east-1").list_queues(QueueNamePrefix="there")
    assert "QueueUrls" not in sample.client(cloud, "sqs", role=role).list_queues(QueueNamePrefix="there")
    there = sample.client(cloud, "sqs", role=role, region="sa-east-1").list_queues(QueueNamePrefix="there")
    assert there["QueueUrls"] == ["https://sqs.sa-east-1.amazonaws.com/222222222222/there"]


def test_unissued_keys_are_refused(cloud: Cloud) -> None:
    stranger = boto3.client(
        "sts",
        endpoint_url=cloud.url,
        region_name="us-east-2",
        aws_access_key_id="AKIAIOSFODNN7EXAMPLE",
        aws_secret_access_key="x",
    )
    with pytest.raises(ClientError, match="InvalidClientTokenId"):
        stranger.get_caller_identity()


def test_an_unsigned_request_is_refused(cloud: Cloud) -> None:
    status, answer = raw(cloud, "POST", "/", b"{}", {"X-Amz-Target": "AmazonSQS.ListQueues"})
    assert status == 403
    assert answer["__type"] == "MissingAuthenticationToken"


@pytest.mark.parametrize(
    ("service", "call", "named"),
    [
        ("macie2", "list_findings", "macie2:POST /findings"),
        ("appconfigdata", "get_latest_configuration", "appconfig:GET /configuration"),
        ("cloudtrail", "list_channels", "cloudtrail:ListChannels"),
        ("iam", "get_service_last_accessed_details", "iam:GetServiceLastAccessedDetails"),
    ],
)
def test_an_unsupported_call_is_an_error_that_names_it(cloud: Cloud, service: str, call: str, named: str) -> None:
    arguments = {
        "get_latest_configuration": {"ConfigurationToken": "x"},
        "get_service_last_accessed_details": {"JobId": "x" * 36},
    }
    with pytest.raises(ClientError) as error:
        getattr(sample.client(cloud, service), call)(**arguments.get(call, {}))
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert f"The local cloud does not serve {named}" in str(error.value)


@pytest.mark.parametrize(
    ("service", "call", "key"),
    [
        ("ecs", "list_clusters", "clusterArns"),
        ("lambda", "list_functions", "Functions"),
        ("batch", "describe_job_definitions", "jobDefinitions"),
        ("inspector2", "list_coverage", "coveredResources"),
        ("apprunner", "list_services", "ServiceSummaryList"),
        ("eks", "list_clusters", "clusters"),
        ("cloudtrail", "lookup_events", "Events"),
    ],
)
def test_every_source_of_usage_answers_in_every_account_and_region(
    cloud: Cloud, service: str, call: str, key: str
) -> None:
    for registry in {place.registry for place in cloud.places}:
        role = f"arn:aws:iam::{registry.account}:role/reader"
        answer = getattr(sample.client(cloud, service, role=role, region=registry.region), call)()
        assert isinstance(answer[key], list)
        assert answer[key] == [] or service in ("lambda", "cloudtrail")


def test_the_stack_has_outputs(cloud: Cloud) -> None:
    stack = sample.client(cloud, "cloudformation").describe_stacks(StackName="sample")["Stacks"][0]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
    assert outputs["BusArn"] == "arn:aws:events:us-east-2:111111111111:event-bus/sample"


def test_a_long_poll_ends_when_a_message_arrives(cloud: Cloud) -> None:
    sqs = sample.client(cloud, "sqs")
    url = sqs.create_queue(QueueName="long")["QueueUrl"]
    got: list[dict[str, Any]] = []
    waiting = threading.Thread(
        target=lambda: got.extend(sqs.receive_message(QueueUrl=url, WaitTimeSeconds=20).get("Messages", []))
    )
    waiting.start()
    sample.client(cloud, "sqs").send_message(QueueUrl=url, MessageBody="now")
    waiting.join(timeout=10)
    assert [message["Body"] for message in got] == ["now"]


def test_receivers_that_wait_do_not_wake_each_other(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    sqs = sample.client(cloud, "sqs")
    urls = [sqs.create_queue(QueueName=f"empty-{n}")["QueueUrl"] for n in range(4)]
    asked: list[str] = []
    call = moto_calls.call

    def counted(service: str, region: str, account: str, environ: dict[str, Any], body: bytes) -> moto_calls.Answer:
        asked.append(service)
        return call(service, region, account, environ, body)

    monkeypatch.setattr(moto_calls, "call", counted)
    with ThreadPoolExecutor(len(urls)) as receivers:
        answers = list(receivers.map(lambda url: sqs.receive_message(QueueUrl=url, WaitTimeSeconds=2), urls))
    assert not any("Messages" in answer for answer in answers)
    assert asked.count("sqs") == len(urls)


def test_a_function_assumes_a_spokes_role_only_where_it_is_trusted(cloud: Cloud) -> None:
    """People get any role they name; a function's role gets only what the template grants it, as on AWS."""
    work, slow = (as_function(cloud, name) for name in ("sample-work", "sample-slow"))
    trusting = {"RoleArn": "arn:aws:iam::222222222222:role/sample-spoke-read", "RoleSessionName": "me"}
    got = work.assume_role(**trusting)
    assert got["AssumedRoleUser"]["Arn"] == "arn:aws:sts::222222222222:assumed-role/sample-spoke-read/me"
    with pytest.raises(ClientError, match="AccessDenied"):
        slow.assume_role(**trusting)
    with pytest.raises(ClientError, match="AccessDenied"):
        work.assume_role(RoleArn="arn:aws:iam::222222222222:role/no-such", RoleSessionName="me")


def as_function(cloud: Cloud, name: str, service: str = "sts") -> Any:
    keys = cloud.invoke(name, {"ask": "environment"}).result["environment"]
    return client_of(cloud.url, keys, service)


def put(table: str) -> dict[str, Any]:
    return {"Put": {"TableName": table, "Item": {"pk": {"S": "a"}}}}


HERE = "https://sqs.us-east-2.amazonaws.com/111111111111/"


@pytest.mark.parametrize(
    ("service", "call", "arguments", "lacking"),
    [
        ("sqs", "send_message", {"QueueUrl": HERE + "sample-far", "MessageBody": "x"}, "sqs:SendMessage"),
        ("sqs", "receive_message", {"QueueUrl": HERE + "sample-slow"}, "sqs:ReceiveMessage"),
        ("dynamodb", "get_item", {"TableName": "mine", "Key": {"pk": {"S": "a"}}}, "dynamodb:GetItem"),
        ("dynamodb", "put_item", {"TableName": "yours", "Item": {"pk": {"S": "a"}}}, "dynamodb:PutItem"),
        ("dynamodb", "transact_write_items", {"TransactItems": [put("mine"), put("yours")]}, "dynamodb:PutItem"),
        ("s3", "put_object", {"Bucket": "mine", "Key": "a", "Body": b""}, "s3:PutObject"),
        ("s3", "get_object", {"Bucket": "yours", "Key": "a"}, "s3:GetObject"),
        ("sns", "publish", {"TopicArn": "arn:aws:sns:us-east-2:111111111111:t", "Message": "x"}, "sns:Publish"),
        ("events", "put_events", {"Entries": [{"Source": "a", "DetailType": "b", "Detail": "{}"}]}, "events:PutEvents"),
        ("lambda", "invoke", {"FunctionName": "sample-slow"}, "lambda:InvokeFunction"),
        ("ecr", "create_repository", {"repositoryName": "a/b"}, "ecr:CreateRepository"),
        ("cloudtrail", "lookup_events", {}, "cloudtrail:LookupEvents"),
        ("ecs", "list_clusters", {}, "ecs:ListClusters"),
    ],
)
def test_a_function_may_do_nothing_beyond_its_roles_permissions(
    cloud: Cloud, service: str, call: str, arguments: dict[str, Any], lacking: str
) -> None:
    with pytest.raises(ClientError) as error:
        getattr(as_function(cloud, "sample-work", service), call)(**arguments)
    assert error.value.response["Error"]["Code"] in ("AccessDenied", "AccessDeniedException", "AuthorizationError")
    assert f"not authorized to perform: {lacking} on resource" in str(error.value)


def test_a_function_may_use_its_roles_permissions(cloud: Cloud) -> None:
    assert as_function(cloud, "sample-work").get_caller_identity()["Account"] == sample.HUB
    assert as_function(cloud, "sample-work", "ecr").describe_repositories()["repositories"] == []
    as_function(cloud, "sample-work", "sqs").send_message(QueueUrl=HERE + "sample-work", MessageBody='{"name": "mine"}')
    assert cloud.settle(30) == {}


def test_resource_types_that_moto_skipped_are_listed(cloud: Cloud) -> None:
    _, status = raw(cloud, "GET", "/_tallyman/status")
    assert {stack["registry"] for stack in status["stacks"]} == {
        "111111111111/us-east-2",
        "222222222222/us-east-2",
        "222222222222/sa-east-1",
    }
    assert status["stacks"][0]["skipped"] == {}


def test_invalid_control_requests_are_explained(cloud: Cloud) -> None:
    headers = {"Content-Type": "application/json"}
    assert raw(cloud, "POST", "/_tallyman/nothing", b"{}", headers)[0] == 404
    assert raw(cloud, "POST", "/_tallyman/settle", b"no json", headers)[0] == 422
    assert raw(cloud, "POST", "/_tallyman/settle", b"{}")[0] == 415
    status, answer = raw(cloud, "POST", "/_tallyman/chaos", b'{"lose": 2}', headers)
    assert (status, answer["error"]) == (422, "lose 2.0: expected a probability from 0 to 1")
    status, answer = raw(cloud, "POST", "/_tallyman/kill", b'{"function": "nobody"}', headers)
    assert (status, answer["error"]) == (422, "missing or unknown: 'nobody'")


def test_registry_ports_are_named_by_environment_and_number(cloud: Cloud) -> None:
    names = ["TALLYMAN_REGISTRY_DEV_1", "TALLYMAN_REGISTRY_PROD_EU_1", "TALLYMAN_REGISTRY_PROD_EU_2"]
    assert list(cloud.registries) == names


def test_a_second_cloud_in_one_process_is_refused(cloud: Cloud, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="state allows only one"):
        sample.cloud(tmp_path).start()


def test_an_unread_body_does_not_break_the_connection(cloud: Cloud) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", int(cloud.url.rpartition(":")[2]))
    try:
        for chunked in (False, True):
            body: object = iter([b"x" * 100_000] * 20) if chunked else b"x" * 2_000_000
            headers = {"Transfer-Encoding": "chunked"} if chunked else {}
            connection.request("POST", "/", body, headers, encode_chunked=chunked)  # type: ignore[arg-type]
            assert connection.getresponse().read()
            connection.request("GET", "/_tallyman/left")
            assert json.loads(connection.getresponse().read()) == {}
    finally:
        connection.close()


def raw(
    cloud: Cloud, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", int(cloud.url.rpartition(":")[2]))
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


@pytest.mark.parametrize(
    "named",
    [{"Host": "evil.example"}, {"Host": "localhost.evil.example:80"}, {"Origin": "http://evil.example"}],
    ids=str,
)
def test_the_control_api_answers_this_machine_only(cloud: Cloud, named: dict[str, str]) -> None:
    headers = {"Content-Type": "application/json", **named}
    for method, path in (("GET", "/_tallyman/status"), ("POST", "/_tallyman/settle"), ("POST", "/")):
        connection = http.client.HTTPConnection("127.0.0.1", int(cloud.url.rpartition(":")[2]))
        connection.request(method, path, b"{}" if method == "POST" else None, headers)
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("Content-Type")) == (403, "text/plain; charset=utf-8")
        connection.close()

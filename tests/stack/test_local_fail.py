"""`tallyman local fail`: one registry fails in each supported way, observed by clients of its /v2/ and its API."""

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from typer.testing import CliRunner

from support.stacks import sample_stack as sample
from support.stacks.clients import client_of
from tallyman_cli.main import app
from tallyman_local.cloud.cloud import Cloud

SECOND = "arn:aws:iam::222222222222:role/anyone"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    folder: Path = tmp_path_factory.mktemp("sample")
    with sample.cloud(folder) as running:
        yield running


@pytest.fixture(autouse=True)
def healed(cloud: Cloud) -> Iterator[None]:
    yield
    cloud.failures.end()


def tallyman(cloud: Cloud, *words: str) -> tuple[int, str]:
    done = CliRunner(env=cloud.environment()).invoke(app, ["local", "fail", *words])
    return done.exit_code, done.stderr


def fail(cloud: Cloud, name: str, **how: Any) -> None:
    post(cloud, {"name": name, **how})


def post(cloud: Cloud, request: dict[str, Any]) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(cloud.url.removeprefix("http://"), timeout=10)
    try:
        connection.request("POST", "/_tallyman/fail", json.dumps(request), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def v2(cloud: Cloud, variable: str, method: str = "GET", path: str = "/v2/", **more: Any) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(cloud.registries[variable], timeout=10)
    try:
        connection.request(method, path, **more)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def api(cloud: Cloud, region: str) -> int:
    """The status of one call to the second account's ECR, without the SDK's retries."""
    keys = cloud.credentials(SECOND)
    ecr = client_of(cloud.url, keys, "ecr", region, config=Config(retries={"total_max_attempts": 1}, read_timeout=2))
    try:
        answer = ecr.describe_repositories()
    except ClientError as error:
        answer = error.response
    finally:
        ecr.close()
    return int(answer["ResponseMetadata"]["HTTPStatusCode"])


def test_a_failed_registry_answers_with_errors_and_the_others_work(cloud: Cloud) -> None:
    fail(cloud, "prod_eu_2", status=503)
    assert v2(cloud, "TALLYMAN_REGISTRY_PROD_EU_2")[0] == 503
    assert api(cloud, "sa-east-1") == 503
    assert v2(cloud, "TALLYMAN_REGISTRY_PROD_EU_1")[0] == 401
    assert api(cloud, "us-east-2") == 200


def test_a_throttled_registry_answers_with_ecrs_message(cloud: Cloud) -> None:
    fail(cloud, "prod-eu_1", throttle=True)
    status, body = v2(cloud, "TALLYMAN_REGISTRY_PROD_EU_1")
    assert (status, json.loads(body)["errors"]) == (429, [{"code": "TOOMANYREQUESTS", "message": "Rate exceeded"}])
    assert api(cloud, "us-east-2") == 400


def test_requests_to_a_hanging_registry_end_without_effect_when_it_recovers(cloud: Cloud) -> None:
    fail(cloud, "prod_eu_2", hang=True)
    connection = http.client.HTTPConnection(cloud.registries["TALLYMAN_REGISTRY_PROD_EU_2"], timeout=30)
    connection.request("GET", "/v2/")
    ended = threading.Timer(0.1, cloud.failures.end)
    ended.start()
    with pytest.raises((ConnectionResetError, http.client.RemoteDisconnected)):
        connection.getresponse()
    ended.join()
    connection.close()
    assert v2(cloud, "TALLYMAN_REGISTRY_PROD_EU_2")[0] == 401


@pytest.mark.parametrize(("after", "breaks"), [(0, True), (4, True), (100_000, False)])
def test_a_connection_breaks_after_so_many_bytes(cloud: Cloud, after: int, breaks: bool) -> None:
    fail(cloud, "prod_eu_2", after_bytes=after)
    if not breaks:
        assert v2(cloud, "TALLYMAN_REGISTRY_PROD_EU_2")[0] == 401
        return
    with pytest.raises((ConnectionResetError, http.client.HTTPException)):
        v2(cloud, "TALLYMAN_REGISTRY_PROD_EU_2")


def test_an_upload_breaks_after_so_many_bytes(cloud: Cloud) -> None:
    fail(cloud, "prod_eu_2", after_bytes=1000)
    with pytest.raises((OSError, http.client.HTTPException)):
        v2(cloud, "TALLYMAN_REGISTRY_PROD_EU_2", "PUT", "/v2/a/manifests/v1", body=b"x" * 2000)


def test_the_command_sets_and_ends_failures(cloud: Cloud) -> None:
    assert tallyman(cloud, "prod_eu_2", "--status", "503") == (0, "222222222222/sa-east-1 answers 503\n")
    assert cloud.failures.now() == {"222222222222/sa-east-1": "answers 503"}
    assert tallyman(cloud, "--off") == (0, "222222222222/sa-east-1 works again\n")
    assert cloud.failures.now() == {}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["prod_eu_3", "--hang"],
            "prod_eu_3 is not a registry of the policy: expected one of dev_1, prod_eu_1, prod_eu_2",
        ),
        (["prod_eu_2"], "how?"),
        (["prod_eu_2", "--hang", "--throttle"], "how?"),
        (["--hang"], "which registry?"),
        (["prod_eu_2", "--off", "--hang"], "--off takes no other option"),
        (["prod_eu_2", "--status", "200"], "greater than or equal to 400"),
    ],
)
def test_invalid_arguments_are_bad_input(cloud: Cloud, words: list[str], said: str) -> None:
    status, text = tallyman(cloud, *words)
    assert status == 2
    assert said in text


def test_the_failure_of_one_registry_can_be_ended_alone(cloud: Cloud) -> None:
    fail(cloud, "prod_eu_1", status=500)
    fail(cloud, "prod_eu_2", status=500)
    assert post(cloud, {"name": "prod_eu_1", "off": True})[1]["failing"] == {"222222222222/sa-east-1": "answers 500"}
    assert post(cloud, {"name": "prod_eu_2", "status": 200})[0] == 422

"""Sources of usage, with answers in AWS's own shapes (botocore's stubs check them against its models)."""

from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.stub import Stubber

from tallyman.adapters.aws.sessions import new_session
from tallyman.adapters.usage.references import LambdaVersions
from tallyman.adapters.usage.running import EcsUsage, use
from tallyman.domain.names import Digest, EcrRegistry, Repository
from tallyman.errors import NotAllowed

PROD = EcrRegistry("222222222222", "sa-east-1")
HOST = "222222222222.dkr.ecr.sa-east-1.amazonaws.com"
DIGEST = Digest("sha256:" + "a" * 64)
CLUSTER = "arn:aws:ecs:sa-east-1:222222222222:cluster/shop"
TASK = "arn:aws:ecs:sa-east-1:222222222222:task/shop/0123456789abcdef"


class OneClient:
    """`Clients` with a stubbed client for every service."""

    def __init__(self, **clients: Any) -> None:
        self.clients = clients

    def get(self, service: str, registry: EcrRegistry | None = None) -> Any:
        assert registry == PROD
        return self.clients[service]


def stubbed(service: str) -> tuple[Any, Stubber]:
    session = new_session()
    made = session.create_client(service, region_name="sa-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    return made, Stubber(made)


def test_a_task_has_its_service_and_the_digest_that_ecs_resolved() -> None:
    client, stub = stubbed("ecs")
    started = datetime(2026, 11, 16, 2, 0, tzinfo=UTC)
    stub.add_response("list_clusters", {"clusterArns": [CLUSTER]}, {})
    stub.add_response("list_tasks", {"taskArns": [TASK], "nextToken": "n"}, {"cluster": CLUSTER})
    stub.add_response("list_tasks", {"taskArns": []}, {"cluster": CLUSTER, "nextToken": "n"})
    container = {"name": "web", "image": f"{HOST}/rocketseat/widget-server:v1", "imageDigest": DIGEST}
    task = {"taskArn": TASK, "group": "service:web", "startedAt": started, "containers": [container]}
    stub.add_response("describe_tasks", {"tasks": [task]}, {"cluster": CLUSTER, "tasks": [TASK]})
    with stub:
        (found,) = EcsUsage(OneClient(ecs=client)).running(PROD)
    assert (found.kind, found.name, found.where) == ("ecs task", "shop/web/web", PROD)
    assert found.repository == Repository(PROD, "rocketseat/widget-server")
    assert (found.tag, found.digest, found.since) == ("v1", DIGEST, started)


def test_a_function_has_its_resolved_digest() -> None:
    client, stub = stubbed("lambda")
    arn = "arn:aws:lambda:sa-east-1:222222222222:function:thumbs"
    functions = [
        {"FunctionName": "zip", "PackageType": "Zip"},
        {
            "FunctionName": "thumbs",
            "FunctionArn": arn,
            "PackageType": "Image",
            "Version": "$LATEST",
            "LastModified": "2026-11-16T02:00:00.000+0000",
        },
    ]
    functions.append({**functions[1], "Version": "3", "FunctionArn": f"{arn}:3"})
    stub.add_response("list_functions", {"Functions": functions}, {"FunctionVersion": "ALL"})
    code = {"ImageUri": f"{HOST}/thumbs:v1", "ResolvedImageUri": f"{HOST}/thumbs@{DIGEST}"}
    stub.add_response("get_function", {"Code": code}, {"FunctionName": "thumbs"})
    stub.add_response("get_function", {"Code": code}, {"FunctionName": "thumbs", "Qualifier": "3"})
    with stub:
        found, *named = LambdaVersions(OneClient(**{"lambda": client})).running(PROD)
    assert (found.name, found.digest, found.tag, found.runs) == (arn, DIGEST, None, True)
    assert found.since == datetime(2026, 11, 16, 2, 0, tzinfo=UTC)
    published = f"{arn}:3"
    expected = [(arn, "v1", None), (published, None, DIGEST), (published, "v1", None)]
    assert [(each.name, each.tag, each.digest) for each in named] == expected
    assert not any(each.runs or each.since for each in named)


def test_a_refusal_is_not_an_empty_answer() -> None:
    client, stub = stubbed("ecs")
    stub.add_client_error("list_clusters", "AccessDeniedException", "not authorized")
    with stub, pytest.raises(NotAllowed):
        list(EcsUsage(OneClient(ecs=client)).running(PROD))


def test_an_image_of_another_registry_has_no_repository() -> None:
    found = use("ecs task", "x", "public.ecr.aws/docker/library/redis:7", PROD)
    assert (found.repository, found.digest) == (None, None)

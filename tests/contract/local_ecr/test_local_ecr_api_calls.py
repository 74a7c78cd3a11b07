"""Rules for every call of the local ECR's API: botocore's model, ECR's messages, the caller's identity."""

import base64
from datetime import timedelta
from typing import Any

import boto3
import pytest

from support.servers.ecr import DEV, NAME, Served, identity
from support.servers.ecr_answers import refusal
from tallyman_local.ecr import Identity, model

# -- the model


@pytest.mark.parametrize("operation", model.service().operation_names)
def test_no_operation_of_the_model_is_a_server_error(served: Served, operation: str) -> None:
    for payload in (b"{}", b"{", b"[]", b'{"repositoryName": 7}', b'{"repositoryName": "a/b", "registryId": "1"}'):
        status, headers, body = served.ecr.api(operation, payload, DEV, identity(DEV.account))
        assert status in (200, 400), body
        assert headers["Content-Type"] == "application/x-amz-json-1.1"


def test_an_unknown_operation_is_named_in_its_error(served: Served) -> None:
    assert served.api("MakeCoffee") == (
        400,
        {"__type": "UnknownOperationException", "message": "MakeCoffee is not an operation that the local ECR knows"},
    )


@pytest.mark.parametrize(
    ("parameters", "parameter", "constraint"),
    [
        ({"repositoryName": "a"}, "repositoryName", "must have length greater than or equal to 2"),
        ({"repositoryName": "a" * 257}, "repositoryName", "must have length less than or equal to 256"),
        ({"repositoryName": "Upper"}, "repositoryName", "must satisfy regular expression '[a-z0-9]+"),
        ({}, "repositoryName", "must not be null"),
        (
            {"repositoryName": "ab", "imageTagMutability": "MAYBE"},
            "imageTagMutability",
            "Member must satisfy enum value",
        ),
        (
            {"repositoryName": "ab", "imageTagMutability": "IMMUTABLE_WITH_EXCLUSION"},
            "imageTagMutabilityExclusionFilters",
            "ImageTagMutabilityExclusionFilters can't be null when imageTagMutability is set as",
        ),
        (
            {"repositoryName": "ab", "imageTagMutabilityExclusionFilters": []},
            "imageTagMutabilityExclusionFilters",
            "must have length greater than or equal to 1",
        ),
        ({"repositoryName": "ab", "registryId": "12"}, "registryId", "must satisfy regular expression"),
    ],
)
def test_a_parameter_outside_the_model_is_refused_with_ecrs_message(
    served: Served, parameters: dict[str, Any], parameter: str, constraint: str
) -> None:
    status, body = served.api("CreateRepository", **parameters)
    assert (status, body["__type"]) == (400, "InvalidParameterException")
    text = f"Invalid parameter at '{parameter}' failed to satisfy constraint: '{constraint}"
    assert body["message"].startswith(text)


# -- the caller


def test_missing_permission_is_an_access_denied_error(served: Served, client: Any) -> None:
    served.denied.add(("dev", "ecr:DeleteRepository"))
    assert refusal(client.delete_repository, repositoryName=NAME) == (
        "AccessDeniedException",
        "User: arn:aws:iam::111111111111:user/dev is not authorized to perform: ecr:DeleteRepository on resource: "
        f"arn:aws:ecr:us-east-2:111111111111:repository/{NAME} because no identity-based policy allows the "
        "ecr:DeleteRepository action",
    )


def test_an_unknown_access_key_is_refused(served: Served) -> None:
    client = boto3.client(
        "ecr",
        region_name="us-east-2",
        endpoint_url=f"http://127.0.0.1:{served.api_port}",
        aws_access_key_id="nobody",
        aws_secret_access_key="secret",
    )
    assert refusal(client.describe_repositories)[0] == "UnrecognizedClientException"


def test_an_authorization_token_is_for_aws_and_twelve_hours(served: Served) -> None:
    (data,) = served.client().get_authorization_token()["authorizationData"]
    assert base64.b64decode(data["authorizationToken"]).startswith(b"AWS:")
    assert data["expiresAt"] == served.clock.now + timedelta(hours=12)
    assert data["proxyEndpoint"] == f"http://localhost:{served.ports[DEV]}"
    answer = served.send("GET", "/v2/", Authorization=f"Basic {data['authorizationToken']}")
    assert answer.status == 200


def test_a_roles_session_is_recorded_with_its_role() -> None:
    session = Identity("222222222222", "arn:aws:sts::222222222222:assumed-role/tallyman-spoke-push/copy", "AROAX:copy")
    recorded = session.user_identity()
    assert (recorded["type"], recorded["principalId"]) == ("AssumedRole", "AROAX:copy")
    issuer = recorded["sessionContext"]["sessionIssuer"]
    assert issuer["arn"] == "arn:aws:iam::222222222222:role/tallyman-spoke-push"
    assert issuer["userName"] == "tallyman-spoke-push"

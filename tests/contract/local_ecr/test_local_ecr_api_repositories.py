"""Repositories by the local ECR's API, through boto3: settings, pages, policies, CloudTrail."""

import json
from datetime import datetime
from typing import Any

import pytest

from support.images.builders import image
from support.servers.ecr import DEV, NAME, PROD, Served
from support.servers.ecr_answers import refusal
from tallyman_local.ecr import Identity

POLICY = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": "*", "Action": "ecr:PutImage"}]}
)
LIFECYCLE = json.dumps(
    {
        "rules": [
            {
                "rulePriority": 1,
                "selection": {"tagStatus": "untagged", "countType": "imageCountMoreThan", "countNumber": 5},
                "action": {"type": "expire"},
            }
        ]
    }
)


def test_a_repository_is_created_as_asked(served: Served) -> None:
    filters = [{"filterType": "WILDCARD", "filter": "latest"}]
    made = served.client().create_repository(
        repositoryName=NAME,
        imageTagMutability="IMMUTABLE_WITH_EXCLUSION",
        imageTagMutabilityExclusionFilters=filters,
        imageScanningConfiguration={"scanOnPush": True},
        encryptionConfiguration={"encryptionType": "KMS", "kmsKey": "alias/mine"},
        tags=[{"Key": "team", "Value": "widgets"}],
    )["repository"]
    assert made.pop("createdAt") == served.clock.now
    assert made == {
        "repositoryArn": f"arn:aws:ecr:us-east-2:111111111111:repository/{NAME}",
        "registryId": "111111111111",
        "repositoryName": NAME,
        "repositoryUri": f"localhost:{served.ports[DEV]}/{NAME}",
        "imageTagMutability": "IMMUTABLE_WITH_EXCLUSION",
        "imageTagMutabilityExclusionFilters": filters,
        "imageScanningConfiguration": {"scanOnPush": True},
        "encryptionConfiguration": {"encryptionType": "KMS", "kmsKey": "alias/mine"},
    }


def test_a_repository_without_settings_has_ecrs_defaults(client: Any) -> None:
    (found,) = client.describe_repositories(repositoryNames=[NAME])["repositories"]
    assert found["imageTagMutability"] == "MUTABLE"
    assert found["imageScanningConfiguration"] == {"scanOnPush": False}
    assert found["encryptionConfiguration"] == {"encryptionType": "AES256"}


def test_invalid_repositories_are_refused_with_ecrs_messages(served: Served, client: Any) -> None:
    there = f"The repository with name '{NAME}' already exists in the registry with id '111111111111'"
    assert refusal(client.create_repository, repositoryName=NAME) == ("RepositoryAlreadyExistsException", there)
    missing = "The repository with name 'no/such' does not exist in the registry with id '111111111111'"
    for call in (client.delete_repository, client.list_images, client.get_repository_policy):
        assert refusal(call, repositoryName="no/such") == ("RepositoryNotFoundException", missing)
    served.push(image("app"), "v1")
    assert refusal(client.delete_repository, repositoryName=NAME)[0] == "RepositoryNotEmptyException"
    client.delete_repository(repositoryName=NAME, force=True)
    assert client.describe_repositories()["repositories"] == []


def test_repositories_are_paged(served: Served) -> None:
    names = [f"team/app-{number}" for number in range(7)]
    for name in names:
        served.create(name=name)
    pages = list(served.client().get_paginator("describe_repositories").paginate(PaginationConfig={"PageSize": 3}))
    assert [[r["repositoryName"] for r in page["repositories"]] for page in pages] == [names[:3], names[3:6], names[6:]]
    code, _ = refusal(served.client().describe_repositories, nextToken="nonsense")
    assert code == "InvalidParameterException"


def test_each_account_and_region_is_a_separate_registry(served: Served, client: Any) -> None:
    served.create(PROD)
    assert served.client(PROD).describe_registry() | {"ResponseMetadata": None} == {
        "registryId": PROD.account,
        "replicationConfiguration": {"rules": []},
        "ResponseMetadata": None,
    }
    found = client.describe_repositories(registryId=PROD.account)["repositories"]
    assert [r["repositoryArn"] for r in found] == [f"arn:aws:ecr:us-east-2:{PROD.account}:repository/{NAME}"]


def test_settings_tags_and_documents_are_kept(client: Any) -> None:
    arn = client.describe_repositories()["repositories"][0]["repositoryArn"]
    client.put_image_tag_mutability(repositoryName=NAME, imageTagMutability="IMMUTABLE")
    client.put_image_scanning_configuration(repositoryName=NAME, imageScanningConfiguration={"scanOnPush": True})
    found = client.describe_repositories()["repositories"][0]
    assert (found["imageTagMutability"], found["imageScanningConfiguration"]) == ("IMMUTABLE", {"scanOnPush": True})

    client.tag_resource(resourceArn=arn, tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    client.untag_resource(resourceArn=arn, tagKeys=["a"])
    assert client.list_tags_for_resource(resourceArn=arn)["tags"] == [{"Key": "b", "Value": "2"}]

    where = f"for the repository with name '{NAME}' in the registry with id '111111111111'"
    for get, put, remove, key, text, kind in (
        (
            "get_repository_policy",
            "set_repository_policy",
            "delete_repository_policy",
            "policyText",
            POLICY,
            "Repository",
        ),
        (
            "get_lifecycle_policy",
            "put_lifecycle_policy",
            "delete_lifecycle_policy",
            "lifecyclePolicyText",
            LIFECYCLE,
            "Lifecycle",
        ),
    ):
        missing = (f"{kind}PolicyNotFoundException", f"{kind} policy does not exist {where}")
        assert refusal(getattr(client, get), repositoryName=NAME) == missing
        getattr(client, put)(repositoryName=NAME, **{key: text})
        assert getattr(client, get)(repositoryName=NAME)[key] == text
        assert getattr(client, remove)(repositoryName=NAME)[key] == text
        assert refusal(getattr(client, remove), repositoryName=NAME) == missing


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"Statement": []}', '{"Statement": [{"Effect": "Allow"}]}'])
def test_an_invalid_repository_policy_is_refused(client: Any, text: str) -> None:
    assert refusal(client.set_repository_policy, repositoryName=NAME, policyText=text) == (
        "InvalidParameterException",
        "Invalid parameter at 'PolicyText' failed to satisfy constraint: 'Invalid repository policy provided'",
    )


def test_a_denying_repository_policy_allows_pushes_only_by_the_named_role(served: Served, client: Any) -> None:
    role = "arn:aws:iam::111111111111:role/tallyman-spoke-push"
    deny = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": ["ecr:PutImage", "ecr:InitiateLayerUpload"],
        "Condition": {"ArnNotEquals": {"aws:PrincipalArn": role}},
    }
    client.set_repository_policy(
        repositoryName=NAME, policyText=json.dumps({"Version": "2012-10-17", "Statement": [deny]})
    )
    answer = served.send("POST", f"/v2/{NAME}/blobs/uploads/")
    assert answer.status == 403
    assert json.loads(answer.data)["errors"] == [
        {
            "code": "DENIED",
            "message": "User: arn:aws:iam::111111111111:user/dev is not authorized to perform: "
            f"ecr:InitiateLayerUpload on resource: arn:aws:ecr:us-east-2:111111111111:repository/{NAME} "
            "with an explicit deny in a resource-based "
            "policy",
        }
    ]
    session = Identity("111111111111", "arn:aws:sts::111111111111:assumed-role/tallyman-spoke-push/copy", "AROAX:copy")
    status, _, _ = served.ecr.api("InitiateLayerUpload", json.dumps({"repositoryName": NAME}).encode(), DEV, session)
    assert status == 200
    assert client.describe_images(repositoryName=NAME)["imageDetails"] == []


def test_management_calls_are_recorded_in_cloudtrail_also_if_they_fail(served: Served, client: Any) -> None:
    client.put_image_tag_mutability(repositoryName=NAME, imageTagMutability="IMMUTABLE")
    client.set_repository_policy(repositoryName=NAME, policyText=POLICY)
    refusal(client.delete_lifecycle_policy, repositoryName=NAME)
    client.describe_repositories()
    client.delete_repository(repositoryName=NAME)
    assert [(r["eventName"], r.get("errorCode")) for r in served.trail] == [
        ("CreateRepository", None),
        ("PutImageTagMutability", None),
        ("SetRepositoryPolicy", None),
        ("DeleteLifecyclePolicy", "LifecyclePolicyNotFoundException"),
        ("DeleteRepository", None),
    ]
    record = served.trail[1]
    assert record["requestParameters"]["imageTagMutability"] == "IMMUTABLE"
    assert record["userIdentity"] == {
        "type": "IAMUser",
        "principalId": "AIDADEV",
        "arn": "arn:aws:iam::111111111111:user/dev",
        "accountId": "111111111111",
        "userName": "dev",
    }
    assert datetime.fromisoformat(record["eventTime"]) == served.clock.now
    json.dumps(served.trail)

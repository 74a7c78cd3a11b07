"""Calls of the local ECR in tests: values that the model accepts, and refusals (boto3's, and those of `/v2/`)."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.model import ListShape, MapShape, Shape, StructureShape

from support.images.builders import image
from support.servers.ecr import DEV, NAME

NOWHERE = "sha256:" + "0" * 64
"""A digest that nothing has."""


def refusal(call: Any, **parameters: Any) -> tuple[str, str]:
    """Code and message of the error that a boto3 call raises."""
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    found = caught.value.response["Error"]
    return found["Code"], found["Message"]


def error(answer: Any) -> tuple[int, str, str]:
    """Status, code and message of an OCI error."""
    found = json.loads(answer.data)["errors"][0]
    return answer.status, found["code"], found["message"]


_LIFECYCLE = '{"rules": [{"rulePriority": 1, "selection": {"tagStatus": "untagged", "countType": "imageCountMoreThan", '
#: Values that a constraint of the model does not describe.
KNOWN: dict[str, Any] = {
    "repositoryName": NAME,
    "repositoryNames": [NAME],
    "registryId": DEV.account,
    "resourceArn": f"arn:aws:ecr:us-east-2:111111111111:repository/{NAME}",
    "policyText": '{"Statement": [{"Effect": "Deny", "Principal": {"AWS": "222222222222"}, "Action": "ecr:PutImage"}]}',
    "lifecyclePolicyText": _LIFECYCLE + '"countNumber": 5}, "action": {"type": "expire"}}]}',
    "imageManifest": image("other").raw.decode(),
    "imageDigest": str(image("app").digest),
    "layerDigest": str(next(iter(image("app").blobs))),
    "name": "BLOB_MOUNTING",
    "value": "ENABLED",
    "principalArn": "arn:aws:iam::111111111111:role/scanner",
    "signingProfileArn": "arn:aws:signer:us-east-2:111111111111:/signing-profiles/widgets",
    "region": "sa-east-1",
    "uploadId": "00000000-0000-0000-0000-000000000000",
    "filter": "team",
    "prefix": "team",
    "ecrRepositoryPrefix": "team",
    "replicationBackfillId": "00000000-0000-0000-0000-000000000000",
}


def value(name: str, shape: Shape) -> Any:
    """A value that the model accepts, with its required members only."""
    if name in KNOWN:
        return KNOWN[name]
    if isinstance(shape, StructureShape):
        return {key: value(key, shape.members[key]) for key in shape.required_members or list(shape.members)[:1]}
    if isinstance(shape, ListShape):
        return [value(name, shape.member)]
    if isinstance(shape, MapShape):
        return {}
    if choices := shape.metadata.get("enum"):
        return choices[0]
    return {"string": "x", "integer": 1, "long": 0, "boolean": True, "blob": "YQ=="}[shape.type_name]

"""The local registry answers as ECR's `/v2/`: authentication, and a table of statuses, headers and messages."""

import json
from typing import Any

import pytest

from support.servers.ecr import DEV, NAME, PROD, Served
from support.servers.ecr_answers import NOWHERE, error

pytestmark = pytest.mark.usefixtures("repository")

V2 = f"/v2/{NAME}"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"

TABLE = [
    {
        "description": "no credentials",
        "method": "GET",
        "url": "/v2/",
        "send": {"Authorization": ""},
        "status": 401,
        "headers": {
            "Docker-Distribution-Api-Version": "registry/2.0",
            "Content-Type": "text/plain; charset=utf-8",
        },
        "body": "Not Authorized\n",
    },
    {
        "description": "bearer is not served",
        "method": "GET",
        "url": "/v2/",
        "send": {"Authorization": "Bearer x"},
        "status": 401,
        "body": "Not Authorized\n",
    },
    {
        "description": "a token that is none of ours",
        "method": "GET",
        "url": "/v2/",
        "send": {"Authorization": "Basic QVdTOnNlY3JldA=="},
        "status": 401,
        "body": "Not Authorized\n",
    },
    {
        "description": "credentials that are no base64",
        "method": "GET",
        "url": "/v2/",
        "send": {"Authorization": "Basic é~"},
        "status": 401,
        "body": "Not Authorized\n",
    },
    {"description": "a good token", "method": "GET", "url": "/v2/", "status": 200},
    {
        "description": "unknown repository",
        "method": "GET",
        "url": "/v2/no/such/manifests/v1",
        "status": 404,
        "code": "NAME_UNKNOWN",
        "body": "The repository with name 'no/such' does not exist in the registry with id '111111111111'",
    },
    {
        "description": "push to an unknown repository",
        "method": "POST",
        "url": "/v2/no/such/blobs/uploads/",
        "status": 404,
        "code": "NAME_UNKNOWN",
        "body": "The repository with name 'no/such' does not exist in the registry with id '111111111111'",
    },
    {
        "description": "a name that is none",
        "method": "GET",
        "url": "/v2/No_Such/manifests/v1",
        "status": 400,
        "code": "NAME_INVALID",
        "body": "Invalid repository name 'No_Such'",
    },
    {
        "description": "unknown tag",
        "method": "GET",
        "url": f"{V2}/manifests/v1",
        "status": 404,
        "code": "MANIFEST_UNKNOWN",
        "body": "Requested image not found",
    },
    {
        "description": "unknown digest",
        "method": "GET",
        "url": f"{V2}/manifests/{NOWHERE}",
        "status": 404,
        "code": "MANIFEST_UNKNOWN",
        "body": "Requested image not found",
    },
    {"description": "HEAD of an unknown tag", "method": "HEAD", "url": f"{V2}/manifests/v1", "status": 404},
    {
        "description": "a tag that is none",
        "method": "GET",
        "url": f"{V2}/manifests/v1+abc",
        "status": 400,
        "code": "TAG_INVALID",
    },
    {
        "description": "a digest that is none",
        "method": "GET",
        "url": f"{V2}/manifests/sha256:abc",
        "status": 400,
        "code": "DIGEST_INVALID",
        "body": "Invalid digest 'sha256:abc'",
    },
    {"description": "unknown layer", "method": "HEAD", "url": f"{V2}/blobs/{NOWHERE}", "status": 404},
    {
        "description": "unknown layer",
        "method": "GET",
        "url": f"{V2}/blobs/{NOWHERE}",
        "status": 404,
        "code": "BLOB_UNKNOWN",
    },
    {
        "description": "unknown upload",
        "method": "PATCH",
        "url": f"{V2}/blobs/uploads/00000000-0000-0000-0000-000000000000",
        "send": {"data": "abc"},
        "status": 404,
        "code": "BLOB_UPLOAD_UNKNOWN",
    },
    {
        "description": "no digest at completion of an unknown upload",
        "method": "PUT",
        "url": f"{V2}/blobs/uploads/x",
        "status": 404,
        "code": "BLOB_UPLOAD_UNKNOWN",
    },
    {
        "description": "a manifest that is not JSON",
        "method": "PUT",
        "url": f"{V2}/manifests/v1",
        "send": {"data": "{"},
        "status": 400,
        "code": "MANIFEST_INVALID",
        "body": "Invalid parameter at 'ImageManifest' failed to satisfy constraint: 'Invalid JSON syntax'",
    },
    {
        "description": "a manifest without layers",
        "method": "PUT",
        "url": f"{V2}/manifests/v1",
        "send": {"data": json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST})},
        "status": 400,
        "code": "MANIFEST_INVALID",
    },
    {
        "description": "a manifest of 4 MiB and a byte",
        "method": "PUT",
        "url": f"{V2}/manifests/v1",
        "send": {"data": "x" * (4 * 1024 * 1024 + 1)},
        "status": 400,
        "code": "MANIFEST_INVALID",
        "body": "Invalid parameter at 'ImageManifest' failed to satisfy constraint: "
        "'must have length less than or equal to 4194304'",
    },
    {
        "description": "the artifact manifest of OCI 1.1's drafts (roadmap #2783)",
        "method": "PUT",
        "url": f"{V2}/manifests/v1",
        "send": {"data": json.dumps({"mediaType": "application/vnd.oci.artifact.manifest.v1+json"})},
        "status": 405,
        "code": "UNSUPPORTED",
    },
    {
        "description": "more than 1,000 tags a page",
        "method": "GET",
        "url": f"{V2}/tags/list?n=1001",
        "status": 405,
        "code": "UNSUPPORTED",
    },
    {
        "description": "tags of an empty repository",
        "method": "GET",
        "url": f"{V2}/tags/list",
        "status": 200,
        "body": json.dumps({"name": NAME, "tags": []}),
    },
    {
        "description": "removal of an unknown tag",
        "method": "DELETE",
        "url": f"{V2}/manifests/v1",
        "status": 404,
        "code": "MANIFEST_UNKNOWN",
    },
    {
        "description": "removal of a layer",
        "method": "DELETE",
        "url": f"{V2}/blobs/{NOWHERE}",
        "status": 405,
        "code": "UNSUPPORTED",
        "body": "DELETE of blobs is not served by the local ECR yet",
    },
    {
        "description": "the catalog",
        "method": "DELETE",
        "url": "/v2/_catalog",
        "status": 405,
        "code": "UNSUPPORTED",
        "body": "DELETE /v2/_catalog is not served by the local ECR yet",
    },
    {
        "description": "no registry at all",
        "method": "GET",
        "url": "/v1/search",
        "status": 404,
        "code": "NOT_FOUND",
    },
    {
        "description": "a layer's address without a signature",
        "method": "GET",
        "url": f"/_layers/{DEV}/{'0' * 64}",
        "send": {"Authorization": ""},
        "status": 403,
    },
]


@pytest.mark.parametrize("row", TABLE, ids=[f"{row['method']} {row['description']}" for row in TABLE])
def test_the_registry_answers_with_ecrs_messages(served: Served, row: dict[str, Any]) -> None:
    sent = dict(row.get("send", {}))
    answer = served.send(row["method"], row["url"], sent.pop("data", None), **sent)
    assert answer.status == row["status"], answer.data
    for name, value in row.get("headers", {}).items():
        assert answer.headers[name] == value
    if "code" in row:
        assert error(answer)[1] == row["code"]
    if "body" in row:
        assert (error(answer)[2] if "code" in row else answer.data.decode()) == row["body"]


def test_the_challenge_names_realm_and_service(served: Served) -> None:
    answer = served.send("GET", "/v2/", Authorization="")
    port = served.ports[DEV]
    assert answer.headers["Www-Authenticate"] == f'Basic realm="http://localhost:{port}/",service="ecr.amazonaws.com"'


def test_a_token_expires_after_twelve_hours(served: Served) -> None:
    token = served.token()
    served.clock.move(hours=11, minutes=59)
    assert served.send("GET", "/v2/", Authorization=token).status == 200
    served.clock.move(minutes=1)
    text = "Your authorization token has expired. Reauthenticate and try again."
    assert error(served.send("GET", "/v2/", Authorization=token)) == (403, "DENIED", text)


def test_one_token_is_valid_for_every_registry(served: Served) -> None:
    assert served.send("GET", "/v2/", registry=PROD, Authorization=served.token(DEV.account)).status == 200


def test_missing_permission_has_ecrs_message(served: Served) -> None:
    served.denied.add(("dev", "ecr:InitiateLayerUpload"))
    assert error(served.send("POST", f"{V2}/blobs/uploads/")) == (
        403,
        "DENIED",
        "User: arn:aws:iam::111111111111:user/dev is not authorized to perform: ecr:InitiateLayerUpload on resource: "
        f"arn:aws:ecr:us-east-2:111111111111:repository/{NAME} because no identity-based policy allows the "
        "ecr:InitiateLayerUpload action",
    )

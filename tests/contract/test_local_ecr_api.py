"""The local ECR's JSON API, asked by boto3: the shapes of botocore's model, ECR's rules and words."""

import base64
import hashlib
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from builders import attestation, big_layer, image, index, multi_arch, sbom, signature
from ecr_server import DEV, NAME, PROD, Served, identity, serve
from tallyman_local.ecr import EcrError, Identity, model
from tallyman_local.ecr.calls import OPERATIONS

NOWHERE = "sha256:" + "0" * 64
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


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("ecr")) as served:
        yield served


@pytest.fixture
def served(running: Served) -> Served:
    running.reset()
    return running


@pytest.fixture
def client(served: Served) -> Any:
    served.create()
    return served.client()


def refusal(call: Any, **parameters: Any) -> tuple[str, str]:
    """Name and sentence of the error that a call raises."""
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    found = caught.value.response["Error"]
    return found["Code"], found["Message"]


# -- every operation of the model


@pytest.mark.parametrize("operation", model.service().operation_names)
def test_no_operation_of_the_model_is_a_server_error(served: Served, operation: str) -> None:
    for payload in (b"{}", b"{", b"[]", b'{"repositoryName": 7}', b'{"repositoryName": "a/b", "registryId": "1"}'):
        status, headers, body = served.ecr.api(operation, payload, DEV, identity(DEV.account))
        assert status in (200, 400), body
        assert headers["Content-Type"] == "application/x-amz-json-1.1"
    if operation not in OPERATIONS:
        expected = {"__type": "UnsupportedOperation", "message": f"{operation} is not served by the local ECR yet"}
        assert json.loads(body) == expected


def test_an_operation_of_no_model_is_named_too(served: Served) -> None:
    assert served.api("MakeCoffee") == (
        400,
        {"__type": "UnknownOperationException", "message": "MakeCoffee is no operation of ECR"},
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
def test_a_parameter_outside_the_model_is_refused_in_ecrs_words(
    served: Served, parameters: dict[str, Any], parameter: str, constraint: str
) -> None:
    status, body = served.api("CreateRepository", **parameters)
    assert (status, body["__type"]) == (400, "InvalidParameterException")
    text = f"Invalid parameter at '{parameter}' failed to satisfy constraint: '{constraint}"
    assert body["message"].startswith(text)


# -- repositories


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


def test_repositories_are_refused_in_ecrs_words(served: Served, client: Any) -> None:
    there = f"The repository with name '{NAME}' already exists in the registry with id '111111111111'"
    assert refusal(client.create_repository, repositoryName=NAME) == ("RepositoryAlreadyExistsException", there)
    missing = "The repository with name 'no/such' does not exist in the registry with id '111111111111'"
    for call in (client.delete_repository, client.list_images, client.get_repository_policy):
        assert refusal(call, repositoryName="no/such") == ("RepositoryNotFoundException", missing)
    served.push(image("app"), "v1")
    assert refusal(client.delete_repository, repositoryName=NAME)[0] == "RepositoryNotEmptyException"
    client.delete_repository(repositoryName=NAME, force=True)
    assert client.describe_repositories()["repositories"] == []


def test_repositories_come_in_pages(served: Served) -> None:
    names = [f"team/app-{number}" for number in range(7)]
    for name in names:
        served.create(name=name)
    pages = list(served.client().get_paginator("describe_repositories").paginate(PaginationConfig={"PageSize": 3}))
    assert [[r["repositoryName"] for r in page["repositories"]] for page in pages] == [names[:3], names[3:6], names[6:]]
    code, _ = refusal(served.client().describe_repositories, nextToken="nonsense")
    assert code == "InvalidParameterException"


def test_accounts_and_regions_are_registries_of_their_own(served: Served, client: Any) -> None:
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
def test_a_repository_policy_that_is_none_is_refused(client: Any, text: str) -> None:
    assert refusal(client.set_repository_policy, repositoryName=NAME, policyText=text) == (
        "InvalidParameterException",
        "Invalid parameter at 'PolicyText' failed to satisfy constraint: 'Invalid repository policy provided'",
    )


def test_who_may_not_is_told_so(served: Served, client: Any) -> None:
    served.denied.add(("dev", "ecr:DeleteRepository"))
    assert refusal(client.delete_repository, repositoryName=NAME) == (
        "AccessDeniedException",
        "User: arn:aws:iam::111111111111:user/dev is not authorized to perform: ecr:DeleteRepository on resource: "
        f"arn:aws:ecr:us-east-2:111111111111:repository/{NAME} because no identity-based policy allows the "
        "ecr:DeleteRepository action",
    )


def test_a_repository_policy_that_denies_lets_only_the_named_role_push(served: Served, client: Any) -> None:
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


def test_an_archived_image_is_hidden_unless_asked_for(served: Served, client: Any) -> None:
    app = image("app")
    served.push(app, "v1")
    asked = {"repositoryName": NAME, "imageId": {"imageTag": "v1"}}
    assert client.update_image_storage_class(**asked, targetStorageClass="ARCHIVE")["imageStatus"] == "ARCHIVED"
    assert client.list_images(repositoryName=NAME)["imageIds"] == []
    (found,) = client.describe_images(repositoryName=NAME, filter={"imageStatus": "ANY"})["imageDetails"]
    assert (found["imageStatus"], found["lastArchivedAt"]) == ("ARCHIVED", served.clock.now)
    assert refusal(client.start_image_scan, **asked)[0] == "ImageArchivedException"
    client.update_image_storage_class(**asked, targetStorageClass="STANDARD")
    assert len(client.list_images(repositoryName=NAME)["imageIds"]) == 1
    told = [e["detail"] for e in served.events if e["detail"]["action-type"] == "UPDATE_STORAGE_CLASS"]
    assert [(d["target-storage-class"], d.get("last-activated-at"), "image-tag" in d) for d in told] == [
        ("ARCHIVE", None, False),
        ("STANDARD", "2026-11-16T12:00:00Z", False),
    ]


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


# -- images


def test_an_image_is_described_with_its_compressed_size(served: Served, client: Any) -> None:
    app = image("app", big_layer(5000))
    served.push(app, "v1")
    served.put(app.raw, "v2", app.media_type)
    (found,) = client.describe_images(repositoryName=NAME)["imageDetails"]
    assert found == {
        "registryId": "111111111111",
        "repositoryName": NAME,
        "imageDigest": app.digest,
        "imageTags": ["v1", "v2"],
        "imageSizeInBytes": sum(len(raw) for raw in app.blobs.values()),
        "imagePushedAt": served.clock.now,
        "imageManifestMediaType": app.media_type,
        "artifactMediaType": "application/vnd.oci.image.config.v1+json",
        "imageStatus": "ACTIVE",
    }


def test_an_index_is_as_large_as_its_largest_child(served: Served, client: Any) -> None:
    small, large = image("small", architecture="arm64"), image(big_layer(5000))
    both = index(small, large)
    served.push(both, "v1")
    (found,) = client.describe_images(repositoryName=NAME, imageIds=[{"imageTag": "v1"}])["imageDetails"]
    assert found["imageSizeInBytes"] == sum(len(raw) for raw in large.blobs.values())
    assert "artifactMediaType" not in found


def test_the_push_time_stays_when_a_tag_is_added_and_pulls_are_recorded_daily(served: Served, client: Any) -> None:
    app = image("app")
    served.push(app, "v1")
    pushed = served.clock.now

    def detail() -> dict[str, Any]:
        return client.describe_images(repositoryName=NAME)["imageDetails"][0]

    served.clock.move(hours=1)
    served.put(app.raw, "v2", app.media_type)
    assert (detail()["imagePushedAt"], "lastRecordedPullTime" in detail()) == (pushed, False)
    served.send("GET", f"/v2/{NAME}/manifests/v1")
    pulled = served.clock.now
    served.clock.move(hours=23)
    served.send("GET", f"/v2/{NAME}/manifests/v1")
    assert detail()["lastRecordedPullTime"] == pulled
    served.clock.move(hours=1)
    client.batch_get_image(repositoryName=NAME, imageIds=[{"imageTag": "v1"}])
    assert detail()["lastRecordedPullTime"] == pulled + timedelta(hours=24)


def test_images_are_listed_by_tag_status_in_pages(served: Served, client: Any) -> None:
    both = multi_arch()
    served.push(both, "v1")
    served.put(both.raw, "v2", both.media_type)
    children = {digest for digest in both.manifests if digest != both.digest}
    tagged = client.list_images(repositoryName=NAME, filter={"tagStatus": "TAGGED"})["imageIds"]
    assert [i["imageTag"] for i in tagged] == ["v1", "v2"]
    untagged = client.list_images(repositoryName=NAME, filter={"tagStatus": "UNTAGGED"})["imageIds"]
    assert {i["imageDigest"] for i in untagged} == children
    assert all("imageTag" not in i for i in untagged)
    for name, key, size in (("list_images", "imageIds", 4), ("describe_images", "imageDetails", 3)):
        pages = list(client.get_paginator(name).paginate(repositoryName=NAME, PaginationConfig={"PageSize": 1}))
        assert [len(page[key]) for page in pages] == [1] * size
    archived = client.describe_images(repositoryName=NAME, filter={"imageStatus": "ARCHIVED"})
    assert archived["imageDetails"] == []
    assert len(client.describe_images(repositoryName=NAME, filter={"imageStatus": "ANY"})["imageDetails"]) == 3


def test_paging_goes_on_where_it_was_when_images_come_and_go(served: Served, client: Any) -> None:
    pushed = [image(f"app {number}") for number in range(4)]
    for app in pushed[:3]:
        served.push(app)
    first = client.describe_images(repositoryName=NAME, maxResults=2)
    client.batch_delete_image(repositoryName=NAME, imageIds=[{"imageDigest": pushed[1].digest}])
    served.push(pushed[3])
    rest = client.describe_images(repositoryName=NAME, nextToken=first["nextToken"])
    assert [i["imageDigest"] for i in rest["imageDetails"]] == [pushed[2].digest, pushed[3].digest]


def test_an_unknown_image_is_refused_in_ecrs_words(client: Any) -> None:
    assert refusal(client.describe_images, repositoryName=NAME, imageIds=[{"imageTag": "v9"}]) == (
        "ImageNotFoundException",
        "The image with imageId {imageDigest:'null', imageTag:'v9'} does not exist within the repository with name "
        f"'{NAME}' in the registry with id '111111111111'",
    )


def test_put_image_keeps_the_bytes_and_refuses_what_changes_nothing(served: Served, client: Any) -> None:
    app = image("app")
    served.push(app, "v1")
    raw = app.raw.decode()
    put = client.put_image(repositoryName=NAME, imageManifest=raw, imageTag="v2")["image"]
    assert put["imageId"] == {"imageDigest": app.digest, "imageTag": "v2"}
    got = client.batch_get_image(repositoryName=NAME, imageIds=[{"imageTag": "v2"}])["images"]
    assert [i["imageManifest"] for i in got] == [raw]
    there = f"Image with digest '{app.digest}' and tag 'v2' already exists in the repository with name '{NAME}' in "
    for mutability in ("MUTABLE", "IMMUTABLE"):
        client.put_image_tag_mutability(repositoryName=NAME, imageTagMutability=mutability)
        assert refusal(client.put_image, repositoryName=NAME, imageManifest=raw, imageTag="v2") == (
            "ImageAlreadyExistsException",
            there + "registry with id '111111111111'",
        )
    other = image("other")
    served.push(other)
    code, text = refusal(client.put_image, repositoryName=NAME, imageManifest=other.raw.decode(), imageTag="v2")
    assert code == "ImageTagAlreadyExistsException"
    assert text == (
        f"The image tag 'v2' already exists in the '{NAME}' repository and cannot be overwritten because the tag is "
        "immutable."
    )


def test_put_image_names_what_is_missing(client: Any) -> None:
    call = client.put_image
    assert refusal(call, repositoryName=NAME, imageManifest=image("app").raw.decode())[0] == "LayersNotFoundException"
    missing = refusal(call, repositoryName=NAME, imageManifest=multi_arch().raw.decode())
    assert missing[0] == "ReferencedImagesNotFoundException"
    wrong = refusal(call, repositoryName=NAME, imageManifest=image("app").raw.decode(), imageDigest=NOWHERE)
    assert wrong[0] == "ImageDigestDoesNotMatchException"


def test_ids_that_can_not_be_served_are_failures_of_a_200(served: Served, client: Any) -> None:
    app, other = image("app"), image("other")
    served.push(app, "v1")
    served.push(other, "v2")
    ids = [
        {"imageTag": "v1"},
        {"imageTag": "v9"},
        {"imageDigest": NOWHERE},
        {"imageDigest": "nonsense"},
        {"imageTag": "-"},
        {},
        {"imageTag": "v1", "imageDigest": other.digest},
    ]
    for call in (client.batch_get_image, client.batch_delete_image):
        answer = call(repositoryName=NAME, imageIds=ids)
        assert [f["failureCode"] for f in answer["failures"]] == [
            "ImageNotFound",
            "ImageNotFound",
            "InvalidImageDigest",
            "InvalidImageTag",
            "MissingDigestAndTag",
            "ImageTagDoesNotMatchDigest" if call == client.batch_get_image else "ImageNotFound",
        ]


def test_deleting_by_tag_and_by_digest(served: Served, client: Any) -> None:
    app = image("app")
    for _ in range(2):
        served.push(app, "v1")
        served.put(app.raw, "v2", app.media_type)
        by_tag = client.batch_delete_image(repositoryName=NAME, imageIds=[{"imageTag": "v1"}])
        assert by_tag["imageIds"] == [{"imageDigest": app.digest, "imageTag": "v1"}]
        assert len(client.describe_images(repositoryName=NAME)["imageDetails"]) == 1
        by_digest = client.batch_delete_image(repositoryName=NAME, imageIds=[{"imageDigest": app.digest}])
        assert by_digest["imageIds"] == [{"imageDigest": app.digest, "imageTag": "v2"}]
        assert client.describe_images(repositoryName=NAME)["imageDetails"] == []
        assert client.batch_check_layer_availability(repositoryName=NAME, layerDigests=[NOWHERE])["failures"] == []


def test_an_image_that_an_index_names_is_not_deleted(served: Served, client: Any) -> None:
    both = multi_arch()
    served.push(both, "v1")
    child = next(iter(both.manifests))
    answer = client.batch_delete_image(repositoryName=NAME, imageIds=[{"imageDigest": child}])
    assert (answer["imageIds"], answer["failures"]) == (
        [],
        [
            {
                "imageId": {"imageDigest": child},
                "failureCode": "ImageReferencedByManifestList",
                "failureReason": f"Requested image referenced by manifest list: [{both.digest}]",
            }
        ],
    )
    together = [{"imageDigest": both.digest}, {"imageDigest": child}]
    assert client.batch_delete_image(repositoryName=NAME, imageIds=together)["failures"] == []


def test_referrers_come_in_pages_with_their_artifact_type(served: Served, client: Any) -> None:
    app = image("app")
    signed, listed = signature(app), sbom(app)
    for pushed in (app, signed, listed):
        served.push(pushed)
    subject = {"imageDigest": app.digest}
    first = client.list_image_referrers(repositoryName=NAME, subjectId=subject, maxResults=1)
    rest = client.list_image_referrers(repositoryName=NAME, subjectId=subject, nextToken=first["nextToken"])
    found = first["referrers"] + rest["referrers"]
    assert {(r["digest"], r["size"]) for r in found} == {(x.digest, len(x.raw)) for x in (signed, listed)}
    only = client.list_image_referrers(
        repositoryName=NAME, subjectId=subject, filter={"artifactTypes": ["application/spdx+json"]}
    )
    assert [r["digest"] for r in only["referrers"]] == [listed.digest]
    (detail,) = client.describe_images(repositoryName=NAME, imageIds=[{"imageDigest": signed.digest}])["imageDetails"]
    assert detail["subjectManifestDigest"] == app.digest


# -- layers


def test_a_layer_goes_up_in_parts_and_comes_down_by_a_presigned_address(served: Served, client: Any) -> None:
    raw = big_layer(5 * 1024 * 1024 + 17).raw
    digest = "sha256:" + hashlib.sha256(raw).hexdigest()
    started = client.initiate_layer_upload(repositoryName=NAME)
    upload, middle = started["uploadId"], 5 * 1024 * 1024
    for first, part in ((0, raw[:middle]), (middle, raw[middle:])):
        last = first + len(part) - 1
        answer = client.upload_layer_part(
            repositoryName=NAME, uploadId=upload, partFirstByte=first, partLastByte=last, layerPartBlob=part
        )
        assert answer["lastByteReceived"] == last
    done = client.complete_layer_upload(repositoryName=NAME, uploadId=upload, layerDigests=[digest])
    assert done["layerDigest"] == digest
    (layer,) = client.batch_check_layer_availability(repositoryName=NAME, layerDigests=[digest])["layers"]
    assert (layer["layerAvailability"], layer["layerSize"]) == ("AVAILABLE", len(raw))
    address = client.get_download_url_for_layer(repositoryName=NAME, layerDigest=digest)["downloadUrl"]
    assert served.send("GET", address, Authorization="").data == raw


def test_layers_are_refused_in_ecrs_words(client: Any) -> None:
    upload = client.initiate_layer_upload(repositoryName=NAME)["uploadId"]
    here = {"repositoryName": NAME, "uploadId": upload}
    assert refusal(client.complete_layer_upload, **here, layerDigests=[NOWHERE])[0] == "EmptyUploadException"
    client.upload_layer_part(**here, partFirstByte=0, partLastByte=2, layerPartBlob=b"abc")
    with pytest.raises(ClientError) as caught:
        client.upload_layer_part(**here, partFirstByte=7, partLastByte=9, layerPartBlob=b"abc")
    assert caught.value.response["Error"]["Code"] == "InvalidLayerPartException"
    assert caught.value.response["lastValidByteReceived"] == 2
    client.upload_layer_part(**here, partFirstByte=3, partLastByte=5, layerPartBlob=b"def")
    small = refusal(client.complete_layer_upload, **here, layerDigests=[NOWHERE])
    assert small[0] == "LayerPartTooSmallException"
    gone = {"repositoryName": NAME, "uploadId": "00000000-0000-0000-0000-000000000000", "layerDigests": [NOWHERE]}
    assert refusal(client.complete_layer_upload, **gone)[0] == "UploadNotFoundException"
    missing = refusal(client.get_download_url_for_layer, repositoryName=NAME, layerDigest=NOWHERE)
    assert missing[0] == "LayersNotFoundException"
    checked = client.batch_check_layer_availability(repositoryName=NAME, layerDigests=["nonsense", NOWHERE])
    assert [f["failureCode"] for f in checked["failures"]] == ["InvalidLayerDigest"]
    assert [x["layerAvailability"] for x in checked["layers"]] == ["UNAVAILABLE"]


def test_a_layer_that_is_there_is_said_to_be(served: Served, client: Any) -> None:
    digest = served.upload(b"abc")
    upload = client.initiate_layer_upload(repositoryName=NAME)["uploadId"]
    here = {"repositoryName": NAME, "uploadId": upload}
    client.upload_layer_part(**here, partFirstByte=0, partLastByte=2, layerPartBlob=b"abc")
    assert refusal(client.complete_layer_upload, **here, layerDigests=[digest])[0] == "LayerAlreadyExistsException"


# -- scans


def scan_events(served: Served) -> list[dict[str, Any]]:
    return [event for event in served.events if event["detail-type"] == "ECR Image Scan"]


def test_a_scan_waits_until_it_is_completed_and_may_be_completed_again(served: Served) -> None:
    served.create(imageScanningConfiguration={"scanOnPush": True})
    client, app = served.client(), image("app")
    served.push(app, "v1")
    asked = {"repositoryName": NAME, "imageId": {"imageTag": "v1"}}
    assert client.describe_image_scan_findings(**asked)["imageScanStatus"]["status"] == "IN_PROGRESS"
    assert scan_events(served) == []

    served.ecr.scanner.complete(DEV, NAME, app.digest, [])
    served.clock.move(hours=1)
    findings = [
        {"name": "CVE-2026-1", "severity": "critical"},
        {"name": "CVE-2026-2", "severity": "HIGH", "description": "bad", "uri": "https://example.invalid/2"},
        {"name": "CVE-2026-3", "severity": "HIGH"},
    ]
    served.ecr.scanner.complete(DEV, NAME, app.digest, findings)
    answer = client.describe_image_scan_findings(**asked)
    assert answer["imageScanStatus"]["status"] == "COMPLETE"
    found = answer["imageScanFindings"]
    assert (found["findingSeverityCounts"], found["imageScanCompletedAt"]) == (
        {"CRITICAL": 1, "HIGH": 2},
        served.clock.now,
    )
    assert [(f["name"], f["severity"]) for f in found["findings"]][:2] == [
        ("CVE-2026-1", "CRITICAL"),
        ("CVE-2026-2", "HIGH"),
    ]
    assert found["findings"][1] | {"attributes": []} == {**findings[1], "attributes": []}
    detail = client.describe_images(repositoryName=NAME)["imageDetails"][0]
    assert detail["imageScanFindingsSummary"]["findingSeverityCounts"] == {"CRITICAL": 1, "HIGH": 2}

    clean, bad = scan_events(served)
    assert clean["detail"] == {
        "scan-status": "COMPLETE",
        "repository-name": NAME,
        "finding-severity-counts": {},
        "image-digest": app.digest,
        "image-tags": ["v1"],
    }
    assert bad["detail"]["finding-severity-counts"] == {"CRITICAL": 1, "HIGH": 2}
    assert bad["resources"] == [f"arn:aws:ecr:us-east-2:111111111111:repository/{NAME}"]


def test_a_scanner_in_clean_mode_completes_by_itself(served: Served) -> None:
    served.ecr.scanner.mode = "clean"
    try:
        served.create(imageScanningConfiguration={"scanOnPush": True})
        served.push(multi_arch(attested=True), "v1")
        assert [e["detail"]["scan-status"] for e in scan_events(served)] == ["COMPLETE", "COMPLETE"]
    finally:
        served.ecr.scanner.mode = "manual"


def test_one_scan_an_image_a_day(served: Served, client: Any) -> None:
    served.push(image("app"), "v1")
    asked = {"repositoryName": NAME, "imageId": {"imageTag": "v1"}}
    where = f"the repository with name '{NAME}' in the registry with id '111111111111'"
    assert refusal(client.describe_image_scan_findings, **asked) == (
        "ScanNotFoundException",
        "Image scan does not exist for the image with '{imageDigest:'null', imageTag:'v1'}' in " + where,
    )
    assert client.start_image_scan(**asked)["imageScanStatus"]["status"] == "IN_PROGRESS"
    assert refusal(client.start_image_scan, **asked) == (
        "LimitExceededException",
        "The scan quota per image has been exceeded. Wait and try again.",
    )
    served.clock.move(hours=24)
    client.start_image_scan(**asked)


def test_indexes_attestations_and_artifacts_can_not_be_scanned(served: Served, client: Any) -> None:
    app = image("app")
    both = index(app, attestation(app))
    served.push(both, "v1")
    signed = signature(app)
    served.push(signed)
    for digest in (both.digest, attestation(app).digest, signed.digest):
        code, text = refusal(client.start_image_scan, repositoryName=NAME, imageId={"imageDigest": digest})
        assert code == "UnsupportedImageTypeException"
        assert "cannot be scanned" in text
        with pytest.raises(EcrError, match="cannot be scanned"):
            served.ecr.scanner.complete(DEV, NAME, digest, [])
    text = "An artifact with media type 'application/vnd.oci.image.index.v1+json' cannot be scanned."
    assert refusal(client.start_image_scan, repositoryName=NAME, imageId={"imageTag": "v1"})[1].startswith(text)


# -- the trail


def test_management_calls_leave_a_record_failed_ones_too(served: Served, client: Any) -> None:
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


def test_a_roles_session_is_recorded_with_its_role() -> None:
    session = Identity("222222222222", "arn:aws:sts::222222222222:assumed-role/tallyman-spoke-push/copy", "AROAX:copy")
    recorded = session.user_identity()
    assert (recorded["type"], recorded["principalId"]) == ("AssumedRole", "AROAX:copy")
    issuer = recorded["sessionContext"]["sessionIssuer"]
    assert issuer["arn"] == "arn:aws:iam::222222222222:role/tallyman-spoke-push"
    assert issuer["userName"] == "tallyman-spoke-push"

"""Images by the local ECR's API, through boto3: describe, list, put, delete, archive, referrers."""

from datetime import timedelta
from typing import Any

from support.images.builders import big_layer, image, index, multi_arch, sbom, signature
from support.servers.ecr import NAME, Served
from support.servers.ecr_answers import NOWHERE, refusal


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


def test_a_new_tag_keeps_the_push_time_and_pulls_are_recorded_daily(served: Served, client: Any) -> None:
    app = image("app")
    served.push(app, "v1")
    pushed = served.clock.now

    def detail() -> dict[str, Any]:
        found: dict[str, Any] = client.describe_images(repositoryName=NAME)["imageDetails"][0]
        return found

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


def test_paging_continues_correctly_while_images_change(served: Served, client: Any) -> None:
    pushed = [image(f"app {number}") for number in range(4)]
    for app in pushed[:3]:
        served.push(app)
    first = client.describe_images(repositoryName=NAME, maxResults=2)
    client.batch_delete_image(repositoryName=NAME, imageIds=[{"imageDigest": pushed[1].digest}])
    served.push(pushed[3])
    rest = client.describe_images(repositoryName=NAME, nextToken=first["nextToken"])
    assert [i["imageDigest"] for i in rest["imageDetails"]] == [pushed[2].digest, pushed[3].digest]


def test_an_unknown_image_is_refused_with_ecrs_message(client: Any) -> None:
    assert refusal(client.describe_images, repositoryName=NAME, imageIds=[{"imageTag": "v9"}]) == (
        "ImageNotFoundException",
        "The image with imageId {imageDigest:'null', imageTag:'v9'} does not exist within the repository with name "
        f"'{NAME}' in the registry with id '111111111111'",
    )


def test_put_image_keeps_the_bytes_and_refuses_an_unchanged_image(served: Served, client: Any) -> None:
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


def test_unknown_ids_are_failures_in_a_200_answer(served: Served, client: Any) -> None:
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


def test_an_image_referenced_by_an_index_is_not_deleted(served: Served, client: Any) -> None:
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
    result = [e["detail"] for e in served.events if e["detail"]["action-type"] == "UPDATE_STORAGE_CLASS"]
    assert [(d["target-storage-class"], d.get("last-activated-at"), "image-tag" in d) for d in result] == [
        ("ARCHIVE", None, False),
        ("STANDARD", "2026-11-16T12:00:00Z", False),
    ]


def test_referrers_are_paged_and_have_their_artifact_type(served: Served, client: Any) -> None:
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

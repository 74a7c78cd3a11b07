"""Manifests and lists by ECR's user guide: conversion on pulls by tag, media types, the catalog, lifecycle."""

import json
from typing import Any

import pytest

from support.images.builders import DOCKER_CONFIG, DOCKER_LAYER, OCI_CONFIG, OCI_LAYER, image, multi_arch, signature
from support.servers.ecr import NAME, PROD, Served, sha256
from support.servers.ecr_answers import error, refusal

OCI, DOCKER = "application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"
LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
V1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
V2 = f"/v2/{NAME}"


@pytest.mark.usefixtures("repository")
@pytest.mark.parametrize(
    ("docker", "wanted", "config", "layer"),
    [(False, DOCKER, DOCKER_CONFIG, DOCKER_LAYER), (True, OCI, OCI_CONFIG, OCI_LAYER)],
    ids=["OCI to Docker", "Docker to OCI"],
)
def test_a_manifest_is_converted_on_a_pull_by_tag(
    served: Served, docker: bool, wanted: str, config: str, layer: str
) -> None:
    app = image("app", docker=docker)
    served.push(app, "v1")
    got = served.send("GET", f"{V2}/manifests/v1", Accept=f"{wanted};q=0.9, text/plain")
    made = json.loads(got.data)
    assert (got.status, got.headers["Content-Type"], made["mediaType"]) == (200, wanted, wanted)
    assert got.headers["Docker-Content-Digest"] == sha256(got.data) != app.digest
    assert (made["config"]["mediaType"], {one["mediaType"] for one in made["layers"]}) == (config, {layer})
    assert [made["config"]["digest"], *(one["digest"] for one in made["layers"])] == list(app.blobs)
    head = served.send("HEAD", f"{V2}/manifests/v1", Accept=wanted)
    assert (head.headers["Docker-Content-Digest"], head.headers["Content-Length"]) == (
        got.headers["Docker-Content-Digest"],
        str(len(got.data)),
    )
    by_digest = served.send("GET", f"{V2}/manifests/{app.digest}", Accept=wanted)
    assert (by_digest.data, by_digest.headers["Content-Type"]) == (app.raw, app.media_type)

    asked = {"repositoryName": NAME, "acceptedMediaTypes": [wanted]}
    (by_tag,) = served.client().batch_get_image(**asked, imageIds=[{"imageTag": "v1"}])["images"]
    assert (by_tag["imageManifest"].encode(), by_tag["imageManifestMediaType"]) == (got.data, wanted)
    assert by_tag["imageId"] == {"imageDigest": sha256(got.data), "imageTag": "v1"}
    (same,) = served.client().batch_get_image(**asked, imageIds=[{"imageDigest": app.digest}])["images"]
    assert (same["imageManifest"].encode(), same["imageManifestMediaType"]) == (app.raw, app.media_type)


@pytest.mark.usefixtures("repository")
@pytest.mark.parametrize("accepted", ["", "*/*", f"{OCI}, {DOCKER}", OCI, V1, f"{DOCKER}, */*", "application/json"])
def test_a_manifest_that_the_client_accepts_or_that_has_no_conversion_is_unchanged(
    served: Served, accepted: str
) -> None:
    app = image("app")
    served.push(app, "v1")
    headers: dict[str, Any] = {"Accept": accepted} if accepted else {}
    got = served.send("GET", f"{V2}/manifests/v1", **headers)
    assert (got.data, got.headers["Content-Type"]) == (app.raw, OCI)


@pytest.mark.usefixtures("repository")
def test_indexes_artifacts_and_layers_without_a_counterpart_are_not_converted(served: Served) -> None:
    app, both = image("app"), multi_arch()
    served.push(app)
    served.push(both, "index")
    signed = signature(app)
    served.push(signed, "signed")
    odd = json.loads(app.raw)
    odd["layers"][0]["mediaType"] = "application/vnd.oci.image.layer.v1.tar+zstd"
    zstd = json.dumps(odd).encode()
    assert served.put(zstd, "zstd", OCI).status == 201
    for tag, raw in (("index", both.raw), ("signed", signed.raw), ("zstd", zstd)):
        assert served.send("GET", f"{V2}/manifests/{tag}", Accept=f"{DOCKER}, {LIST}").data == raw


@pytest.mark.usefixtures("repository")
def test_a_manifest_without_any_media_type_is_refused(served: Served, client: Any) -> None:
    app = image("app")
    served.push(app)
    bare = json.loads(app.raw)
    del bare["mediaType"]
    raw = json.dumps(bare)
    text = "Invalid parameter at 'imageManifestMediaType' failed to satisfy constraint: 'must not be null where the "
    found = refusal(client.put_image, repositoryName=NAME, imageManifest=raw, imageTag="v1")
    assert found == ("InvalidParameterException", text + "manifest has no mediaType'")
    assert error(served.put(raw.encode(), "v1", ""))[:2] == (400, "MANIFEST_INVALID")
    put = client.put_image(repositoryName=NAME, imageManifest=raw, imageManifestMediaType=OCI, imageTag="v1")
    assert put["image"]["imageManifestMediaType"] == OCI


@pytest.mark.usefixtures("repository")
def test_an_unsupported_manifest_type_is_refused_with_a_declared_error(served: Served, client: Any) -> None:
    raw = json.dumps({"schemaVersion": 1, "name": "app", "fsLayers": []})
    found = refusal(client.put_image, repositoryName=NAME, imageManifest=raw, imageManifestMediaType=V1)
    assert found == ("InvalidParameterException", f"Manifest with media type '{V1}' is not supported")
    assert error(served.put(raw.encode(), "v1", V1))[:2] == (405, "UNSUPPORTED")


def test_the_catalog_is_paged_with_links(served: Served) -> None:
    names = [f"team/app-{n:02}" for n in range(12)]
    for name in names:
        served.create(name=name)
    served.create(PROD, name="not/here")
    assert json.loads(served.send("GET", "/v2/_catalog").data) == {"repositories": names}
    path, found = "/v2/_catalog?n=5", []
    for _ in range(3):
        answer = served.send("GET", path)
        found.append(json.loads(answer.data)["repositories"])
        link = answer.headers.get("Link", "")
        path = link.partition(">")[0].lstrip("<")
        assert not link or link.endswith('; rel="next"')
    assert (found, path) == ([names[:5], names[5:10], names[10:]], "")


def test_the_page_size_of_the_catalog_is_limited(served: Served) -> None:
    text = "Invalid parameter at 'maxResults' failed to satisfy constraint: 'Member must have value less than or equal"
    status, code, message = error(served.send("GET", "/v2/_catalog?n=10000"))
    assert (status, code, message) == (405, "UNSUPPORTED", text + " to 1000'")
    for query in ("n=0", "n=-1", "n=x", "n=" + "9" * 5000, "last=%FF"):
        assert error(served.send("GET", f"/v2/_catalog?{query}"))[:2] == (405, "UNSUPPORTED")
    assert served.send("POST", "/v2/_catalog").status == 405
    assert served.send("GET", "/v2/_catalog", Authorization="").status == 401
    served.denied.add(("dev", "ecr:DescribeRepositories"))
    assert error(served.send("GET", "/v2/_catalog"))[:2] == (403, "DENIED")


def test_a_lifecycle_policy_was_never_run(client: Any, served: Served) -> None:
    rule = {
        "rulePriority": 1,
        "selection": {"tagStatus": "untagged", "countType": "imageCountMoreThan", "countNumber": 5},
    }
    text = json.dumps({"rules": [{**rule, "action": {"type": "expire"}}]})
    client.put_lifecycle_policy(repositoryName=NAME, lifecyclePolicyText=text)
    for operation in ("GetLifecyclePolicy", "DeleteLifecyclePolicy"):
        status, answer = served.api(operation, repositoryName=NAME)
        assert (status, answer["lastEvaluatedAt"]) == (200, 0.0)


def test_absent_prefixes_of_creation_templates_are_left_out(client: Any) -> None:
    for prefix in ("team", "other"):
        client.create_repository_creation_template(prefix=prefix, appliedFor=["CREATE_ON_PUSH"])
    found = client.describe_repository_creation_templates(prefixes=["team", "absent"])
    assert [one["prefix"] for one in found["repositoryCreationTemplates"]] == ["team"]
    assert client.describe_repository_creation_templates(prefixes=["absent"])["repositoryCreationTemplates"] == []


def test_there_is_no_pull_through_cache_rule(client: Any) -> None:
    assert client.describe_pull_through_cache_rules()["pullThroughCacheRules"] == []
    for call, asked in (
        (client.describe_pull_through_cache_rules, {"ecrRepositoryPrefixes": ["hub"]}),
        (client.delete_pull_through_cache_rule, {"ecrRepositoryPrefix": "hub"}),
        (client.validate_pull_through_cache_rule, {"ecrRepositoryPrefix": "hub"}),
        (client.update_pull_through_cache_rule, {"ecrRepositoryPrefix": "hub"}),
    ):
        assert refusal(call, **asked) == (
            "PullThroughCacheRuleNotFoundException",
            "The Pull Through Cache Rule with prefix 'hub' does not exist in the registry with id '111111111111'",
        )


# -- our choices (docs/local-ecr.md)


def test_an_id_with_digest_and_tag_is_removed_like_its_tag(served: Served, client: Any) -> None:
    app, other = image("app"), image("other")
    served.push(app, "v1")
    served.put(app.raw, "v2", app.media_type)
    served.push(other, "o")
    gone = client.batch_delete_image(repositoryName=NAME, imageIds=[{"imageDigest": app.digest, "imageTag": "v1"}])
    assert gone["imageIds"] == [{"imageDigest": app.digest, "imageTag": "v1"}]
    (detail,) = client.describe_images(repositoryName=NAME, imageIds=[{"imageDigest": app.digest}])["imageDetails"]
    assert detail["imageTags"] == ["v2"]
    wrong = client.batch_delete_image(repositoryName=NAME, imageIds=[{"imageDigest": app.digest, "imageTag": "o"}])
    assert [f["failureCode"] for f in wrong["failures"]] == ["ImageTagDoesNotMatchDigest"]
    client.batch_delete_image(repositoryName=NAME, imageIds=[{"imageDigest": app.digest, "imageTag": "v2"}])
    assert refusal(client.describe_images, repositoryName=NAME, imageIds=[{"imageDigest": app.digest}])[0] == (
        "ImageNotFoundException"
    )


def test_scan_on_push_counts_beside_the_registrys_rules(served: Served) -> None:
    served.create(imageScanningConfiguration={"scanOnPush": True})
    client = served.client()
    rule = {"scanFrequency": "SCAN_ON_PUSH", "repositoryFilters": [{"filter": "elsewhere", "filterType": "WILDCARD"}]}
    client.put_registry_scanning_configuration(scanType="BASIC", rules=[rule])
    served.push(image("app"), "v1")
    asked = {"repositoryName": NAME, "imageId": {"imageTag": "v1"}}
    assert client.describe_image_scan_findings(**asked)["imageScanStatus"]["status"] == "IN_PROGRESS"


def test_actions_of_other_services_in_a_policy_are_accepted_and_match_nothing(served: Served, client: Any) -> None:
    statement = {"Effect": "Deny", "Principal": "*", "Action": ["s3:*", "coffee:Make"], "Resource": "*"}
    text = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    client.put_registry_policy(policyText=text)
    del statement["Resource"]
    client.set_repository_policy(repositoryName=NAME, policyText=json.dumps({"Statement": [statement]}))
    assert served.push(image("app"), "v1").status == 201

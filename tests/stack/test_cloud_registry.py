"""The registries inside the cloud: a push over HTTP causes its event, CloudTrail record and work; one token is valid
for all."""

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.images import builders
from support.stacks import sample_stack as sample
from tallyman_local.cloud.cloud import Cloud
from tallyman_local.events.chaos import Settings

NAME = "rocketseat/widget-server"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sample")


@pytest.fixture(scope="module")
def cloud(folder: Path) -> Iterator[Cloud]:
    with sample.cloud(folder) as running:
        for place in running.places:
            role = f"arn:aws:iam::{place.registry.account}:role/owner"
            ecr = sample.client(running, "ecr", role=role, region=place.registry.region)
            ecr.create_repository(repositoryName=NAME)
        yield running


@pytest.fixture(scope="module")
def token(cloud: Cloud) -> str:
    data = sample.client(cloud, "ecr").get_authorization_token()["authorizationData"][0]
    assert data["proxyEndpoint"] == "http://" + cloud.registries["TALLYMAN_REGISTRY_DEV_1"]
    return str(data["authorizationToken"])


@pytest.fixture(autouse=True)
def no_chaos(cloud: Cloud) -> Iterator[None]:
    yield
    cloud.bus.set_chaos(None)
    cloud.settle(30)


def request(address: str, token: str, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(address)
    try:
        sent = {"Authorization": f"Basic {token}"} | {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, sent)
        response = connection.getresponse()
        response.read()
        return response.status, response.headers
    finally:
        connection.close()


def push(address: str, token: str, built: builders.Built, tag: str) -> None:
    """Push as a client does: blobs, children, then the image or index itself."""
    for digest, blob in built.blobs.items():
        _, headers = request(address, token, "POST", f"/v2/{NAME}/blobs/uploads/")
        location = headers["Location"].split("/", 3)[3]
        separator = "&" if "?" in location else "?"
        status, _ = request(address, token, "PUT", f"/{location}{separator}digest={digest}", blob)
        assert status == 201
    for digest, manifest in built.manifests.items():
        reference = tag if digest == built.digest else digest
        path = f"/v2/{NAME}/manifests/{reference}"
        status, _ = request(address, token, "PUT", path, manifest.raw, Content_Type=manifest.media_type)
        assert status == 201


def events(folder: Path, digest: str) -> list[dict[str, Any]]:
    """The events about a digest that the sample function received."""
    bodies = [json.loads(note["body"]) for note in sample.notes(folder) if "body" in note]
    return [body for body in bodies if body.get("detail", {}).get("image-digest") == digest]


def test_a_push_reaches_the_function_from_every_registry(cloud: Cloud, folder: Path, token: str) -> None:
    for n, (place, address) in enumerate(zip(cloud.places, cloud.registries.values(), strict=True)):
        built = builders.image(f"everywhere-{n}")
        push(address, token, built, f"v{n}")
        assert cloud.settle(30) == {}
        (event,) = events(folder, built.digest)
        assert (event["account"], event["region"]) == (place.registry.account, place.registry.region)
        assert event["detail"]["image-tag"] == f"v{n}"


def test_cloudtrail_has_the_caller_of_a_push(cloud: Cloud, token: str) -> None:
    built = builders.image("trailed")
    push(cloud.registries["TALLYMAN_REGISTRY_DEV_1"], token, built, "trailed")
    trail = sample.client(cloud, "cloudtrail")
    found = trail.lookup_events(LookupAttributes=[{"AttributeKey": "EventName", "AttributeValue": "PutImage"}])
    record = json.loads(found["Events"][0]["CloudTrailEvent"])
    assert record["requestParameters"]["imageTag"] == "trailed"
    assert record["userIdentity"]["arn"] == "arn:aws:sts::111111111111:assumed-role/developer/local"
    named = trail.lookup_events(
        LookupAttributes=[{"AttributeKey": "ResourceName", "AttributeValue": NAME}], MaxResults=1
    )
    assert len(named["Events"]) == 1
    assert named["NextToken"]
    nothing = trail.lookup_events(LookupAttributes=[{"AttributeKey": "EventName", "AttributeValue": "DeleteBucket"}])
    assert nothing["Events"] == []


def test_settle_waits_for_events_delayed_by_chaos(cloud: Cloud, folder: Path, token: str) -> None:
    cloud.bus.set_chaos(Settings(delay=0.5))
    built = builders.image("delayed")
    push(cloud.registries["TALLYMAN_REGISTRY_DEV_1"], token, built, "delayed")
    assert cloud.left()["bus"] == 1
    assert cloud.settle(30) == {}
    assert len(events(folder, built.digest)) == 1


def test_a_lost_event_reaches_no_target_and_is_counted(cloud: Cloud, folder: Path, token: str) -> None:
    lost = cloud.bus.counts["lost"]
    cloud.bus.set_chaos(Settings(lose=1))
    built = builders.image("lost")
    push(cloud.registries["TALLYMAN_REGISTRY_DEV_1"], token, built, "lost")
    assert cloud.settle(30) == {}
    assert events(folder, built.digest) == []
    assert cloud.bus.counts["lost"] == lost + 1


def test_a_scan_is_completed_by_tag_with_the_given_findings(cloud: Cloud, token: str) -> None:
    built = builders.image("scanned")
    push(cloud.registries["TALLYMAN_REGISTRY_DEV_1"], token, built, "scanned")
    body = {
        "image": f"dev/{NAME}:scanned",
        "counts": {"critical": 2},
        "findings": [{"name": "CVE-1", "severity": "LOW"}],
    }
    status, answer = control(cloud, "scan", body)
    assert (status, answer["digest"], answer["findings"]) == (200, built.digest, 3)
    found = sample.client(cloud, "ecr").describe_image_scan_findings(
        repositoryName=NAME, imageId={"imageDigest": built.digest}
    )
    assert found["imageScanFindings"]["findingSeverityCounts"] == {"CRITICAL": 2, "LOW": 1}
    status, _ = control(cloud, "scan", {"image": f"111111111111.dkr.ecr.us-east-2.amazonaws.com/{NAME}@{built.digest}"})
    assert status == 200


def test_a_scan_of_an_index_is_refused_as_by_ecr(cloud: Cloud, token: str) -> None:
    both = builders.multi_arch("both")
    push(cloud.registries["TALLYMAN_REGISTRY_PROD_EU_2"], token, both, "both")
    status, answer = control(cloud, "scan", {"image": f"prod-eu[2]/{NAME}:both"})
    assert (status, answer["code"]) == (409, "UnsupportedImageTypeException")
    children = [digest for digest in both.manifests if digest != both.digest]
    assert f"Scan its platform images: linux/amd64 {children[0]}, linux/arm64 {children[1]}" in answer["error"]
    child = children[0]
    assert control(cloud, "scan", {"image": f"prod-eu[2]/{NAME}@{child}"})[0] == 200


def test_images_that_cannot_be_scanned_have_a_reason(cloud: Cloud, token: str) -> None:
    push(cloud.registries["TALLYMAN_REGISTRY_DEV_1"], token, builders.image("there"), "there")
    assert control(cloud, "scan", {"image": f"dev/{NAME}:nothing"})[0] == 409
    status, answer = control(cloud, "scan", {"image": f"dev[9]/{NAME}:v0"})
    assert (status, answer["error"]) == (409, f"dev[9]/{NAME}:v0: dev has no registry [9]")
    assert control(cloud, "scan", {"image": f"dev/{NAME}:there", "counts": {"terrible": 1}})[0] == 422
    assert control(cloud, "scan", {"image": "dev"})[0] == 422


def test_a_damaged_layer_no_longer_matches_its_digest(cloud: Cloud, token: str) -> None:
    built = builders.image("damaged")
    address = cloud.registries["TALLYMAN_REGISTRY_DEV_1"]
    push(address, token, built, "damaged")
    digest = next(iter(built.blobs))
    body = {"registry": "111111111111/us-east-2", "repository": NAME, "digest": digest}
    assert control(cloud, "damage", body) == (200, {"damaged": digest})


def control(cloud: Cloud, path: str, body: dict[str, Any]) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", int(cloud.url.rpartition(":")[2]))
    try:
        headers = {"Content-Type": "application/json"}
        connection.request("POST", f"/_tallyman/{path}", json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()

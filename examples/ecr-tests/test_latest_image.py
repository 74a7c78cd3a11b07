"""A test of code that talks to ECR: no account, no Docker, no mock of what ECR would have answered."""

import hashlib
import json

import pytest
from latest_image import latest_safe_image

from tallyman_local.ecr.registries import Registries

NAME = "team/app"
IMAGE = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"


def push(ecr: Registries, tag: str) -> str:
    """An image without layers, by ECR's own API (`docker push localhost:PORT/team/app:v1` works just as well)."""
    client, config = ecr.client(), json.dumps({"os": "linux", "architecture": "amd64", "tag": tag}).encode()
    digest = "sha256:" + hashlib.sha256(config).hexdigest()
    upload = client.initiate_layer_upload(repositoryName=NAME)["uploadId"]
    part = {"partFirstByte": 0, "partLastByte": len(config) - 1, "layerPartBlob": config}
    client.upload_layer_part(repositoryName=NAME, uploadId=upload, **part)
    client.complete_layer_upload(repositoryName=NAME, uploadId=upload, layerDigests=[digest])
    described = {"mediaType": CONFIG, "digest": digest, "size": len(config)}
    manifest = json.dumps({"schemaVersion": 2, "mediaType": IMAGE, "config": described, "layers": []})
    image = client.put_image(repositoryName=NAME, imageManifest=manifest, imageTag=tag)["image"]
    return str(image["imageId"]["imageDigest"])


@pytest.fixture
def repository(local_ecr: Registries) -> Registries:
    scan = {"scanOnPush": True}
    local_ecr.client().create_repository(repositoryName=NAME, imageScanningConfiguration=scan)
    return local_ecr


def test_an_image_that_is_not_scanned_yet_is_not_safe(repository: Registries) -> None:
    push(repository, "v1")
    assert latest_safe_image(NAME) is None


def test_the_newest_image_without_a_critical_finding_is_chosen(repository: Registries) -> None:
    first, second = push(repository, "v1"), push(repository, "v2")
    repository.finish_scan(NAME, first, [{"name": "CVE-2026-1", "severity": "LOW"}])
    repository.finish_scan(NAME, second, [{"name": "CVE-2026-2", "severity": "CRITICAL"}])
    assert latest_safe_image(NAME) == first
    scans = [event["detail"]["image-tags"] for event in repository.events if event["detail-type"] == "ECR Image Scan"]
    assert scans == [["v1"], ["v2"]]

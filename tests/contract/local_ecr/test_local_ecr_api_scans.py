"""Scans of the local ECR: started by a push or a call, completed by a test or automatically."""

from typing import Any

import pytest

from support.images.builders import attestation, image, index, multi_arch, signature
from support.servers.ecr import DEV, NAME, Served
from support.servers.ecr_answers import refusal
from tallyman_local.ecr import EcrError


def scan_events(served: Served) -> list[dict[str, Any]]:
    return [event for event in served.events if event["detail-type"] == "ECR Image Scan"]


def test_a_scan_stays_pending_until_completed_and_can_be_completed_again(served: Served) -> None:
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
    assert not {"imageScanStatus", "imageScanFindingsSummary"} & detail.keys()  # as for native basic scanning

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


def test_a_scanner_in_clean_mode_completes_scans_automatically(served: Served) -> None:
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

"""Someone else's code: which image of a repository is the newest that has no critical finding?"""

import boto3


def latest_safe_image(repository: str) -> str | None:
    """The digest of the youngest tagged image whose scan is complete and without critical findings, or None."""
    ecr = boto3.client("ecr")
    pages = ecr.get_paginator("describe_images").paginate(repositoryName=repository, filter={"tagStatus": "TAGGED"})
    images = [image for page in pages for image in page["imageDetails"]]
    for image in sorted(images, key=lambda image: image["imagePushedAt"], reverse=True):
        if _is_safe(ecr, repository, image["imageDigest"]):
            return image["imageDigest"]
    return None


def _is_safe(ecr, repository: str, digest: str) -> bool:
    """From DescribeImageScanFindings: basic scanning fills neither status nor counts of DescribeImages."""
    try:
        answer = ecr.describe_image_scan_findings(repositoryName=repository, imageId={"imageDigest": digest})
    except ecr.exceptions.ScanNotFoundException:
        return False
    findings = answer.get("imageScanFindings", {})
    if answer["imageScanStatus"]["status"] != "COMPLETE" or "imageScanCompletedAt" not in findings:
        return False
    return not findings.get("findingSeverityCounts", {}).get("CRITICAL")

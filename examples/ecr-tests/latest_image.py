"""Someone else's code: which image of a repository is the newest that has no critical finding?"""

import boto3


def latest_safe_image(repository: str) -> str | None:
    """The digest of the youngest tagged image whose scan is complete and without critical findings, or None."""
    ecr = boto3.client("ecr")
    pages = ecr.get_paginator("describe_images").paginate(repositoryName=repository, filter={"tagStatus": "TAGGED"})
    safe = [
        image
        for page in pages
        for image in page["imageDetails"]
        if image.get("imageScanStatus", {}).get("status") == "COMPLETE"
        and not image.get("imageScanFindingsSummary", {}).get("findingSeverityCounts", {}).get("CRITICAL")
    ]
    return max(safe, key=lambda image: image["imagePushedAt"])["imageDigest"] if safe else None

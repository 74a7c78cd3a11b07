"""The JSON API: images, their lists, removal and scans."""

from typing import Any

from tallyman_local.ecr import errors
from tallyman_local.ecr.api.calls import PAGE, Answer, Call, bad_token, serves
from tallyman_local.ecr.model import moment
from tallyman_local.ecr.rules import conversion
from tallyman_local.ecr.rules.images import Failure
from tallyman_local.ecr.store.rows import ImageRow, RepositoryRow


def _id(found: dict[str, Any]) -> tuple[str | None, str | None]:
    return found.get("imageDigest"), found.get("imageTag")


@serves("PutImage", recorded=True)
def put_image(call: Call) -> Answer:
    given = call.parameters
    raw, tag = given["imageManifest"].encode(), given.get("imageTag")
    put = call.parts.images.put(call.name, raw, given.get("imageManifestMediaType"), tag, given.get("imageDigest"))
    image = call.of_repository(
        imageId={"imageDigest": put.image.digest, "imageTag": tag},
        imageManifest=given["imageManifest"],
        imageManifestMediaType=put.image.media_type,
    )
    return {"image": image}


@serves("BatchGetImage")
def batch_get_image(call: Call) -> Answer:
    row, images, failures = call.repository(), [], []
    accepted = conversion.acceptable(call.parameters.get("acceptedMediaTypes", []))
    for digest, tag in map(_id, call.parameters["imageIds"]):
        found = call.parts.images.resolve(row, digest, tag)
        if isinstance(found, Failure):
            failures.append(found.shape())
            continue
        if found.status == "ARCHIVED":  # can't be pulled: a 404 over `/v2/` (ECR's user guide)
            failures.append(Failure(digest, tag, "ImageNotFound", "Requested image not found").shape())
            continue
        raw = call.parts.images.pull(row, found, call.identity)
        answered = conversion.for_client(raw, found, accepted if digest is None else frozenset())
        image = call.of_repository(
            imageId={"imageDigest": answered.digest, "imageTag": tag},
            imageManifest=answered.raw.decode(),
            imageManifestMediaType=answered.media_type,
        )
        images.append(image)
    return {"images": images, "failures": failures}


@serves("BatchDeleteImage", recorded=True)
def batch_delete_image(call: Call) -> Answer:
    call.repository()
    removed: list[dict[str, Any]] = []
    failures: list[dict[str, Any]] = []
    for digest, tag in map(_id, call.parameters["imageIds"]):
        found = call.parts.images.delete(call.name, digest, tag)
        if isinstance(found, Failure):
            failures.append(found.shape())
        else:
            removed += [{"imageDigest": gone, "imageTag": name} for gone, name in found]
    return {"imageIds": removed, "failures": failures}


def _listed(call: Call, row: RepositoryRow) -> list[tuple[ImageRow, list[str]]]:
    """The images that the next page may hold, and one more, from the last image of the page before."""
    after = call.after()
    first = after[0] if isinstance(after, tuple) and after else after or 0
    if not isinstance(first, int) or not 0 <= first < 1 << 63:
        raise bad_token()
    wanted = call.parameters.get("filter", {})
    status, tag_status = wanted.get("imageStatus", "ACTIVE"), wanted.get("tagStatus", "ANY")
    limit = (call.parameters.get("maxResults") or PAGE) + 2
    return call.store.tagged_images(row.id, first, limit, status, tag_status)


def _detail(call: Call, image: ImageRow, tags: list[str]) -> Answer:
    """An item of DescribeImages, without `imageScanStatus` and `imageScanFindingsSummary`: native basic scanning, the
    only one since February 2026, does not fill them. DescribeImageScanFindings returns both."""
    return call.of_repository(
        imageDigest=image.digest,
        imageTags=tags or None,
        imageSizeInBytes=image.size,
        imagePushedAt=moment(image.pushed),
        imageManifestMediaType=image.media_type,
        artifactMediaType=image.artifact_type,
        lastArchivedAt=image.archived and moment(image.archived),
        lastActivatedAt=image.activated and moment(image.activated),
        lastRecordedPullTime=image.pulled and moment(image.pulled),
        subjectManifestDigest=image.subject,
        imageStatus=image.status,
    )


@serves("DescribeImages")
def describe_images(call: Call) -> Answer:
    row, token = call.repository(), None
    if ids := call.parameters.get("imageIds"):
        found = {(image := call.parts.images.find(row, *_id(i))).digest: image for i in ids}
        chosen = [(image, call.store.tags_of(row.id, digest)) for digest, image in found.items()]
    else:
        chosen, token = call.page(_listed(call, row), lambda pair: pair[0].id)
    return {"imageDetails": [_detail(call, image, tags) for image, tags in chosen], "nextToken": token}


@serves("ListImages")
def list_images(call: Call) -> Answer:
    row = call.repository()
    ids = [(image, tag) for image, tags in _listed(call, row) for tag in tags or [""]]
    page, token = call.page(ids, lambda found: (found[0].id, found[1]))
    listed = [{"imageDigest": image.digest, "imageTag": tag or None} for image, tag in page]
    return {"imageIds": listed, "nextToken": token}


@serves("ListImageReferrers")
def list_image_referrers(call: Call) -> Answer:
    row, wanted = call.repository(), call.parameters.get("filter", {})
    subject = call.parameters["subjectId"]["imageDigest"]
    status = wanted.get("artifactStatus", "ACTIVE")
    found = call.parts.images.referrers(row, subject, wanted.get("artifactTypes", []), status)
    page, token = call.page(found, lambda descriptor: str(descriptor["digest"]), default=50)
    referrers = [{"artifactStatus": d["status"], **{k: v for k, v in d.items() if k != "status"}} for d in page]
    return {"referrers": referrers, "nextToken": token}


@serves("UpdateImageStorageClass", recorded=True)
def update_image_storage_class(call: Call) -> Answer:
    row, image, image_id = call.image()
    image = call.parts.images.archive(row, image, call.parameters["targetStorageClass"])
    return call.of_repository(imageId=image_id, imageStatus=image.status)


# -- scans


@serves("StartImageScan", recorded=True)
def start_image_scan(call: Call) -> Answer:
    row, image, image_id = call.image()
    call.parts.scanner.begin(row, image)
    return call.of_repository(imageId=image_id, imageScanStatus={"status": "IN_PROGRESS"})


@serves("DescribeImageScanFindings")
def describe_image_scan_findings(call: Call) -> Answer:
    row, image, image_id = call.image()
    scan = call.parts.scanner.scan(row.id, image.digest)
    if scan is None:
        raise errors.scan_not_found(row.name, *_id(call.parameters["imageId"]))
    answer = call.of_repository(
        imageId=image_id,
        imageScanStatus={"status": scan.status, "description": scan.description},
    )
    if scan.completed is None:
        return answer
    page, token = call.page(list(enumerate(scan.findings)), lambda pair: pair[0])
    findings = {
        "imageScanCompletedAt": moment(scan.completed),
        "vulnerabilitySourceUpdatedAt": moment(scan.completed),
        "findingSeverityCounts": scan.counts,
        "findings": [finding for _, finding in page],
    }
    return {**answer, "imageScanFindings": findings, "nextToken": token}

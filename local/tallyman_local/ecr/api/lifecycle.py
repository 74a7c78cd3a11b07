"""The JSON API: previews of lifecycle policies, evaluated as `tallyman retention native` does."""

import json
from typing import Any

from tallyman.domain.retention.lifecycle import LifecycleImage, Marked, evaluate, parse_lifecycle_policy
from tallyman_local.ecr import errors
from tallyman_local.ecr.api.calls import Answer, Call, serves
from tallyman_local.ecr.api.repositories import check_lifecycle
from tallyman_local.ecr.model import moment
from tallyman_local.ecr.store.rows import ImageRow, RepositoryRow


@serves("StartLifecyclePolicyPreview")
def start_lifecycle_policy_preview(call: Call) -> Answer:
    """Evaluate all images at once; a preview replaces the one before."""
    row = call.repository()
    text = call.parameters.get("lifecyclePolicyText") or row.lifecycle
    if text is None:
        raise errors.document_not_found("Lifecycle policy", call.name)
    check_lifecycle(text)
    with call.store.db.transaction():
        results = _evaluated(call, row, text)
        sql = "INSERT OR REPLACE INTO previews (repository, text, results) VALUES (?, ?, ?)"
        call.store.db.run(sql, row.id, text, json.dumps(results))
    return call.of_repository(lifecyclePolicyText=text, status="IN_PROGRESS")


@serves("GetLifecyclePolicyPreview")
def get_lifecycle_policy_preview(call: Call) -> Answer:
    """A page of the images that the policy would remove or archive, in the order of its rules; the summary counts
    all."""
    row = call.repository()
    kept = call.store.db.row("SELECT text, results FROM previews WHERE repository = ?", row.id)
    if kept is None:
        raise errors.document_not_found("Lifecycle policy preview", call.name)
    results = list(enumerate(json.loads(kept["results"])))
    page, token = call.page([pair for pair in results if _wanted(call, pair[1])], lambda pair: pair[0])
    archived = sum(result["action"]["type"] == "TRANSITION" for _, result in results)
    return call.of_repository(
        lifecyclePolicyText=kept["text"],
        status="COMPLETE",
        nextToken=token,
        previewResults=[{**result, "imagePushedAt": moment(result["imagePushedAt"])} for _, result in page],
        summary={
            "expiringImageTotalCount": len(results) - archived,
            "transitioningImageTotalCounts": [{"targetStorageClass": "ARCHIVE", "imageTotalCount": archived}]
            if archived
            else None,
        },
    )


def _evaluated(call: Call, row: RepositoryRow, text: str) -> list[dict[str, Any]]:
    """The API's item for each image that the policy marks, with `imagePushedAt` in seconds since the epoch."""
    every = {str(image.digest): (image, tags) for image, tags in call.store.tagged_images(row.id)}
    images = [_seen(call, row, image, tags) for image, tags in every.values()]
    marked = evaluate(parse_lifecycle_policy(text), images, moment(call.now))
    return [_shape(found, *every[found.digest]) for found in marked]


def _seen(call: Call, row: RepositoryRow, image: ImageRow, tags: list[str]) -> LifecycleImage:
    return LifecycleImage(
        digest=image.digest,
        tags=tuple(tags),
        pushed_at=moment(image.pushed),
        pulled_at=None if image.pulled is None else moment(image.pulled),
        archived=image.status == "ARCHIVED",
        transitioned_at=None if image.archived is None else moment(image.archived),
        activated_at=None if image.activated is None else moment(image.activated),
        listed_by=tuple(call.store.parents(row.id, image.digest)),
    )


def _shape(found: Marked, image: ImageRow, tags: list[str]) -> dict[str, Any]:
    moves = found.action == "transition"
    return {
        "imageDigest": image.digest,
        "imageTags": tags,
        "imagePushedAt": image.pushed,
        "action": {"type": "TRANSITION", "targetStorageClass": "ARCHIVE"} if moves else {"type": "EXPIRE"},
        "appliedRulePriority": found.priority,
        "storageClass": "ARCHIVE" if image.status == "ARCHIVED" else "STANDARD",
    }


def _wanted(call: Call, result: dict[str, Any]) -> bool:
    """Whether the image is one of `imageIds` and has the tag status of the filter."""
    ids, status = call.parameters.get("imageIds"), call.parameters.get("filter", {}).get("tagStatus", "ANY")
    if status != "ANY" and (status == "TAGGED") is not bool(result["imageTags"]):
        return False
    if not ids:
        return True
    return any(
        i.get("imageDigest") in (None, result["imageDigest"])
        and ("imageTag" not in i or i["imageTag"] in result["imageTags"])
        for i in ids
    )

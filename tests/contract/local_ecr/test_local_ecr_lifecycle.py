"""The local ECR's lifecycle policy preview, through boto3: its waiter, paginator and errors."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from support.images.builders import image, multi_arch
from support.servers.ecr import DEV, NAME, Served
from tallyman.domain.names import Repository
from tallyman.domain.retention.lifecycle import LifecycleImage, evaluate, parse_lifecycle_policy


def document(*rules: dict[str, Any]) -> str:
    """A lifecycle policy; each rule states its differences from "expire untagged images, keep one"."""
    made = []
    for number, rule in enumerate(rules, 1):
        selection = {"tagStatus": "untagged", "countType": "imageCountMoreThan", "countNumber": 1, **rule}
        action = selection.pop("action", {"type": "expire"})
        made.append({"rulePriority": number, "selection": selection, "action": action})
    return json.dumps({"rules": made})


VERSIONS = {"tagStatus": "tagged", "tagPrefixList": ["v"], "countNumber": 2}
ARCHIVE = {"type": "transition", "targetStorageClass": "archive"}
OLD = {"tagStatus": "any", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 30}


def versions(served: Served, number: int) -> list[str]:
    """v0, v1, …, a day apart."""
    found = []
    for n in range(number):
        served.push(image(f"v{n}"), f"v{n}")
        served.clock.move(days=1)
        found.append(str(image(f"v{n}").digest))
    return found


def preview(client: Any, text: str | None = None, **asked: Any) -> dict[str, Any]:
    """Start a preview, wait for it by boto3's waiter, and return it."""
    given = {} if text is None else {"lifecyclePolicyText": text}
    assert client.start_lifecycle_policy_preview(repositoryName=NAME, **given)["status"] == "IN_PROGRESS"
    client.get_waiter("lifecycle_policy_preview_complete").wait(repositoryName=NAME)
    found: dict[str, Any] = client.get_lifecycle_policy_preview(repositoryName=NAME, **asked)
    return found


def code(call: Any, **parameters: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(repositoryName=NAME, **parameters)
    return str(caught.value.response["Error"]["Code"])


def test_a_preview_lists_images_that_would_expire_and_their_rule(served: Served, client: Any) -> None:
    first, second, *_ = versions(served, 4)
    found = preview(client, document(VERSIONS))
    assert (found["status"], found["summary"]) == ("COMPLETE", {"expiringImageTotalCount": 2})
    assert [(r["imageDigest"], r["imageTags"], r["appliedRulePriority"]) for r in found["previewResults"]] == [
        (first, ["v0"], 1),
        (second, ["v1"], 1),
    ]
    result = found["previewResults"][0]
    assert (result["action"], result["storageClass"]) == ({"type": "EXPIRE"}, "STANDARD")
    assert result["imagePushedAt"] < found["previewResults"][1]["imagePushedAt"]
    assert len(client.describe_images(repositoryName=NAME)["imageDetails"]) == 4  # nothing was deleted


def test_a_transition_is_counted_apart(served: Served, client: Any) -> None:
    versions(served, 3)
    found = preview(client, document({**VERSIONS, "action": ARCHIVE}))
    assert found["summary"] == {
        "expiringImageTotalCount": 0,
        "transitioningImageTotalCounts": [{"targetStorageClass": "ARCHIVE", "imageTotalCount": 1}],
    }
    (result,) = found["previewResults"]
    assert result["action"] == {"type": "TRANSITION", "targetStorageClass": "ARCHIVE"}


def test_archived_images_match_rules_of_that_storage_class(served: Served, client: Any) -> None:
    first, *_ = versions(served, 2)
    client.update_image_storage_class(repositoryName=NAME, imageId={"imageDigest": first}, targetStorageClass="ARCHIVE")
    served.clock.move(days=40)
    rule = {**OLD, "storageClass": "archive", "countType": "sinceImageTransitioned"}
    (result,) = preview(client, document(rule))["previewResults"]
    assert (result["imageDigest"], result["storageClass"]) == (first, "ARCHIVE")


def test_a_preview_agrees_with_our_own_evaluator(served: Served, client: Any) -> None:
    served.push(multi_arch("app", attested=True), "v0")
    versions(served, 3)
    served.push(image("loose"))
    served.clock.move(days=40)
    text = document(VERSIONS, {"countNumber": 1}, {**OLD})
    rows = client.describe_images(repositoryName=NAME)["imageDetails"]
    listed: dict[str, list[str]] = {}
    store = served.ecr.store
    for digest in [row["imageDigest"] for row in rows]:
        for child in store.children(store.get(Repository(DEV, NAME)).id, digest):
            listed.setdefault(child, []).append(digest)
    images = [
        LifecycleImage(
            digest=row["imageDigest"],
            tags=tuple(row.get("imageTags", ())),
            pushed_at=row["imagePushedAt"],
            listed_by=tuple(listed.get(row["imageDigest"], ())),
        )
        for row in rows
    ]
    expected = [(m.digest, m.priority) for m in evaluate(parse_lifecycle_policy(text), images, served.clock())]
    found = preview(client, text)["previewResults"]
    assert len(expected) > 2
    assert [(r["imageDigest"], r["appliedRulePriority"]) for r in found] == expected


def test_the_repositorys_own_policy_is_the_default(served: Served, client: Any) -> None:
    versions(served, 3)
    assert code(client.start_lifecycle_policy_preview) == "LifecyclePolicyNotFoundException"
    client.put_lifecycle_policy(repositoryName=NAME, lifecyclePolicyText=document(VERSIONS))
    found = preview(client)
    assert (len(found["previewResults"]), found["lifecyclePolicyText"]) == (1, document(VERSIONS))


def test_results_are_paged(served: Served, client: Any) -> None:
    digests = versions(served, 7)
    preview(client, document({**VERSIONS, "countNumber": 1}))
    pages = client.get_paginator("get_lifecycle_policy_preview").paginate(
        repositoryName=NAME, PaginationConfig={"PageSize": 2}
    )
    read = [[r["imageDigest"] for r in page["previewResults"]] for page in pages]
    assert [len(page) for page in read] == [2, 2, 2]
    assert [digest for page in read for digest in page] == digests[:6]


def test_results_are_filtered_by_tag_status_and_by_image(served: Served, client: Any) -> None:
    first, second, *_ = versions(served, 2)
    for name in ("loose", "looser"):
        served.push(image(name))
    served.clock.move(days=40)
    text = document(OLD)
    assert len(preview(client, text)["previewResults"]) == 4
    tagged = client.get_lifecycle_policy_preview(repositoryName=NAME, filter={"tagStatus": "TAGGED"})
    assert {r["imageDigest"] for r in tagged["previewResults"]} == {first, second}
    loose = client.get_lifecycle_policy_preview(repositoryName=NAME, filter={"tagStatus": "UNTAGGED"})
    assert [r.get("imageTags", []) for r in loose["previewResults"]] == [[], []]
    ids = [{"imageDigest": first}, {"imageTag": "v1"}]
    named = client.get_lifecycle_policy_preview(repositoryName=NAME, imageIds=ids)
    assert {r["imageDigest"] for r in named["previewResults"]} == {first, second}
    assert named["summary"]["expiringImageTotalCount"] == 4


def test_a_preview_that_was_not_started_and_a_missing_repository_are_errors(served: Served, client: Any) -> None:
    assert code(client.get_lifecycle_policy_preview) == "LifecyclePolicyPreviewNotFoundException"
    client.delete_repository(repositoryName=NAME)
    assert code(client.get_lifecycle_policy_preview) == "RepositoryNotFoundException"


def test_a_preview_is_deleted_with_its_repository(served: Served, client: Any) -> None:
    preview(client, document(VERSIONS))
    client.delete_repository(repositoryName=NAME)
    served.create()
    assert code(client.get_lifecycle_policy_preview) == "LifecyclePolicyPreviewNotFoundException"


@pytest.mark.parametrize(
    "rules",
    [
        (VERSIONS, VERSIONS),
        ({"countNumber": 0},),
        ({"tagStatus": "tagged"},),
        ({"tagStatus": "some"},),
        ({"countType": "sinceImagePushed"},),
    ],
)
def test_a_policy_that_ecr_refuses_is_neither_put_nor_previewed(
    served: Served, client: Any, rules: tuple[dict[str, Any], ...]
) -> None:
    text = document(*rules)
    assert code(client.start_lifecycle_policy_preview, lifecyclePolicyText=text) == "InvalidParameterException"
    assert code(client.put_lifecycle_policy, lifecyclePolicyText=text) == "InvalidParameterException"
    assert code(client.get_lifecycle_policy) == "LifecyclePolicyNotFoundException"

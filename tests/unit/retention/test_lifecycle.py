"""AWS's documented lifecycle examples with their outcomes (ECR user guide, "Examples of lifecycle policies")."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tallyman.domain.retention.lifecycle import BadLifecyclePolicy, LifecycleImage, evaluate, parse_lifecycle_policy

NOW = datetime(2026, 11, 16, tzinfo=UTC)


def image(name: str, *tags: str, days: float, **more: Any) -> LifecycleImage:
    return LifecycleImage(name, tags, NOW - timedelta(days=days), **more)


def rule(priority: int, status: str = "tagged", **selection: Any) -> dict[str, Any]:
    action = selection.pop("action", {"type": "expire"})
    if selection.get("countType") != "imageCountMoreThan":
        selection.setdefault("countUnit", "days")
    return {"rulePriority": priority, "selection": {"tagStatus": status, **selection}, "action": action}


def count(priority: int, number: int, *prefixes: str, status: str = "tagged", **more: Any) -> dict[str, Any]:
    tags = {"tagPrefixList": list(prefixes)} if prefixes else {}
    return rule(priority, status, countType="imageCountMoreThan", countNumber=number, **tags, **more)


def age(priority: int, days: int, *prefixes: str, status: str = "tagged", **more: Any) -> dict[str, Any]:
    tags = {"tagPrefixList": list(prefixes)} if prefixes else {}
    return rule(priority, status, countType="sinceImagePushed", countNumber=days, **tags, **more)


def expired(images: list[LifecycleImage], *rules: dict[str, Any]) -> set[str]:
    return {marked.digest for marked in evaluate(parse_lifecycle_policy({"rules": list(rules)}), images, NOW)}


SHARED = [
    image("A", "beta-1", "prod-1", days=10),
    image("B", "beta-2", "prod-2", days=9),
    image("C", "beta-3", days=8),
]
PAIRS = [
    image("A", "alpha-1", days=12),
    image("B", "beta-1", days=11),
    image("C", "alpha-2", "beta-2", days=10),
    image("D", "alpha-3", days=4 / 24),
    image("E", "beta-3", days=3 / 24),
    image("F", "alpha-4", "beta-4", days=2 / 24),
]
MIXED = [image("A", "alpha-1", days=4), image("B", "beta-1", days=3), image("C", days=2), image("D", "alpha-2", days=1)]


def test_untagged_images_older_than_fourteen_days_expire() -> None:
    images = [image("old", days=15), image("new", days=13), image("tagged", "v1", days=100)]
    assert expired(images, age(1, 14, status="untagged")) == {"old"}


def test_only_one_untagged_image_is_kept() -> None:
    images = [image("a", days=3), image("b", days=2), image("c", days=1), image("tagged", "v1", days=9)]
    assert expired(images, count(1, 1, status="untagged")) == {"a", "b"}


def test_an_image_matched_by_a_rule_is_not_expired_by_later_rules() -> None:
    assert expired(SHARED, count(1, 1, "prod"), count(2, 1, "beta")) == {"A"}


def test_the_other_order_of_the_same_rules_expires_two() -> None:
    assert expired(SHARED, count(1, 1, "beta"), count(2, 1, "prod")) == {"A", "B"}


def test_all_prefixes_of_a_rule_must_match_by_age_and_by_count() -> None:
    assert expired(PAIRS, age(1, 5, "alpha", "beta")) == {"C"}
    assert expired(PAIRS, count(1, 1, "alpha", "beta")) == {"C"}


def test_a_rule_for_all_images_keeps_the_newest() -> None:
    assert expired(MIXED, count(1, 1, status="any")) == {"A", "B", "C"}


def test_a_rule_for_all_images_skips_images_matched_by_an_earlier_rule() -> None:
    assert expired(MIXED, count(1, 1, "alpha"), count(2, 1, status="any")) == {"A", "B", "C"}
    assert expired(MIXED, count(1, 2, "alpha"), count(2, 1, status="any")) == {"B", "C"}


def test_patterns_have_wildcards_anywhere() -> None:
    images = [image("a", "prod-1-eu", days=9), image("b", "prod-1-us", days=9), image("c", "eu-prod", days=9)]
    only = rule(1, countType="sinceImagePushed", countNumber=5, tagPatternList=["prod*-eu"])
    assert expired(images, only) == {"a"}


def test_a_child_stays_until_its_index_is_removed() -> None:
    child = image("child", days=30, listed_by=("index",))
    assert expired([child, image("index", "v1", days=30)], age(1, 14, status="untagged")) == set()
    both = [child, image("index", "v1", days=30)]
    assert expired(both, age(1, 14, status="untagged"), age(2, 14, "v")) == {"child", "index"}


def test_archiving_uses_the_last_pull_or_else_the_push() -> None:
    images = [
        image("pulled", "v1", days=90, pulled_at=NOW - timedelta(days=1)),
        image("idle", "v2", days=90, pulled_at=NOW - timedelta(days=60)),
        image("never", "v3", days=90),
    ]
    archive = {"type": "transition", "targetStorageClass": "archive"}
    pulled = rule(1, "any", countType="sinceImagePulled", countNumber=30, action=archive)
    marked = evaluate(parse_lifecycle_policy({"rules": [pulled]}), images, NOW)
    assert {(m.digest, m.action) for m in marked} == {("idle", "transition"), ("never", "transition")}


def test_a_rule_matches_only_its_own_storage_class() -> None:
    stored = image("stored", days=400, archived=True, transitioned_at=NOW - timedelta(days=100))
    fresh = image("fresh", days=400, archived=True, transitioned_at=NOW - timedelta(days=10))
    rules = [
        rule(1, "any", countType="sinceImageTransitioned", countNumber=90, storageClass="archive"),
        age(2, 14, status="any"),
    ]
    assert expired([stored, fresh, image("standard", days=20)], *rules) == {"stored", "standard"}


def test_a_restored_image_counts_from_its_restoration() -> None:
    back = image("back", days=400, activated_at=NOW - timedelta(days=2))
    assert expired([back], age(1, 14, status="untagged")) == set()


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        ([], "at least one rule"),
        ([count(1, 1, "a"), count(1, 1, "b")], "rulePriority of its own"),
        ([count(1, 1, status="any"), count(2, 1, "a")], "highest rulePriority"),
        ([count(1, 1, status="untagged"), age(2, 1, status="untagged")], "only one rule"),
        ([count(1, 1, "a"), age(2, 1, "a")], "same tags"),
        ([count(1, 1)], "needs either"),
        ([count(1, 1, "a", status="untagged")], "need tagStatus"),
        ([count(1, 0, "a")], "at least 1"),
        ([rule(1, "any", countType="sinceImagePulled", countNumber=1)], "can only archive"),
        ([rule(1, countType="sinceImagePushed", countNumber=1, tagPatternList=["*1*2*3*4*"])], "wildcards"),
        ([count(n, 1, f"a{n}") for n in range(1, 52)], "at most 50"),
    ],
)
def test_documents_that_ecr_refuses_are_refused_with_the_reason(rules: list[Any], why: str) -> None:
    with pytest.raises(BadLifecyclePolicy, match=why):
        parse_lifecycle_policy({"rules": rules})


def test_a_number_of_days_beyond_all_dates_expires_nothing() -> None:
    assert expired([image("old", "v1", days=4000)], age(1, 10**15, status="any")) == set()


def test_a_too_deeply_nested_document_is_refused() -> None:
    with pytest.raises(BadLifecyclePolicy, match="nested too deep"):
        parse_lifecycle_policy("[" * 30_000)

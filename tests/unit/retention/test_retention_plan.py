"""Retention plans, checked by hand: rules, protections, and incidents of other tools that must not happen here."""

import time
from datetime import timedelta

import pytest

from support.images.builders import DEV, PROD, digest_of
from support.images.inventories import NOW, Case, Img, goes, inventory, reading, retention_policy, use
from tallyman.domain.names import EcrRegistry
from tallyman.domain.policy import Expression, PolicyProblem
from tallyman.domain.policy.expressions import BadExpression
from tallyman.domain.retention import RetentionInputs, plan_retention
from tallyman.domain.retention.inputs import Release
from tallyman.domain.times import format_time
from tallyman.domain.usage import Use

ALL = "{keep: [], grace: 0s, at_most: 100%, untagged: {remove_after: 0s}}"
INDEX = (Img("top", ("v1",), lists=("amd", "arm")), Img("amd"), Img("arm"))


def keep(rules: str) -> str:
    return f"{{keep: [{rules}], grace: 0s, at_most: 100%}}"


def test_untagged_children_of_a_kept_index_stay() -> None:
    """Azure acr-cli #131 and #342: deleting what is untagged broke all images."""
    assert goes("{keep: [{tag: v1}], grace: 0s, untagged: {remove_after: 0s}}", *INDEX) == set()


def test_nested_children_of_a_kept_index_stay() -> None:
    """Azure acr #666."""
    nested = [Img("outer", ("v1",), lists=("inner",)), Img("inner", lists=("leaf",)), Img("leaf")]
    assert goes("{keep: [{tag: v1}], grace: 0s, untagged: {remove_after: 0s}}", *nested) == set()


def test_a_shared_child_stays_while_either_index_stays_and_keeps_no_other_index() -> None:
    images = [Img("a", ("v1",), lists=("both",)), Img("b", ("v2",), lists=("both", "own")), Img("both"), Img("own")]
    assert goes(keep("{tag: v1}"), *images) == {"b", "own"}


def test_a_digest_with_two_tags_stays_if_one_tag_is_kept() -> None:
    assert goes(keep('{tag: "stable-*"}'), Img("a", ("v1", "stable-1")), Img("b", ("v2",))) == {"b"}


def test_a_referrer_is_removed_or_kept_with_its_subject() -> None:
    signed = [Img("a", ("v1",)), Img("sig-a", subject="a"), Img("b", ("v2",)), Img("sig-b", subject="b")]
    assert goes(keep("{tag: v1}"), *signed) == {"b", "sig-b"}


def test_a_signature_under_a_cosign_tag_is_removed_with_its_subject() -> None:
    tag = "sha256-" + digest_of("a")[7:] + ".sig"
    images = [Img("a", ("v1",)), Img("sig", (tag,))]
    assert goes(keep("{tag: v1}"), *images) == set()
    assert goes(keep("{tag: v9}"), *images) == {"a", "sig"}


def test_the_age_of_an_image_counts_from_its_last_tag() -> None:
    """containers-roadmap #2746: imagePushedAt does not move when a tag is added."""
    known = RetentionInputs(moved={digest_of("a"): NOW - timedelta(days=1)})
    images = [Img("a", ("v1",), age=400), Img("b", ("v2",), age=400)]
    assert goes("{keep: [], grace: 7d, at_most: 100%}", *images, known=known) == {"b"}
    assert goes(keep("{newer_than: 30d, counted_from: tag_move}"), *images, known=known) == {"b"}
    assert goes(keep("{newer_than: 30d}"), *images, known=known) == {"a", "b"}


def test_a_task_by_a_moved_tag_keeps_its_started_image_and_the_tags_current_one() -> None:
    task = use(tag="latest", days=10)
    known = RetentionInputs(started={("latest", task.since or NOW): digest_of("old")})
    images = [Img("old"), Img("new", ("latest",)), Img("other")]
    assert goes(ALL, *images, usage=[reading(task)], known=known) == {"other"}


def test_a_task_whose_tag_has_no_record_makes_the_plan_refuse() -> None:
    case = Case(retention_policy(ALL), [Img("a"), Img("b", ("latest",))], [reading(use(tag="latest", days=10))])
    plan = case.plan()
    assert plan.removed == []
    assert "started at" in plan.refused[0]


def test_a_platform_digest_in_use_keeps_its_index_and_its_siblings() -> None:
    assert goes(ALL, *INDEX, Img("rest"), usage=[reading(use(name="arm"))]) == {"rest"}


def test_a_digest_that_runs_from_another_registry_stays_too() -> None:
    task = Use("ecs task", "t", PROD.at(digest_of("a")), PROD.registry, PROD, None, digest_of("a"))
    assert goes(ALL, Img("a"), Img("b"), usage=[reading(task)]) == {"b"}


def test_an_image_address_outside_ecr_counts_by_its_repository_name() -> None:
    local = Use("ecs service", "s", f"localhost:5101/{DEV.name}:v1", DEV.registry)
    elsewhere = Use("ecs service", "s", "docker.io/library/nginx:v2", DEV.registry)
    assert goes(ALL, Img("a", ("v1",)), Img("b", ("v2",)), usage=[reading(local, elsewhere)]) == {"b"}


def test_an_irrelevant_source_may_be_unreadable() -> None:
    far = reading(error="throttled", where=EcrRegistry("222222222222", "sa-east-1"), regional=True)
    assert goes(ALL, Img("a"), usage=[far]) == {"a"}
    assert goes(ALL, Img("a"), usage=[reading(error="throttled", regional=True)]) == set()


def ended(days: float) -> RetentionInputs:
    """A release of `a` that ended so many days ago."""
    release = Release("prod", NOW - timedelta(days=300), NOW - timedelta(days=days))
    return RetentionInputs(releases={digest_of("a"): (release,)})


@pytest.mark.parametrize(
    ("known", "stays"),
    [
        (RetentionInputs(releases={digest_of("a"): (Release("prod", NOW - timedelta(days=300)),)}), True),
        (ended(29), True),
        (ended(31), False),
        (RetentionInputs(waiting={digest_of("a"): "waits for prod"}), True),
        (RetentionInputs(elsewhere={digest_of("a"): "sa-east-1 has it"}), True),
        (RetentionInputs(frozen=("dev is frozen",)), True),
    ],
)  # fmt: skip
def test_released_pending_promoted_and_frozen_images_stay(known: RetentionInputs, stays: bool) -> None:
    assert goes(ALL, Img("a", ("v1",)), known=known) == (set() if stays else {"a"})


def test_after_a_roll_back_the_reason_to_keep_is_the_current_release() -> None:
    """One reason for each environment: that it runs the image, or else when it last did."""
    first = Release("prod", NOW - timedelta(days=9), NOW - timedelta(days=8))
    again = Release("prod", NOW - timedelta(days=2))
    stages = [Release("stage", NOW - timedelta(days=each + 1), NOW - timedelta(days=each)) for each in (7, 3, 5)]
    known = RetentionInputs(releases={digest_of("a"): (again, first, *stages)})
    plan = Case(retention_policy(ALL), [Img("a", ("v1",))], known=known).plan()
    assert plan.protected.rows[0] == [
        ("released", f"prod runs it since {format_time(NOW - timedelta(days=2))}"),
        ("released", f"stage ran it until {format_time(NOW - timedelta(days=3))}"),
    ]


def test_the_policys_own_list_of_usage_and_recent_pulls_protect() -> None:
    images = [Img("a", ("edge",)), Img("b", ("v1",)), Img("c", ("v2",), pulled=3), Img("d", ("v3",), pulled=20)]
    listed = f'{{keep: [], grace: 0s, at_most: 100%, usage: ["ed*", "{digest_of("b")}"], pulled_within: 14d}}'
    assert goes(listed, *images) == {"d"}


def test_versions_are_ordered_as_versions_not_by_push() -> None:
    images = [Img("new", ("v1.0.1",), age=8), Img("major", ("v2.0.0",), age=90), Img("pre", ("v2.0.0-rc.1",), age=9)]
    assert goes(keep("{newest: 1, of: semver}"), *images) == {"new", "pre"}


def test_equal_versions_with_commits_are_ordered_by_push() -> None:
    images = [Img("first", ("v1.0.0-abc1234",), age=9), Img("second", ("v1.0.0-0000001",), age=8)]
    assert goes(keep("{newest: 1, of: semver-commit}"), *images) == {"first"}


def test_the_newest_of_each_minor_and_major_version_stays() -> None:
    images = [Img(t, (t,)) for t in ("v1.0.0", "v1.0.1", "v1.1.0", "v2.0.0")]
    assert goes(keep("{newest: 1, of: semver, per: minor}"), *images) == {"v1.0.0"}
    assert goes(keep("{newest: 1, of: semver, per: major}"), *images) == {"v1.0.0", "v1.0.1"}


def test_at_least_the_minimum_stays_whatever_the_rules() -> None:
    images = [Img(t, (t,)) for t in ("v1.0.0", "v1.0.1", "v1.1.0")]
    assert goes("{keep: [{tag: v9}], at_least: 2, grace: 0s, at_most: 100%}", *images) == {"v1.0.0"}


def test_a_plan_beyond_at_most_is_refused_with_a_reason() -> None:
    images = [Img(f"v1.{n}.0", (f"v1.{n}.0",)) for n in range(10)]
    few = Case(retention_policy("{keep: [{newest: 5, of: semver}], grace: 0s, at_most: 40%}"), images).plan()
    assert few.refused == ["5 of 10 images would go (50 %): more than at_most, 40% in one run"]
    number = "{keep: [{newest: 5, of: semver}], grace: 0s, at_most: 50%, at_most_images: 4}"
    assert "at_most_images, 4" in Case(retention_policy(number), images).plan().refused[0]


def test_an_unreadable_index_protects_its_possible_children() -> None:
    images = [Img("dark", lists=("a",), unread=True), Img("a"), Img("b", ("v1",))]
    plan = plan_retention(retention_policy(ALL), inventory(images), (), RetentionInputs(), NOW)
    assert plan.removed == []
    assert all(image.action == "keep" for image in plan.images())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{keep: [], enforce: true}", "keeps no tagged image"),
        ("{keep: [{newest: 1, of: semver}, {newest: 5, of: semver}]}", "contradicts"),
        ("{keep: [{newer_than: 1d}, {newer_than: 9d}]}", "contradicts"),
        ("{at_most: 101%}", "from 0% to 100%"),
        ("{keep: [{newest: 1}], at_most: 0%, enforce: true}", "no image is ever removed"),
        ('{keep: [{matches: "(a+)+b"}]}', "too long"),
        ('{keep: [{tag: [">=2.0.0", "<1.0.0"]}]}', "no tag can match"),
    ],
)
def test_bad_input_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(PolicyProblem, match=why):
        retention_policy(text)


@pytest.mark.parametrize(
    "text", ["(a|aa)+", "(a*)*", "a?" * 30 + "a" * 30, r"(a)\1", "(?=a)", ".*.*.*.*", "a{999}", "["]
)
def test_a_regular_expression_with_exponential_time_is_refused(text: str) -> None:
    with pytest.raises(BadExpression):
        Expression(text)


def test_harmless_expressions_match_whole_tags() -> None:
    assert Expression(r"release-\d+").compiled().fullmatch("release-12")
    assert not Expression(r"(alpha|beta)-[0-9]+").compiled().fullmatch("gamma-1")


def test_a_glob_of_many_stars_is_linear() -> None:
    glob, tag = "*a" * 40 + "*b", "a" * 120
    began = time.process_time()
    assert goes(keep(f'{{tag: "{glob}"}}'), Img("x", (tag,)), Img("y", (f"{tag}b",))) == {"x"}
    assert time.process_time() - began < 1.0

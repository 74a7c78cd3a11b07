"""Laws of retention over generated repositories: nested and shared indexes, chains and circles of referrers, many tags
per digest, unreadable manifests, clock skew."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from support.examples import examples
from support.images.builders import digest_of
from support.images.inventories import NOW, Case, Img, inventory, layer_size, reading, removed, retention_policy, use
from tallyman.domain.retention import RetentionInputs, plan_retention
from tallyman.domain.retention.inputs import Release
from tallyman.domain.retention.protections import UPWARD

NAMES = [f"i{n}" for n in range(9)]
TAGS = ["v1.0.0", "v1.1.0", "v2.0.0", "v2.0.0-rc.1", "v1.0.0-abc1234", "latest", "stable-1", "edge", "build-7"]
RULES = [
    "{newest: 1, of: semver}",
    "{newest: 2, of: semver}",
    "{newest: 1, of: [semver, semver-commit], per: minor}",
    "{newest: 1}",
    "{newer_than: 30d}",
    "{newer_than: 60d, counted_from: pull}",
    "{newer_than: 60d, counted_from: tag_move}",
    '{tag: "stable-*"}',
    '{matches: "build-[0-9]+"}',
]


@st.composite
def repositories(draw: Any) -> list[Img]:
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, min_size=1))
    some = st.lists(st.sampled_from(NAMES), max_size=3).map(tuple)
    tags: dict[str, list[str]] = {}
    for tag in draw(st.lists(st.sampled_from(TAGS), unique=True)):
        tags.setdefault(draw(st.sampled_from(names)), []).append(tag)
    return [
        Img(
            name,
            tuple(tags.get(name, ())),
            age=draw(st.sampled_from([-3, 0, 1, 6.9, 7.1, 29, 31, 100, 400])),
            lists=draw(st.none() | some),
            subject=draw(st.none() | st.none() | st.sampled_from(NAMES)),
            layers=draw(st.lists(st.sampled_from("abcde"), unique=True).map(tuple)),
            pulled=draw(st.none() | st.none() | st.sampled_from([0, 20, 90])),
            unread=draw(st.integers(0, 30)) == 30,
        )
        for name in names
    ]


@st.composite
def retentions(draw: Any) -> dict[str, Any]:
    return {
        "keep": draw(st.none() | st.lists(st.sampled_from(RULES), unique=True, min_size=1, max_size=3)),
        "untagged": draw(st.none() | st.sampled_from(["0s", "7d", "90d"])),
        "grace": draw(st.sampled_from(["0s", "7d"])),
        "pulled_within": draw(st.none() | st.just("30d")),
        "at_least": draw(st.sampled_from([0, 0, 2])),
    }


def text(retention: dict[str, Any]) -> str:
    keep, untagged, pulled = (retention[key] for key in ("keep", "untagged", "pulled_within"))
    parts = [f"grace: {retention['grace']}", f"at_least: {retention['at_least']}", "at_most: 100%"]
    parts += [f"keep: [{', '.join(keep)}]"] if keep else []
    parts += [f"untagged: {{remove_after: {untagged}}}"] if untagged else []
    parts += [f"pulled_within: {pulled}"] if pulled else []
    return "{" + ", ".join(parts) + "}"


def consistent(retention: dict[str, Any]) -> bool:
    keep = retention["keep"] or []
    return not {RULES[0], RULES[1]} <= set(keep)  # two numbers for the same are refused as a contradiction


@st.composite
def cases(draw: Any) -> Case:
    images = draw(repositories())
    names = st.sampled_from(NAMES)
    days = st.sampled_from([0, 10, 29, 31, 200])
    releases = draw(st.dictionaries(names, st.tuples(days, st.booleans()), max_size=2))
    known = RetentionInputs(
        moved={
            digest_of(n): NOW - timedelta(days=d) for n, d in draw(st.dictionaries(names, days, max_size=2)).items()
        },
        releases={
            digest_of(n): (Release("prod", NOW - timedelta(days=d + 1), NOW - timedelta(days=d) if ended else None),)
            for n, (d, ended) in releases.items()
        },
        waiting={digest_of(n): "waits for prod" for n in draw(st.sets(names, max_size=1))},
    )
    uses = [use(name=n) for n in draw(st.sets(names, max_size=2))]
    uses += [use(tag=t) for t in draw(st.sets(st.sampled_from(TAGS), max_size=1))]
    retention = draw(retentions().filter(consistent))
    return Case(retention_policy(text(retention)), images, [reading(*uses)], known)


def links(images: list[Img]) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """From the images alone: the digests that each holds, and the indexes above each."""
    there = {img.name for img in images}
    holds: dict[str, set[str]] = {img.name: set() for img in images}
    above: dict[str, set[str]] = {img.name: set() for img in images}
    for img in images:
        for child in () if img.unread else img.lists or ():
            if child in there and child != img.name:
                holds[img.name].add(child)
                above[child].add(img.name)
        if img.subject in there and img.subject != img.name:
            holds[img.subject].add(img.name)
    return holds, above


def closure(start: set[str], step: dict[str, set[str]]) -> set[str]:
    found, waiting = set(start), list(start)
    while waiting:
        for each in step[waiting.pop()] - found:
            found.add(each)
            waiting.append(each)
    return found


@settings(max_examples=examples(60))
@given(cases())
def test_nothing_protected_is_ever_removed(case: Case) -> None:
    plan = case.plan()
    gone = removed(plan, case.images)
    holds, above = links(list(case.images))
    by_digest = {img.digest: img.name for img in case.images}
    tags = {tag: img.name for img in case.images for tag in img.tags}
    needed = {by_digest[u.digest] for r in case.usage for u in r.uses if u.digest in by_digest}
    needed |= {tags[u.tag] for r in case.usage for u in r.uses if u.tag in tags}
    needed |= {by_digest[d] for d in case.known.waiting if d in by_digest}
    for digest, releases in case.known.releases.items():
        if digest in by_digest and any(r.until is None or NOW - r.until < timedelta(days=30) for r in releases):
            needed.add(by_digest[digest])
    needed = closure(needed, above)
    grace = case.policy.repository("rocketseat/x").retention.grace
    needed |= {img.name for img in case.images if timedelta(days=img.age) < grace}
    assert not closure(needed, holds) & gone
    assert not gone or not any(img.unread for img in case.images)


@settings(max_examples=examples(60))
@given(cases())
def test_kept_images_keep_their_children_and_referrers(case: Case) -> None:
    gone = removed(case.plan(), case.images)
    holds, _ = links(list(case.images))
    for name, held in holds.items():
        assert name in gone or not held & gone


@settings(max_examples=examples(60))
@given(cases())
def test_planning_again_after_the_removal_removes_nothing_more(case: Case) -> None:
    gone = removed(case.plan(), case.images)
    rest = case.without(gone)
    assert removed(rest.plan(), rest.images) == set()


@settings(max_examples=examples(60))
@given(cases(), st.sampled_from(RULES))
def test_one_more_keep_rule_never_removes_more(case: Case, rule: str) -> None:
    retention = case.policy.repository("rocketseat/x").retention
    if retention.keep is None:
        return
    (more,) = retention_policy(f"{{keep: [{rule}]}}").repository("rocketseat/x").retention.keep or ()
    stricter = replace(case.policy.repositories[0], retention=replace(retention, keep=(*retention.keep, more)))
    after = replace(case, policy=replace(case.policy, repositories=(stricter,)))
    assert removed(after.plan(), case.images) <= removed(case.plan(), case.images)


@settings(max_examples=examples(60))
@given(cases(), st.randoms())
def test_the_order_of_images_uses_and_facts_never_matters(case: Case, order: Any) -> None:
    shuffled = list(case.images)
    order.shuffle(shuffled)
    first, second = case.plan(), replace(case, images=shuffled).plan()
    assert {i.digest: i for i in first.images()} == {i.digest: i for i in second.images()}
    assert (first.freed_bytes, first.refused) == (second.freed_bytes, second.refused)
    assert [first.inventory.digests[r] for r in first.removed] == [second.inventory.digests[r] for r in second.removed]


@settings(max_examples=examples(60))
@given(cases())
def test_freed_bytes_equal_a_recount_from_scratch(case: Case) -> None:
    plan = case.plan()
    gone = removed(plan, case.images)
    read = [img for img in case.images if img.lists is None and not img.unread]
    layers = {n: {layer for img in read if (img.name in gone) is n for layer in img.layers} for n in (True, False)}
    assert plan.freed_bytes == sum(map(layer_size, layers[True] - layers[False]))


@settings(max_examples=examples(60))
@given(cases())
def test_with_an_unreadable_usage_source_nothing_is_removed_and_the_plan_names_it(case: Case) -> None:
    plan = replace(case, usage=[*case.usage, reading(error="throttled")]).plan()
    assert plan.removed == []
    assert "ECS of 111111111111/us-east-2 can't be read: throttled" in plan.refused


@settings(max_examples=examples(60))
@given(cases())
def test_indexes_are_removed_before_their_children(case: Case) -> None:
    plan = case.plan()
    at = {plan.inventory.digests[row]: n for n, row in enumerate(plan.removed)}
    _, above = links(list(case.images))
    for img in case.images:
        for index in above[img.name]:
            circle = img.name in closure({index}, above)
            if not circle and img.digest in at and digest_of(index) in at:
                assert at[digest_of(index)] < at[img.digest]


@settings(max_examples=examples(60))
@given(cases())
def test_every_image_is_kept_or_removed_with_a_reason(case: Case) -> None:
    plan = plan_retention(case.policy, inventory(case.images), case.usage, case.known, NOW)
    found = list(plan.images())
    assert {i.digest for i in found} == {i.digest for i in case.images}
    assert all(i.reason and (i.action == "keep" or not i.protections) for i in found)
    assert UPWARD

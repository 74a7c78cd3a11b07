"""The recorded history replayed with a policy."""

from datetime import UTC, datetime, timedelta

from support.images.builders import DEV, digest_of, pushed
from support.images.inventories import NOW, retention_policy
from tallyman.domain.history.facts import Fact
from tallyman.domain.names import Digest
from tallyman.domain.retention.inputs import Release
from tallyman.domain.retention.replay import Past, replay

POLICY = retention_policy("{keep: [{newest: 1, of: semver}], grace: 7d, at_most: 100%}")


def push(name: str, tag: str, days: float) -> Fact:
    return pushed(digest_of(name), tag, DEV, at=NOW - timedelta(days=days))


def gone(past: Past) -> dict[Digest, object]:
    return {g.digest: g for g in replay(POLICY, DEV, DEV.name, past, NOW - timedelta(days=100), NOW).gone}


def test_an_old_version_would_have_been_removed_after_its_grace_period() -> None:
    found = replay(
        POLICY, DEV, DEV.name, Past([push("a", "v1.0.0", 90), push("b", "v1.1.0", 60)]), NOW - timedelta(days=100), NOW
    )
    (one,) = found.gone
    assert (one.digest, one.tags) == (digest_of("a"), ("v1.0.0",))
    assert one.at == NOW - timedelta(days=53)  # marked when the newer one was pushed, removed a week later
    assert one.needed == ()


def test_images_needed_after_their_removal_are_reported() -> None:
    facts = [push("a", "v1.0.0", 90), push("b", "v1.1.0", 60), push("a", "v0.9.0", 5)]
    later = NOW - timedelta(days=10)
    past = Past(
        facts,
        releases={digest_of("a"): (Release("prod", later),)},
        pulled={digest_of("a"): later},
        in_use={digest_of("a"): "ecs task web"},
    )
    (one,) = replay(POLICY, DEV, DEV.name, past, NOW - timedelta(days=100), NOW).gone
    assert [word.split()[0] for word in one.needed] == ["released", "pulled", "in", "tagged"]


def test_children_are_removed_with_their_index_and_deleted_images_are_ignored() -> None:
    past = Past(
        [
            push("a", "v1.0.0", 90),
            pushed(digest_of("c"), None, DEV, at=NOW - timedelta(days=90)),
            push("b", "v2.0.0", 60),
        ],
        children={digest_of("a"): (digest_of("c"),)},
    )
    assert set(gone(past)) == {digest_of("a"), digest_of("c")}


def test_nothing_is_removed_on_days_on_which_a_run_would_be_refused() -> None:
    policy = retention_policy("{keep: [{newest: 1, of: semver}], grace: 7d, at_most: 20%}")
    past = Past([push("a", "v1.0.0", 90), push("b", "v1.1.0", 60)])
    found = replay(policy, DEV, DEV.name, past, NOW - timedelta(days=100), NOW)
    assert found.gone == ()
    assert len(found.refused) == 61
    assert found.refused[0].reason.startswith("1 of 2 images would go (50 %): more than at_most, 20%")


def test_days_before_the_first_fact_are_skipped() -> None:
    past = Past([push("a", "v1.0.0", 90), push("b", "v1.1.0", 60)])
    long_ago = datetime(1, 1, 1, tzinfo=UTC)  # 740,000 days
    (one,) = replay(POLICY, DEV, DEV.name, past, long_ago, NOW).gone
    assert one.digest == digest_of("a")
    assert replay(POLICY, DEV, DEV.name, Past([]), long_ago, NOW).gone == ()

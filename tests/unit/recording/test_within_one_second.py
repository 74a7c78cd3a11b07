"""Removals and pushes within one second, the precision of an event's time: history says what the registry said last."""

from datetime import timedelta

from support.fakes.recording import RecordingStack
from support.images.builders import DEV, delete_event, image, push_event
from tallyman.domain.history.facts import Kind
from tallyman.domain.history.fold import digest_at
from tallyman.domain.names import Digest


def system() -> RecordingStack:
    made = RecordingStack()
    made.registries.add(DEV, immutable=False)
    return made


def push(made: RecordingStack, content: str, tag: str) -> Digest:
    """A push whose event arrives some milliseconds later."""
    digest = made.registries.push(DEV, image(content), tag)
    at = made.clock()
    made.clock.advance(milliseconds=20)
    made.deliver(push_event(DEV, digest, tag, at=at))
    return digest


def points_to(made: RecordingStack, tag: str) -> Digest | None:
    """The digest of the tag now, by its history."""
    facts = [f for f in made.ledger.facts if f.tag == tag or f.kind is Kind.DELETED]
    return digest_at(facts, DEV, tag, made.clock())


def assert_nothing_is_left(made: RecordingStack) -> None:
    """A sweep finds nothing more to record."""
    facts = len(made.ledger.facts)
    made.clock.advance(minutes=15)
    made.reconcile()
    assert len(made.ledger.facts) == facts


def test_a_removal_whose_event_is_lost_is_found_after_a_removal_and_a_push_in_one_second() -> None:
    made = system()
    digest = push(made, "a", "v1")
    made.clock.advance(seconds=1)
    made.registries.delete(DEV, digest)
    made.deliver(delete_event(DEV, digest, at=made.clock()))
    made.clock.advance(milliseconds=20)
    push(made, "a", "v1")
    made.clock.advance(milliseconds=20)
    made.registries.delete(DEV, digest)  # no event
    made.clock.advance(minutes=15)
    push(made, "a", "v2")
    made.reconcile()
    assert points_to(made, "v1") is None
    assert_nothing_is_left(made)


def test_the_removal_of_a_tags_earlier_image_in_the_second_of_its_push_does_not_end_it() -> None:
    made = system()
    first = push(made, "a", "v1")
    made.clock.advance(hours=1)
    push(made, "b", "v1")
    push(made, "b", "v2")
    made.clock.now = made.clock.now.replace(microsecond=0) + timedelta(hours=1)
    del made.registries.held(DEV).tags["v1"]  # no event
    made.reconcile()
    now = push(made, "c", "v1")
    made.registries.delete(DEV, first)
    at = made.clock()
    made.clock.advance(milliseconds=20)
    made.deliver(delete_event(DEV, first, at=at))
    assert points_to(made, "v1") == now
    assert made.points_to("v1") == now


def test_a_tag_that_is_removed_twice_in_one_second_is_known_to_be_gone_after_a_sweep() -> None:
    made = system()
    digest = push(made, "a", "v1")
    push(made, "a", "kept")
    made.clock.now = made.clock.now.replace(microsecond=0) + timedelta(seconds=1)
    removed, pushed = (event(DEV, digest, "v1", at=made.clock()) for event in (delete_event, push_event))
    made.registries.untag(DEV, "v1")
    made.clock.advance(milliseconds=20)
    made.registries.push(DEV, image("a"), "v1")
    made.deliver(removed, pushed)
    made.registries.untag(DEV, "v1")
    made.clock.advance(milliseconds=20)
    made.deliver(removed)  # this event equals that of the first removal
    assert made.points_to("v1") is None
    made.clock.advance(minutes=15)
    made.reconcile()
    assert points_to(made, "v1") is None
    assert_nothing_is_left(made)


def test_a_tag_that_moves_away_and_back_in_one_second_is_known_to_be_back_after_a_sweep() -> None:
    made = system()
    made.clock.now = made.clock.now.replace(microsecond=0)
    first = push(made, "a", "latest")
    push(made, "b", "latest")
    push(made, "a", "latest")  # its event equals the first one
    assert made.points_to("latest") == first
    made.clock.advance(minutes=15)
    made.reconcile()
    assert points_to(made, "latest") == first

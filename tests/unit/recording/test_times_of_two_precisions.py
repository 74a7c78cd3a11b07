"""Events have whole seconds, a sweep's observations have milliseconds: within one second the registry's answer decides
the order."""

from datetime import timedelta
from itertools import permutations

import pytest

from support.fakes.recording import RecordingStack, policy
from support.images.builders import DEV, NOON, image, push_event
from tallyman.domain.history.facts import Fact, Kind, Via, fact_id
from tallyman.domain.history.fold import digest_at
from tallyman.domain.images.referrers import is_gone
from tallyman.domain.names import Digest

MILLI = timedelta(milliseconds=1)
SECOND = timedelta(seconds=1)
A, B = image("a").digest, image("b").digest


def fact(kind: Kind, digest: Digest, millis: int, seen: int, current: Digest | None, via: Via = Via.EVENT) -> Fact:
    gone = {"gone": current is None} if kind is Kind.DELETED else {"current": current, "index": False}
    return Fact(
        kind=kind,
        id=fact_id(kind, digest, millis, seen),
        at=NOON + millis * MILLI,
        seen=NOON + seen * MILLI,
        via=via,
        digest=digest,
        repository=DEV,
        tag=None if kind is Kind.DELETED else "v1.0.0",
        detail=gone,
    )


def test_a_push_in_the_second_of_a_swept_removal_comes_after_it() -> None:
    result = fact(Kind.PUSHED, A, -5000, -4900, A)
    removed = fact(Kind.UNTAGGED, A, 700, 800, None, Via.RECONCILED)
    again = fact(Kind.PUSHED, A, 0, 1500, A)  # really at .9; its event says .0
    for facts in permutations([result, removed, again]):
        assert digest_at(facts, DEV, "v1.0.0", NOON + SECOND) == A


def test_a_push_before_a_swept_removal_in_the_same_second_stays_before_it() -> None:
    first = fact(Kind.PUSHED, A, 0, 100, A)
    moved = fact(Kind.PUSHED, B, 1, 900, B, Via.RECONCILED)
    for facts in permutations([first, moved]):
        assert digest_at(facts, DEV, "v1.0.0", NOON + SECOND) == B


@pytest.mark.parametrize("millis", [0, 1, 700, 999])
def test_a_referrer_pushed_again_in_the_second_of_its_removal_exists(millis: int) -> None:
    result = fact(Kind.PUSHED, A, -5000, -4900, A)
    removed = fact(Kind.DELETED, A, millis, 800, None, Via.RECONCILED)
    assert is_gone([result, removed], str(DEV))
    again = fact(Kind.PUSHED, A, 0, 1500, A)
    assert not is_gone([result, removed, again], str(DEV))


def test_a_tag_removed_and_pushed_again_within_the_second_of_a_sweep_is_known_at_once() -> None:
    system = RecordingStack(policy(soak="1h"))
    digest = system.registries.push(DEV, image("a"), "v1.0.0")
    system.deliver(push_event(DEV, digest, "v1.0.0", at=system.clock()))
    other = system.registries.push(DEV, image("b"), "latest")
    system.deliver(push_event(DEV, other, "latest", at=system.clock()))
    system.registries.held(DEV).tags["latest"] = digest  # moved in the same second, without an event
    system.reconcile()
    system.registries.held(DEV).tags["latest"] = other
    system.clock.advance(milliseconds=300)
    system.deliver(push_event(DEV, other, "latest", at=system.clock().replace(microsecond=0)))
    assert system.points_to("latest") == other
    system.clock.advance(seconds=5)
    system.reconcile()
    assert system.points_to("latest") == other

"""Marks end where the policy stops enforcing retention, so that the grace begins anew when it enforces it again."""

import json

import pytest

from support.fakes.retention import ENFORCED, RetentionStack
from support.images.builders import DEV
from support.images.inventories import retention_policy
from tallyman.domain.history.facts import Kind
from tallyman.domain.policy import Policy
from tallyman.state import marks
from tallyman.state.marks import MARKS

A_WEEK = ENFORCED.replace("grace: 0s", "grace: 7d")
ENDS = {
    "not enforced": retention_policy(A_WEEK.replace("enforce: true", "enforce: false")),
    "no rules": retention_policy("{grace: 7d, at_most: 100%, enforce: true}"),
}


def scheduled(system: RetentionStack, policy: Policy) -> bool:
    """A run of the schedule by this policy; returns whether it looks at dev."""
    system.policy = policy
    system.worker().handle(json.dumps({"all": True}))
    hints = system.hints.take("retention")
    for _, body, _ in hints:
        system.worker().handle(json.dumps(body))
    return {"repository": str(DEV)} in [body for _, body, _ in hints]


@pytest.mark.parametrize("pause", ENDS.values(), ids=ENDS)
def test_the_grace_begins_anew_when_the_policy_enforces_retention_again(pause: Policy) -> None:
    system = RetentionStack(A_WEEK)
    system.clock.advance(days=-30)
    old, *_ = system.versions(3)
    system.clock.advance(days=30)
    enforced = system.policy
    assert scheduled(system, enforced)
    system.clock.advance(days=1)
    assert scheduled(system, pause)
    assert [fact.digest for fact in system.facts(Kind.UNMARKED)] == [old]
    system.clock.advance(days=100)
    assert not scheduled(system, pause)
    assert scheduled(system, enforced)
    assert old in system.present()
    system.clock.advance(days=7)
    scheduled(system, enforced)
    assert old not in system.present()


def test_a_removal_that_died_before_its_fact_is_completed_and_not_ended() -> None:
    system = RetentionStack(A_WEEK)
    system.clock.advance(days=-30)
    old, *_ = system.versions(3)
    system.clock.advance(days=30)
    enforced = system.policy
    scheduled(system, enforced)
    entry = MARKS.read(system.state, marks.key(DEV, old))
    system.state.put(entry.write(entry.value.parse({**entry.value.dump(), "proof": old})))
    system.registries.delete(DEV, old)
    scheduled(system, ENDS["not enforced"])
    assert system.facts(Kind.UNMARKED) == []
    scheduled(system, enforced)
    assert [fact.digest for fact in system.facts(Kind.REMOVED)] == [old]

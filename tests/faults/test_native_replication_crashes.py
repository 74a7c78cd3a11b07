"""A promotion that leaves copies to ECR and dies at any call ends as an undisturbed one, and sets no tag early."""

import json
from datetime import timedelta

import pytest

from support.fakes.ports import CRASH_STEPS, Crash, CrashAfter
from support.fakes.promotion import PLACES, PromotionStack, native
from tallyman.domain.names import Digest


def run(stack: PromotionStack, slow: bool) -> None:
    """Run to the end; replication arrives within ten seconds."""
    stack.work(until=timedelta(seconds=10))
    if slow:
        stack.replication.deliver()
    stack.work(until=timedelta(hours=2))


def tags_come_last(stack: PromotionStack, digest: Digest) -> bool:
    """Whether no tag exists anywhere unless the content is in every registry."""
    everywhere = all(digest in stack.registries.held(place).manifests for place in PLACES)
    return everywhere or stack.tags("v1.0.0") == [None, None]


@CRASH_STEPS
@pytest.mark.parametrize("slow", [False, True], ids=["at once", "slow"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_the_next_worker_completes_the_work_of_one_that_died_at_any_call(when: str, slow: bool, step: int) -> None:
    stack, digest = native()
    run(stack, slow=False)
    wanted = stack.end()
    n = 1 - step
    while True:
        n += step
        stack, digest = native()
        stack.replication.slow = slow
        ((_, body, _),) = stack.hints.take("promote")
        crash = CrashAfter(n, when)
        try:
            stack.worker(crash).handle(json.dumps(body), lambda: 900.0)
        except Crash:
            assert tags_come_last(stack, digest), n
        if crash.count < n:
            break  # there is no further call
        stack.hints.send("promote", body)  # the queue delivers it again
        run(stack, slow)
        assert stack.end() == wanted, (n, when)
        assert not stack.refused
        assert not stack.notices.published
    assert n > 20

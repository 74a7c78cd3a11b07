"""A recall, freeze or failed verification that is recorded before the release moves prevents the move: at every moment
of a promotion, also between its last decision and its last write."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest

from support.fakes.ports import CrashAfter
from support.fakes.promotion import PromotionStack, command, one
from support.images.builders import DEV, image, verified
from tallyman.domain.history.facts import Kind
from tallyman.domain.names import Digest
from tallyman.state.stops import failed_verification, stop_change


class ActBefore(CrashAfter):
    """Calls a function once, before the n-th call, and lets the worker continue."""

    def __init__(self, n: int, act: Callable[[], object]) -> None:
        super().__init__(0)
        self.at, self.act, self.acting = n, act, False

    @contextmanager
    def counted(self, name: str) -> Iterator[None]:
        with super().counted(name):
            if self.count == self.at and not self.acting:
                self.acting = True
                self.act()
            yield


def recall(stack: PromotionStack, digest: Digest) -> None:
    command(stack, "recall", digest)


def freeze(stack: PromotionStack, digest: Digest) -> None:
    command(stack, "freeze", digest, environment="prod", repository=DEV.name)


def freeze_all(stack: PromotionStack, digest: Digest) -> None:
    command(stack, "freeze", digest, environment="prod")


def damaged(stack: PromotionStack, digest: Digest) -> None:
    """Record a failed verification as verify_digest does."""
    now = stack.clock.advance(seconds=1)
    check = {"name": "content", "verdict": "failed", "reason": "a layer is damaged"}
    fact = verified(digest, at=now, seen=now, verdict="failed", checks=[check])
    stack.ledger.append(fact, stop_change(stack.state, failed_verification(digest), fact))
    stack.evaluator.digest(digest)


STOPS = {"recall": recall, "freeze": freeze, "freeze-all": freeze_all, "damaged": damaged}
SAYS = (Kind.RECALLED, Kind.FROZEN, Kind.VERIFIED)


def calls() -> int:
    stack, _ = one()
    ((_, body, _),) = stack.hints.take("promote")
    counting = CrashAfter()
    stack.handle(body, stack.worker(counting))
    return counting.count


CALLS = calls()


@pytest.mark.parametrize("stop", STOPS.values(), ids=STOPS)
def test_nothing_is_released_after_a_stop_whenever_it_comes(stop: Callable[[PromotionStack, Digest], None]) -> None:
    released = 0
    for n in range(1, CALLS + 1):
        stack, digest = one()
        ((_, body, _),) = stack.hints.take("promote")
        before = len(stack.ledger.facts)
        stack.handle(body, stack.worker(ActBefore(n, lambda h=stack, d=digest: stop(h, d))))  # type: ignore[misc]
        stack.work(until=timedelta(minutes=10))
        kinds = [f.kind for f in stack.ledger.facts[before:]]
        said = next(i for i, kind in enumerate(kinds) if kind in SAYS)
        if Kind.PROMOTED in kinds[:said]:
            released += 1
            assert stack.released() == digest, n
        else:
            assert Kind.PROMOTED not in kinds, n
            assert stack.released() is None, n
            assert stack.announcements.emitted == [], n
    assert released  # some came too late


def test_a_recall_stops_a_roll_back_in_progress() -> None:
    stack, first = one()
    stack.work()
    stack.push(image("b"), "v1.1.0")
    stack.work()
    second = stack.released()
    command(stack, "roll-back", first, environment="prod", repository=DEV.name)
    ((_, body, _),) = stack.hints.take("promote")
    counting = CrashAfter()
    snapshot = dict(stack.ledger.items), dict(stack.state.items)
    stack.handle(body, stack.worker(counting))
    assert stack.released() == first
    for n in range(1, counting.count + 1):
        stack.ledger.items, stack.state.items = dict(snapshot[0]), dict(snapshot[1])
        stack.clock.advance(minutes=1)
        act = lambda: command(stack, "recall", first, request="r2")  # noqa: E731
        stack.handle(body, stack.worker(ActBefore(n, act)))
        stack.work(until=timedelta(minutes=1))
        kinds = [f.kind for f in stack.ledger.facts]
        late = kinds.index(Kind.RECALLED) > kinds.index(Kind.ROLLED_BACK) if Kind.ROLLED_BACK in kinds else False
        assert stack.released() == (first if late else second), n

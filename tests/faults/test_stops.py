"""A recall, freeze or failed verification that is recorded before the release moves keeps it from moving: at any
moment of a promotion, also between its last decision and its last write."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest

from support.fakes.ports import CrashAfter
from support.fakes.promotion import Harbour, command, one
from support.images.builders import DEV, image, verified
from tallyman.domain.history.facts import Kind
from tallyman.domain.names import Digest
from tallyman.state.stops import failed_verification, stop_change


class Between(CrashAfter):
    """Does something before the n-th call, once, and lets the worker go on."""

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


def recall(harbour: Harbour, digest: Digest) -> None:
    command(harbour, "recall", digest)


def freeze(harbour: Harbour, digest: Digest) -> None:
    command(harbour, "freeze", digest, environment="prod", repository=DEV.name)


def freeze_all(harbour: Harbour, digest: Digest) -> None:
    command(harbour, "freeze", digest, environment="prod")


def damaged(harbour: Harbour, digest: Digest) -> None:
    """As verify_digest writes it."""
    now = harbour.clock.advance(seconds=1)
    check = {"name": "content", "verdict": "failed", "reason": "a layer is damaged"}
    fact = verified(digest, at=now, seen=now, verdict="failed", checks=[check])
    harbour.ledger.append(fact, stop_change(harbour.state, failed_verification(digest), fact))
    harbour.evaluator.digest(digest)


STOPS = {"recall": recall, "freeze": freeze, "freeze-all": freeze_all, "damaged": damaged}
SAYS = (Kind.RECALLED, Kind.FROZEN, Kind.VERIFIED)


def calls() -> int:
    harbour, _ = one()
    ((_, body, _),) = harbour.hints.take("promote")
    counting = CrashAfter()
    harbour.handle(body, harbour.worker(counting))
    return counting.count


CALLS = calls()


@pytest.mark.parametrize("stop", STOPS.values(), ids=STOPS)
def test_whenever_it_comes_nothing_is_released_after_it(stop: Callable[[Harbour, Digest], None]) -> None:
    released = 0
    for n in range(1, CALLS + 1):
        harbour, digest = one()
        ((_, body, _),) = harbour.hints.take("promote")
        before = len(harbour.ledger.facts)
        harbour.handle(body, harbour.worker(Between(n, lambda h=harbour, d=digest: stop(h, d))))  # type: ignore[misc]
        harbour.work(until=timedelta(minutes=10))
        kinds = [f.kind for f in harbour.ledger.facts[before:]]
        said = next(i for i, kind in enumerate(kinds) if kind in SAYS)
        if Kind.PROMOTED in kinds[:said]:
            released += 1
            assert harbour.released() == digest, n
        else:
            assert Kind.PROMOTED not in kinds, n
            assert harbour.released() is None, n
            assert harbour.announcements.emitted == [], n
    assert released  # some came too late


def test_a_recall_stops_a_roll_back_that_is_under_way() -> None:
    harbour, first = one()
    harbour.work()
    harbour.push(image("b"), "v1.1.0")
    harbour.work()
    second = harbour.released()
    command(harbour, "roll-back", first, environment="prod", repository=DEV.name)
    ((_, body, _),) = harbour.hints.take("promote")
    counting = CrashAfter()
    snapshot = dict(harbour.ledger.items), dict(harbour.state.items)
    harbour.handle(body, harbour.worker(counting))
    assert harbour.released() == first
    for n in range(1, counting.count + 1):
        harbour.ledger.items, harbour.state.items = dict(snapshot[0]), dict(snapshot[1])
        harbour.clock.advance(minutes=1)
        act = lambda: command(harbour, "recall", first, request="r2")  # noqa: E731
        harbour.handle(body, harbour.worker(Between(n, act)))
        harbour.work(until=timedelta(minutes=1))
        kinds = [f.kind for f in harbour.ledger.facts]
        late = kinds.index(Kind.RECALLED) > kinds.index(Kind.ROLLED_BACK) if Kind.ROLLED_BACK in kinds else False
        assert harbour.released() == (first if late else second), n

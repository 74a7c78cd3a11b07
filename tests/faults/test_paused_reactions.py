"""A reaction that is paused before any of its calls, while others do all their work, does not change the result.

Pauses, not crashes: its data is stale when it writes. An item that was removed meanwhile and created again is not the
item that it read.
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from support.fakes.ports import listed
from support.fakes.promotion import PromotionStack
from support.fakes.recording import policy
from support.images.builders import image
from tallyman.domain.history.facts import Kind
from tallyman.errors import RevisionConflict
from tallyman.services.deciding.evaluator import Evaluator

HOUR = timedelta(hours=1)


class Sleeper:
    """Wraps ports; runs `meanwhile` before call number `at`."""

    def __init__(self, at: int, meanwhile: Callable[[], None]) -> None:
        self.at, self.meanwhile, self.calls = at, meanwhile, 0

    def wrap(self, port: Any) -> Any:
        return _Wrapped(self, port)

    def before(self) -> None:
        self.calls += 1
        if self.calls == self.at:
            self.meanwhile()


class _Wrapped:
    def __init__(self, sleeper: Sleeper, port: Any) -> None:
        self._sleeper, self._port = sleeper, port

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if not callable(found):
            return found

        def call(*args: Any, **named: Any) -> Any:
            self._sleeper.before()
            return found(*args, **named)

        return call


def sleeping(stack: PromotionStack, at: int, meanwhile: Callable[[], None]) -> tuple[Evaluator, Sleeper]:
    sleeper = Sleeper(at, meanwhile)
    ledger, state = sleeper.wrap(stack.ledger), sleeper.wrap(stack.state)
    hints, notices = sleeper.wrap(stack.hints), sleeper.wrap(stack.notices)
    return Evaluator(stack.policy, ledger, state, hints, notices, stack.clock, stack.ports().objects), sleeper


@pytest.mark.parametrize("gates", [{}, {"soak": "1m"}], ids=["at once", "soaking"])
@pytest.mark.parametrize("known", [False, True], ids=["undecided", "decided"])
def test_a_reaction_paused_during_a_promotion_changes_no_decision(gates: dict[str, Any], known: bool) -> None:
    at = 0
    while True:
        at += 1
        stack = PromotionStack(policy=policy(**gates))
        digest = stack.push(image("app"), "v1.0.0")
        if not known:
            # as if no reaction had evaluated it yet
            stack.ledger.items = {k: i for k, i in stack.ledger.items.items() if i["kind"] != Kind.DECIDED}
            stack.state.items = {k: i for k, i in stack.state.items.items() if not k[0].startswith("P#")}
            stack.hints.take()
        done: list[int] = []

        def promoted(stack: PromotionStack = stack, digest: Any = digest, done: list[int] = done) -> None:
            stack.evaluator.digest(digest)
            stack.clock.advance(minutes=2)
            stack.evaluator.digest(digest)
            stack.work(until=HOUR)
            done.append(1)

        evaluator, sleeper = sleeping(stack, at, promoted)
        with suppress(RevisionConflict):  # its message is delivered again
            evaluator.digest(digest)
        if sleeper.calls < at:
            assert at > 3
            return
        assert done
        stack.evaluator.digest(digest)  # the next evaluation can write
        stack.work(until=HOUR)
        assert stack.tags("v1.0.0") == [digest, digest]
        assert listed(stack.state, "P#prod") == []
        assert len(stack.facts(Kind.RELEASED)) == 1

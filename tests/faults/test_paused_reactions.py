"""A reaction that sleeps between any two of its calls, for as long as others need for all their work, changes nothing.

Not crashes but pauses: what it read is old when it writes. An item that was removed meanwhile, and made anew, is not
the one that it knew.
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from support.fakes.ports import listed
from support.fakes.promotion import Harbour
from support.fakes.recording import policy
from support.images.builders import image
from tallyman.domain.history.facts import Kind
from tallyman.errors import RevisionConflict
from tallyman.services.deciding.evaluator import Evaluator

HOUR = timedelta(hours=1)


class Sleeper:
    """Wraps ports; before call number `at` it does what `meanwhile` says."""

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


def sleeping(harbour: Harbour, at: int, meanwhile: Callable[[], None]) -> tuple[Evaluator, Sleeper]:
    sleeper = Sleeper(at, meanwhile)
    ledger, state = sleeper.wrap(harbour.ledger), sleeper.wrap(harbour.state)
    hints, notices = sleeper.wrap(harbour.hints), sleeper.wrap(harbour.notices)
    return Evaluator(harbour.policy, ledger, state, hints, notices, harbour.clock, harbour.ports().objects), sleeper


@pytest.mark.parametrize("gates", [{}, {"soak": "1m"}], ids=["at once", "soaking"])
@pytest.mark.parametrize("known", [False, True], ids=["undecided", "decided"])
def test_a_reaction_that_sleeps_for_a_whole_promotion_decides_nothing_anew(gates: dict[str, Any], known: bool) -> None:
    at = 0
    while True:
        at += 1
        harbour = Harbour(policy=policy(**gates))
        digest = harbour.push(image("app"), "v1.0.0")
        if not known:
            # as if no reaction had decided about it yet
            harbour.ledger.items = {k: i for k, i in harbour.ledger.items.items() if i["kind"] != Kind.DECIDED}
            harbour.state.items = {k: i for k, i in harbour.state.items.items() if not k[0].startswith("P#")}
            harbour.hints.take()
        done: list[int] = []

        def promoted(harbour: Harbour = harbour, digest: Any = digest, done: list[int] = done) -> None:
            harbour.evaluator.digest(digest)
            harbour.clock.advance(minutes=2)
            harbour.evaluator.digest(digest)
            harbour.work(until=HOUR)
            done.append(1)

        evaluator, sleeper = sleeping(harbour, at, promoted)
        with suppress(RevisionConflict):  # its message is offered again
            evaluator.digest(digest)
        if sleeper.calls < at:
            assert at > 3
            return
        assert done
        harbour.evaluator.digest(digest)  # whoever looks at it next can decide
        harbour.work(until=HOUR)
        assert harbour.tags("v1.0.0") == [digest, digest]
        assert listed(harbour.state, "P#prod") == []
        assert len(harbour.facts(Kind.RELEASED)) == 1

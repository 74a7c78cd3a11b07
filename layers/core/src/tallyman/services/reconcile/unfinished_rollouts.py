"""Roll-outs that nobody is at any more: their message died, or the event that was to begin them."""

from datetime import timedelta

from tallyman.domain.policy import Policy
from tallyman.domain.times import parse_time
from tallyman.ports.clocks import Clock
from tallyman.ports.messages import Hints
from tallyman.ports.records import State, StateItem
from tallyman.services.reconcile.waiting import Waiting
from tallyman.services.releases.rollout_progress import (
    RUNNING,
    roll_out_hint,
    roll_out_lease,
    roll_out_partition,
    steps_of,
)
from tallyman.services.shared.lease import lease_partition
from tallyman.values import value

OVERDUE = timedelta(minutes=15)
"""How long after a look was due, or the release was set, nobody is expected any more. The queue offers the message of
a worker that was killed again by itself after 12 minutes (its visibility timeout)."""
AGAIN = timedelta(hours=1)
"""How soon after one hint of ours the next may follow: so long a message that keeps failing lives (five receives)."""


@value
class Unfinished:
    """Takes them up again. What failed for good waits for a person or the next release."""

    policy: Policy
    state: State
    hints: Hints
    waiting: Waiting
    clock: Clock

    def take_up(self, environment: str, release: StateItem, at_once: bool = False) -> bool:
        """Sends a hint for the roll-out of this release, which is in force, if that is unfinished or was never begun
        and nobody is at it; whether it did. `at_once`: a person asks, and waits for nothing that is due later.

        One more hint does no harm: of two that look at a roll-out one goes on. Cost: at most three GetItems.
        """
        repository = release.sk
        if not steps_of(self.policy.environment(environment), repository):
            return False
        item = self.state.get(roll_out_partition(environment), repository)
        begun = item is not None and item.data["release"] == release.data["id"]
        if item is not None and begun and item.data["status"] != RUNNING:
            return False
        told = [item.data.get("next_at"), item.data.get("at")] if item is not None and begun else [release.data["at"]]
        last = max((parse_time(text) for text in told if text), default=None)
        early = last is not None and self.clock() < last + OVERDUE
        if self._is_held(environment, repository) or (early and not at_once):
            return False
        key = f"roll-out {environment}/{repository} {release.data['id']}"
        if not (at_once or self.waiting.is_due(key, AGAIN)):
            return False
        self.hints.send("roll_out", roll_out_hint(environment, repository))
        self.waiting.note(key, AGAIN)
        return True

    def _is_held(self, environment: str, repository: str) -> bool:
        """Whether a worker is at it this very moment."""
        lease = self.state.get(lease_partition(environment), roll_out_lease(repository))
        return lease is not None and parse_time(lease.data["until"]) > self.clock()

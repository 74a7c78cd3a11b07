"""Abandoned roll-outs: their message, or the event that starts them, was lost."""

from datetime import timedelta

from tallyman.domain.policy import Policy
from tallyman.ports.clocks import Clock
from tallyman.ports.messages import Hints
from tallyman.ports.records import State
from tallyman.services.reconcile.waiting import Waiting
from tallyman.services.releases.rollout_progress import RUNNING, roll_out_hint, steps_of
from tallyman.state import leases, rollouts
from tallyman.state.leases import LEASES
from tallyman.state.releases import ReleaseState
from tallyman.state.rollouts import ROLLOUTS
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

    def take_up(self, environment: str, repository: str, release: ReleaseState, at_once: bool = False) -> bool:
        """Sends a hint for the roll-out of this release, which is in force, if that is unfinished or was never begun
        and no worker holds it; returns whether it did. `at_once`: a person asks: what is due later is not waited for.

        One more hint does no harm: of two that look at a roll-out one goes on. Cost: at most three GetItems.
        """
        if not steps_of(self.policy.environment(environment), repository):
            return False
        rollout = ROLLOUTS.get(self.state, rollouts.key(environment, repository))
        begun = rollout if rollout is not None and rollout.release == release.id else None
        if begun is not None and begun.status != RUNNING:
            return False
        moments = [begun.next_at, begun.at] if begun else [release.at]
        last = max((moment for moment in moments if moment), default=None)
        early = last is not None and self.clock() < last + OVERDUE
        if self._is_held(environment, repository) or (early and not at_once):
            return False
        key = f"roll-out {environment}/{repository} {release.id}"
        if not (at_once or self.waiting.is_due(key, AGAIN)):
            return False
        self.hints.send("roll_out", roll_out_hint(environment, repository))
        self.waiting.note(key, AGAIN)
        return True

    def _is_held(self, environment: str, repository: str) -> bool:
        """Whether a worker is at it this very moment."""
        lease = LEASES.get(self.state, leases.key(environment, leases.of_rollout(repository)))
        return lease is not None and lease.until > self.clock()

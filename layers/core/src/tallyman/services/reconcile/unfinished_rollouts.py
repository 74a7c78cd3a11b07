"""Restarts abandoned rollouts, whose message or start event was lost."""

from datetime import timedelta

from tallyman.domain.policy import Policy
from tallyman.ports.clocks import Clock
from tallyman.ports.messages import Hints
from tallyman.ports.records import State
from tallyman.services.releases.rollout_progress import RUNNING, roll_out_hint, steps_of
from tallyman.services.shared.pauses import Pauses
from tallyman.state import leases, rollouts
from tallyman.state.leases import LEASES
from tallyman.state.releases import ReleaseState
from tallyman.state.rollouts import ROLLOUTS
from tallyman.values import value

OVERDUE = timedelta(minutes=15)
"""How long after a look was due, or the release was set, a rollout counts as abandoned. The queue delivers the message
of a killed worker again by itself after 12 minutes (its visibility timeout)."""
AGAIN = timedelta(hours=1)
"""The pause between two of these hints: about the life of a message that keeps failing (five receives)."""


@value
class Unfinished:
    """Hints `roll_out` of abandoned rollouts. One that failed permanently waits for a person or the next release."""

    policy: Policy
    state: State
    hints: Hints
    pauses: Pauses
    clock: Clock

    def take_up(self, environment: str, repository: str, release: ReleaseState, at_once: bool = False) -> bool:
        """Send a hint for the rollout of this release, which is in force, if the rollout is unfinished or was never
        begun and no worker holds its lease; return whether it did. `at_once`: a person asks, so the pauses don't
        apply.

        An extra hint does no harm: of two chains of hints only one continues. Cost: at most three GetItems.
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
        if not (at_once or self.pauses.is_over(key, AGAIN)):
            return False
        self.hints.send("roll_out", roll_out_hint(environment, repository))
        self.pauses.begin(key, AGAIN)
        return True

    def _is_held(self, environment: str, repository: str) -> bool:
        """Whether a worker holds the lease of the rollout now."""
        lease = LEASES.get(self.state, leases.key(environment, leases.of_rollout(repository)))
        return lease is not None and lease.until > self.clock()

"""Publishes the policy of this deployment: archives it by its digest, and records it as the one in force."""

from contextlib import suppress
from functools import partial

from tallyman.domain.history.details.base import new_fact
from tallyman.domain.history.details.upkeep import InForce
from tallyman.domain.history.facts import Kind
from tallyman.domain.policy import Policy
from tallyman.domain.times import whole_millis
from tallyman.errors import RevisionConflict
from tallyman.ports.clocks import Clock
from tallyman.ports.records import Archive, Ledger, State
from tallyman.state import policy as policy_items
from tallyman.state.policy import POLICY

FOLDER = "policies"
"""The folder of the archive."""


class PolicyInForce:
    """Publishes the policy once a process, before its first work.

    Not when the process starts: a transient failure of DynamoDB at import would cost the whole start.
    """

    def __init__(self, policy: Policy, archive: Archive, ledger: Ledger, state: State, clock: Clock) -> None:
        self._publish = partial(publish, policy, archive, ledger, state, clock)
        self._done = False

    def ensure(self) -> None:
        """Publish the policy if this process has not done it yet."""
        if not self._done:
            with suppress(RevisionConflict):  # another function does the same just now
                self._publish()
            self._done = True


def publish(policy: Policy, archive: Archive, ledger: Ledger, state: State, clock: Clock) -> bool:
    """Archive the policy and record that it came into force, unless it is in force with the same trust roots; return
    whether anything was written.

    Cost where nothing is written: one read. The object is written before the entry that names it.
    """
    entry = POLICY.read(state, policy_items.KEY)
    if entry.found is not None and (entry.found.digest, entry.found.roots) == (policy.digest, policy.roots):
        return False
    archive.put(FOLDER, policy.raw)
    now = whole_millis(clock())
    fact = new_fact(Kind.POLICY, (policy.digest, entry.revision), InForce(policy.digest, policy.roots), now)
    ledger.append(fact, entry.write(policy_items.PolicyInForce(policy.digest, now, policy.roots)))
    return True

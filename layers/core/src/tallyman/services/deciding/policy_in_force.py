"""Publishes the policy of this deployment: archives it by its digest, and records it as the one in force."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial

from tallyman.domain.history.details.base import new_fact
from tallyman.domain.history.details.upkeep import InForce
from tallyman.domain.history.facts import Kind
from tallyman.domain.policy import Policy
from tallyman.domain.times import whole_millis
from tallyman.errors import RevisionConflict
from tallyman.ports.clocks import Clock
from tallyman.ports.records import Archive, Ledger, State
from tallyman.services.deciding.renamed_environments import move_environment
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
    whether it did.

    Cost where nothing is written: one read. The object is written before the entry that names it. The state of an
    environment that only has another name now is moved before, so that nothing is decided without its freezes.
    """
    entry = POLICY.read(state, policy_items.KEY)
    found, places = entry.found, _places(policy)
    is_known = found is not None and (found.digest, found.roots) == (policy.digest, policy.roots)
    if found is not None and is_known and found.places == places:
        return False
    renamed = _renamed(found.places or {}, places) if found is not None else {}
    for old, new in renamed.items():
        move_environment(state, old, new, clock())
    if found is not None and is_known:
        state.put(entry.write(replace(found, places=places)))  # an earlier release wrote it
        return False
    archive.put(FOLDER, policy.raw)
    now = whole_millis(clock())
    fact = new_fact(Kind.POLICY, (policy.digest, entry.revision), InForce(policy.digest, policy.roots), now)
    names = {**(found.renamed or {} if found is not None else {}), **renamed}
    in_force = policy_items.PolicyInForce(policy.digest, now, policy.roots, places, names or None)
    ledger.append(fact, entry.write(in_force))
    return True


def _places(policy: Policy) -> dict[str, str]:
    """The repositories of each environment, in a form that can be compared."""
    return {
        name: " ".join([*sorted(map(str, environment.registries)), environment.repository])
        for name, environment in policy.environments.items()
    }


def _renamed(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """The new name of each environment that only has another name now: the same repositories under one name that the
    policy before did not have. (No two environments of a policy have the same repositories.)"""
    fresh = {places: name for name, places in now.items() if name not in before}
    return {name: fresh[places] for name, places in before.items() if name not in now and places in fresh}

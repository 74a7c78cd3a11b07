"""Keeps the policy that this code carries where everybody finds it: archived by digest, and named as in force."""

from tallyman.domain.history.facts import Fact, Kind, Via, fact_id
from tallyman.domain.policy import Policy
from tallyman.domain.times import format_time, whole_millis
from tallyman.ports.clocks import Clock
from tallyman.ports.records import Archive, Ledger, State, StateChange

POLICY_KEY = ("POLICY", "in-force")
"""The item of the state table: data {digest, at}."""
FOLDER = "policies"
"""The folder of the archive."""


def publish(policy: Policy, archive: Archive, ledger: Ledger, state: State, clock: Clock) -> bool:
    """Archives the policy and writes down that it came into force, if another was; whether it was news.

    Cost where it is no news: one read. The object is written before the entry that names it.
    """
    item = state.get(*POLICY_KEY)
    if item is not None and item.data["digest"] == policy.digest:
        return False
    archive.put(FOLDER, policy.raw)
    now = whole_millis(clock())
    fact = Fact(
        kind=Kind.POLICY,
        id=fact_id(Kind.POLICY, policy.digest, item.revision if item else 0),
        at=now,
        seen=now,
        via=Via.RECONCILED,
        detail={"policy": policy.digest},
    )
    data = {"digest": policy.digest, "at": format_time(now)}
    ledger.append(fact, StateChange(*POLICY_KEY, item.revision if item else 0, data))
    return True

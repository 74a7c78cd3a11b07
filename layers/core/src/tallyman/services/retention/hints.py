"""Hints to retention after pushes: one in a quarter of an hour for each repository, however many pushes there are."""

from contextlib import suppress
from datetime import datetime, timedelta

from tallyman.domain.names import Repository
from tallyman.domain.policy import Policy
from tallyman.errors import RevisionConflict
from tallyman.ports.messages import LONGEST_DELAY, Hints
from tallyman.ports.records import State
from tallyman.state.retention import ASKED, Asked, asked_key


def is_enforced(policy: Policy, repository: Repository) -> bool:
    """Whether the policy enforces removals in the repository."""
    environment, name = policy.environment_of(repository)
    retention = policy.repository(name).retention
    return environment is not None and retention.enforce and retention.removes


def hint_after_push(policy: Policy, state: State, hints: Hints, repository: Repository, now: datetime) -> bool:
    """Request a run of retention in a quarter of an hour, unless one was requested; return whether it did. Only where
    the policy enforces removals. Cost: a read, and at most a write and a message in that time."""
    if not is_enforced(policy, repository):
        return False
    entry = ASKED.read(state, asked_key(repository))
    if entry.found is not None and entry.found.until > now:
        return False
    until = now + timedelta(seconds=LONGEST_DELAY)
    # sent before it is recorded: a failure in between requests two runs, never none
    hints.send("retention", {"repository": str(repository)}, delay=LONGEST_DELAY)
    with suppress(RevisionConflict):  # another push has just requested one
        state.put(entry.write(Asked(until), until + timedelta(days=1)))
    return True

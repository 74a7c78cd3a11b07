"""Policies from plain data."""

from tallyman.domain.gates import GATES
from tallyman.domain.policy import Policy, parse_policy


def parsed(data: object) -> Policy:
    """The policy of this data; raises PolicyProblem."""
    return parse_policy(data, GATES)

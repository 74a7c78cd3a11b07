"""Rules of ECR's own replication: where a registry's images go by themselves, and the rule that a policy asks for."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from tallyman.domain.names import EcrRegistry
from tallyman.domain.policy import Policy
from tallyman.domain.policy.environments import NAME, Environment
from tallyman.values import value

_PREFIX = "PREFIX_MATCH"
_GLOB = "*?["


@value
class ReplicationRule:
    """One rule of a registry. `filters`: (type, text) of those of which one has to take a repository; none: all are
    taken. `removals`: removals travel too (`deleteReplication`)."""

    destinations: tuple[EcrRegistry, ...]
    filters: tuple[tuple[str, str], ...] = ()
    removals: bool = False

    def takes(self, repository: str) -> bool:
        """Whether a filter that is understood takes the repository of this name."""
        return not self.filters or any(kind == _PREFIX and repository.startswith(text) for kind, text in self.filters)

    def might_take(self, repository: str) -> bool:
        """The same, where a filter of an unknown type counts as one that takes it."""
        return self.takes(repository) or any(kind != _PREFIX for kind, _ in self.filters)

    def as_json(self) -> dict[str, Any]:
        """As PutReplicationConfiguration takes it."""
        shape: dict[str, Any] = {
            "destinations": [{"region": to.region, "registryId": to.account} for to in self.destinations]
        }
        if self.filters:
            shape["repositoryFilters"] = [{"filter": text, "filterType": kind} for kind, text in self.filters]
        if self.removals:
            shape["deleteReplication"] = {"enabled": True}
        return shape


def destinations(rules: Iterable[ReplicationRule], repository: str) -> frozenset[EcrRegistry]:
    """The registries to which ECR carries what is pushed to the repository of this name."""
    return frozenset(to for rule in rules if rule.takes(repository) for to in rule.destinations)


def wanted_rule(policy: Policy, environment: Environment) -> ReplicationRule:
    """The rule for the first registry of an environment that ECR replicates: the repositories that promotions bring
    there, by the fixed beginnings of their names."""
    before, _, _ = environment.repository.partition(NAME)
    starts = {
        before + _fixed(rule.match)
        for rule in policy.repositories
        if any(promotion.target == environment.name for promotion in rule.promotions)
    }
    shortest = sorted(s for s in starts if not any(s != other and s.startswith(other) for other in starts))
    return ReplicationRule(environment.replicas, tuple((_PREFIX, start) for start in shortest if start))


def set_up(policy: Policy, environment: Environment, rules: Sequence[ReplicationRule] = ()) -> str:
    """The command that adds what the policy asks for to these rules, and what else is to be set."""
    first = environment.registries[0]
    shape = {"rules": [rule.as_json() for rule in (*rules, wanted_rule(policy, environment))]}
    text = (
        f"aws ecr put-replication-configuration --region {first.region} --replication-configuration "
        f"'{json.dumps(shape, separators=(',', ':'))}' (in account {first.account})"
    )
    others = sorted({to.account for to in environment.replicas} - {first.account})
    if others:
        text += f"; a registry policy in {', '.join(others)} has to allow ecr:ReplicateImage to account {first.account}"
    return text


def _fixed(glob: str) -> str:
    """What every name that the glob matches begins with."""
    ends = [glob.index(mark) for mark in _GLOB if mark in glob]
    return glob[: min(ends, default=len(glob))]

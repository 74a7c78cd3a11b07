"""Rules of ECR's own replication: where ECR copies a registry's images, and the rule that a policy needs."""

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
    """One rule of a registry. `filters`: (type, text) of each; the rule takes a repository where one filter matches,
    and every repository where it has none. `removals`: ECR replicates removals too (`deleteReplication`)."""

    destinations: tuple[EcrRegistry, ...]
    filters: tuple[tuple[str, str], ...] = ()
    removals: bool = False

    def takes(self, repository: str) -> bool:
        """Whether a filter of a known type matches the repository of this name."""
        return not self.filters or any(kind == _PREFIX and repository.startswith(text) for kind, text in self.filters)

    def might_take(self, repository: str) -> bool:
        """The same, where a filter of an unknown type counts as one that matches."""
        return self.takes(repository) or any(kind != _PREFIX for kind, _ in self.filters)

    def as_json(self) -> dict[str, Any]:
        """The rule in the form that PutReplicationConfiguration takes."""
        shape: dict[str, Any] = {
            "destinations": [{"region": to.region, "registryId": to.account} for to in self.destinations]
        }
        if self.filters:
            shape["repositoryFilters"] = [{"filter": text, "filterType": kind} for kind, text in self.filters]
        if self.removals:
            shape["deleteReplication"] = {"enabled": True}
        return shape


def destinations(rules: Iterable[ReplicationRule], repository: str) -> frozenset[EcrRegistry]:
    """The registries to which these rules replicate the repository of this name."""
    return frozenset(to for rule in rules if rule.takes(repository) for to in rule.destinations)


def wanted_rule(policy: Policy, environment: Environment) -> ReplicationRule:
    """The rule that the first registry of a `replicate: native` environment needs: for the repositories that promotions
    fill, by the fixed beginnings of their names."""
    before, _, _ = environment.repository.partition(NAME)
    starts = {
        before + _fixed(rule.match)
        for rule in policy.repositories
        if any(promotion.target == environment.name for promotion in rule.promotions)
    }
    shortest = sorted(s for s in starts if not any(s != other and s.startswith(other) for other in starts))
    return ReplicationRule(environment.replicas, tuple((_PREFIX, start) for start in shortest if start))


def set_up(policy: Policy, environment: Environment, rules: Sequence[ReplicationRule] = ()) -> str:
    """The `aws` command that adds the wanted rule to `rules`, and which registry policies have to be set."""
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
    """The part of the glob before its first wildcard."""
    ends = [glob.index(mark) for mark in _GLOB if mark in glob]
    return glob[: min(ends, default=len(glob))]

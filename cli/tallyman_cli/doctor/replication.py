"""Checks that ECR's replication rules cover the environments that the policy leaves to it (`replicate: native`)."""

from collections.abc import Iterable, Iterator, Sequence

from tallyman.adapters.ecr.replication import EcrReplication
from tallyman.domain.images.details import RepositorySettings
from tallyman.domain.policy import Policy
from tallyman.domain.policy.environments import Environment
from tallyman.domain.replication import ReplicationRule, destinations, set_up, wanted_rule
from tallyman.errors import TallymanError
from tallyman.ports.registries import Replication
from tallyman_cli.doctor.finding import BAD, OK, UNKNOWN, WARN, Finding, Site

TITLE = "replication"


def replications(site: Site) -> Iterator[Finding]:
    """Check the rules of the first registry of each environment that ECR replicates: one for each, and one more where
    the rules replicate removals too. Cost for each: a DescribeRegistry, and a listing of its repositories, unless
    another check made one."""
    for environment in site.stack.policy.environments.values():
        if not environment.replicas:
            continue
        try:
            yield from _environment(site, environment, EcrReplication(site.stack.clients()))
        except TallymanError as error:
            yield Finding(
                TITLE,
                UNKNOWN,
                f"{environment.name}: {error}",
                f"use credentials that may read {environment.registries[0]}",
            )


def _environment(site: Site, environment: Environment, replication: Replication) -> Iterator[Finding]:
    first = environment.registries[0]
    policy, rules = site.stack.policy, replication.rules(first)
    there = held(policy, environment, site.repositories(first))
    yield judged(policy, environment, rules, there)
    names = [*there, *starts(policy, environment)]
    if any(rule.removals and rule.might_take(name) for rule in rules for name in names):
        yield Finding(
            TITLE,
            WARN,
            f"{environment.name}: a removal in {first} removes in other registries too (deleteReplication)",
            "switch deleteReplication off in the registry's replication rule",
        )


def held(policy: Policy, environment: Environment, listed: Iterable[RepositorySettings]) -> list[str]:
    """The names, in its first registry, of the repositories that promotions to this environment fill. `listed`: all
    repositories of that registry."""
    owned = [(each.repository.name, *policy.environment_of(each.repository)) for each in listed]
    return [own for own, owner, name in owned if owner == environment and policy.is_target(environment.name, name)]


def starts(policy: Policy, environment: Environment) -> list[str]:
    """The beginnings of the names of all repositories that promotions to this environment may fill."""
    return [text for _, text in wanted_rule(policy, environment).filters] or [""]


def judged(policy: Policy, environment: Environment, rules: Sequence[ReplicationRule], there: Sequence[str]) -> Finding:
    """Whether these rules of the first registry replicate every repository to all others. `there`: the repositories
    that it has now; those that promotions may create count too."""
    first = environment.registries[0]
    lacking = _lacking(environment, rules, there)
    later = _lacking(environment, rules, starts(policy, environment))
    if not lacking and not later:
        to = ", ".join(map(str, environment.replicas))
        return Finding(TITLE, OK, f"{environment.name}: ECR replicates from {first} to {to}")
    command = set_up(policy, environment, rules)
    todo = f"{command}; the command replaces the rules of that registry, and repeats those that it has"
    if lacking:
        found = f"{environment.name}: no rule of {first} replicates {'; '.join(lacking)}: promotions there wait"
        return Finding(TITLE, BAD, found, todo)
    found = f"{environment.name}: no rule of {first} would replicate every repository that promotions may create"
    return Finding(TITLE, WARN, found, todo)


def _lacking(environment: Environment, rules: Sequence[ReplicationRule], names: Sequence[str]) -> list[str]:
    """The repositories that the rules do not replicate to every registry, each with the registries that it misses."""
    found = []
    for name in names:
        reached = destinations(rules, name)
        missing = [to for to in environment.replicas if to not in reached]
        if missing:
            found.append(f"{name or 'every repository'} to {', '.join(map(str, missing))}")
    return found

"""Checks that releases can move the ECS services that the policy names: only those with rolling updates."""

from collections.abc import Iterator

from tallyman.adapters.aws.clients import Clients
from tallyman.adapters.aws.rollouts import not_rolling
from tallyman.adapters.errors.translate import translated
from tallyman.domain.names import EcrRegistry
from tallyman.domain.policy import Policy, Runs, Service
from tallyman.errors import NotFound, TallymanError
from tallyman_cli.doctor.finding import BAD, OK, UNKNOWN, Finding, Site

TITLE = "rollouts"


def moved_by_ecs(policy: Policy) -> Iterator[tuple[EcrRegistry, Service]]:
    """Each ECS service that the policy names under `rollout`, with the registry in whose account and region it runs."""
    for environment in policy.environments.values():
        for service in environment.rollout.services if environment.rollout else ():
            if service.runs is Runs.ECS:
                for registry in environment.registries:
                    yield registry, service


def deployed_how(clients: Clients, registry: EcrRegistry, service: Service) -> Finding:
    """Whether a release can move the service. One DescribeServices."""
    named = f"{service} in {registry}"
    cluster, _, name = service.name.partition("/")
    try:
        with translated(f"describe {named}"):
            answer = clients.get("ecs", registry).describe_services(cluster=cluster, services=[name])
    except NotFound:
        answer = {}  # there is no such cluster
    except TallymanError as error:
        return Finding(TITLE, UNKNOWN, str(error), f"use credentials that may read {registry}")
    found = [s for s in answer.get("services", []) if s.get("status") != "INACTIVE"]
    if not found:
        return Finding(TITLE, BAD, f"there is no {named}", "create it, or take it out of `rollout` in the policy")
    if why := not_rolling(found[0]):
        todo = "let its own controller take the event Image Released, or change the service to rolling updates"
        return Finding(TITLE, BAD, f"{named} can't be moved by a release: {why}", todo)
    return Finding(TITLE, OK, f"{named} uses rolling updates")


def rollouts(site: Site) -> Iterator[Finding]:
    """One for each service and registry, at the cost of a DescribeServices; none where the policy rolls nothing out to
    ECS."""
    for registry, service in moved_by_ecs(site.stack.policy):
        yield deployed_how(site.stack.clients(), registry, service)

"""Where ECR's own replication would carry a removal, by ECR's API."""

from tallyman.adapters.aws.clients import Clients
from tallyman.adapters.errors.translate import translated
from tallyman.domain.names import Registry, Repository
from tallyman.domain.permissions import permissions


class EcrReplication:
    """`Replication`, with the role that reads."""

    PERMISSIONS: tuple[str, ...] = permissions("ecr:DescribeRegistry")

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def removal_reaches(self, repository: Repository) -> list[Registry]:
        """The registries in which a removal here removes too: destinations of rules with `deleteReplication` whose
        filters (prefixes; none: all) take the repository. One DescribeRegistry."""
        with translated(f"read the replication of {repository.registry}"):
            answer = self._clients.get("ecr", repository.registry).describe_registry()
        found: dict[Registry, None] = {}
        for rule in answer.get("replicationConfiguration", {}).get("rules", []):
            if not (rule.get("deleteReplication") or {}).get("enabled"):
                continue
            filters = rule.get("repositoryFilters", [])
            if not filters or any(repository.name.startswith(f["filter"]) for f in filters):
                found.update((Registry(d["registryId"], d["region"]), None) for d in rule.get("destinations", []))
        return list(found)

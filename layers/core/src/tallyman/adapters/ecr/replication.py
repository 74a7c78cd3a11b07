"""Where ECR's own replication would carry a removal, by ECR's API."""

from collections.abc import Mapping
from typing import Any

from tallyman.adapters.aws.clients import Clients
from tallyman.adapters.aws.paging import listed
from tallyman.adapters.errors.translate import translated
from tallyman.domain.names import EcrRegistry, Repository
from tallyman.domain.permissions import permissions


class EcrReplication:
    """`Replication`, with the role that reads."""

    PERMISSIONS: tuple[str, ...] = permissions("ecr:DescribeRegistry")

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def removal_reaches(self, repository: Repository) -> list[EcrRegistry]:
        """The registries in which a removal here removes too: destinations of rules with `deleteReplication` whose
        filters (prefixes; none: all) take the repository. One DescribeRegistry."""
        what = f"read the replication of {repository.registry}"
        with translated(what):
            answer = self._clients.get("ecr", repository.registry).describe_registry()
        found: dict[EcrRegistry, None] = {}
        for rule in listed(answer.get("replicationConfiguration") or {}, "rules", what):
            if not (rule.get("deleteReplication") or {}).get("enabled"):
                continue
            filters = rule.get("repositoryFilters") or []
            if not filters or any(_takes(each, repository.name) for each in filters):
                found.update(
                    (EcrRegistry(d["registryId"], d["region"]), None) for d in listed(rule, "destinations", what)
                )
        return list(found)


def _takes(each: Mapping[str, Any], name: str) -> bool:
    """Whether a rule's filter takes the repository; one of an unknown type might."""
    return each.get("filterType", "PREFIX_MATCH") != "PREFIX_MATCH" or name.startswith(str(each.get("filter", "")))

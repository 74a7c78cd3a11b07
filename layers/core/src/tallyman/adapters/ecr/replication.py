"""ECR's own replication through its API: the rules, and the status of an image."""

from tallyman.adapters.aws.paging import listed
from tallyman.adapters.ecr.calls import EcrAdapter, names
from tallyman.adapters.errors.translate import translated
from tallyman.domain.images.details import ReplicationStatus
from tallyman.domain.names import Digest, EcrRegistry, Repository
from tallyman.domain.permissions import permissions
from tallyman.domain.replication import ReplicationRule


class EcrReplication(EcrAdapter):
    """`Replication`, with the role that reads."""

    PERMISSIONS: tuple[str, ...] = permissions("ecr:DescribeRegistry")

    def rules(self, registry: EcrRegistry) -> list[ReplicationRule]:
        """The registry's rules. One DescribeRegistry."""
        what = f"read the replication of {registry}"
        with translated(what):
            answer = self._clients.get("ecr", registry).describe_registry()
        return [
            ReplicationRule(
                tuple(EcrRegistry(d["registryId"], d["region"]) for d in listed(rule, "destinations", what)),
                tuple(
                    (str(f.get("filterType", "PREFIX_MATCH")), str(f.get("filter", "")))
                    for f in rule.get("repositoryFilters") or []
                ),
                bool((rule.get("deleteReplication") or {}).get("enabled")),
            )
            for rule in listed(answer.get("replicationConfiguration") or {}, "rules", what)
        ]

    def removal_reaches(self, repository: Repository) -> list[EcrRegistry]:
        """The registries to which ECR replicates a removal: the destinations of rules with `deleteReplication` whose
        filters might match the repository. One DescribeRegistry."""
        rules = self.rules(repository.registry)
        reached = (to for r in rules if r.removals and r.might_take(repository.name) for to in r.destinations)
        return list(dict.fromkeys(reached))


class EcrImageReplication(EcrReplication):
    """`ImageReplication`: for promotions."""

    PERMISSIONS = permissions("ecr:DescribeRegistry", "ecr:DescribeImageReplicationStatus")

    def statuses(self, repository: Repository, digest: Digest) -> dict[EcrRegistry, ReplicationStatus]:
        """The status in each destination, in lower case. One DescribeImageReplicationStatus."""
        client = self._client(repository)
        what = f"read the replication of {repository}@{digest}"
        with translated(what):
            answer = client.describe_image_replication_status(**names(repository), imageId={"imageDigest": digest})
        return {
            EcrRegistry(found["registryId"], found["region"]): ReplicationStatus(
                str(found.get("status", "")).lower(), found.get("failureCode")
            )
            for found in listed(answer, "replicationStatuses", what)
        }

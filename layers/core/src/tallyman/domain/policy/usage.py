"""`usage`: the EKS clusters whose usage of images is not read."""

from tallyman.domain.names import EcrRegistry
from tallyman.domain.policy.shapes import Key, ListOf, Record, String
from tallyman.domain.policy.tags import glob_matches
from tallyman.values import value


@value
class UsageRules:
    """`ignored_clusters`: patterns of `account/region/cluster`. Every other cluster must be readable; where it is not,
    the usage of images is unknown."""

    ignored_clusters: tuple[str, ...] = ()

    def reads(self, registry: EcrRegistry, cluster: str) -> bool:
        """Whether the cluster of this account and region is read."""
        return not any(glob_matches(pattern, f"{registry}/{cluster}") for pattern in self.ignored_clusters)

    def reads_any(self, registry: EcrRegistry) -> bool:
        """Whether any cluster there may be read. `*` is the only wildcard of a pattern, and no cluster's name has one:
        a pattern that matches the name `*` matches every name."""
        return self.reads(registry, "*")


_CLUSTERS = String(
    r"(?:[0-9]{12}|\*)(?:/[a-z0-9*-]+)?/[A-Za-z0-9_*-]+",
    'clusters by account/region/name, as in "222222222222/us-east-2/sandbox-*" or "222222222222/*"',
)
_EKS = Record(
    {"ignore": Key(ListOf(_CLUSTERS), "Clusters that are not read, because they run no image of these registries.")},
    UsageRules,
    expected='the clusters to ignore, as in {ignore: ["222222222222/us-east-2/sandbox-*"]}',
    renamed={"ignore": "ignored_clusters"},
)
USAGE = Record(
    {
        "eks": Key(
            _EKS, "EKS clusters. All in the accounts and regions of the policy are read, except those in `ignore`."
        )
    },
    lambda **read: read.get("eks", UsageRules()),
    expected='sources of usage, as in {eks: {ignore: ["222222222222/us-east-2/sandbox-*"]}}',
)

"""Checks that the EKS clusters can be read whose images retention has to keep."""

from collections.abc import Iterator

from tallyman.adapters.usage.eks import EksClusters
from tallyman_cli.doctor.finding import OK, UNKNOWN, Finding, Site

TITLE = "clusters"
_TODO = "let it be read, or name it in `usage.eks.ignore`: until then retention removes nothing that it could run"


def clusters(site: Site) -> Iterator[Finding]:
    """Read each cluster as a retention plan does, with the person's own credentials, at the same cost: one for each,
    and one where an account's clusters can't be listed; none where there is no cluster."""
    stack = site.stack
    source = EksClusters(stack.clients())
    for registry in stack.policy.registries():
        for reading in source.readings(registry, stack.clock(), stack.policy.usage):
            if reading.error is not None:
                yield Finding(TITLE, UNKNOWN, reading.error, _TODO)
            elif reading.source != "EKS":
                yield Finding(TITLE, OK, f"{reading.source} in {registry} can be read")

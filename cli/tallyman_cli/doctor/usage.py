"""Checks that the sources of usage can be read, by which retention and recalls find what runs an image."""

from collections.abc import Iterator

from tallyman.adapters.usage.eks import EksClusters
from tallyman.adapters.usage.references import SOURCES, reading
from tallyman_cli.doctor.finding import OK, UNKNOWN, Finding, Site

USAGE, CLUSTERS = "usage", "clusters"
_TODO = "use credentials that may read it: while the functions can't, retention removes nothing that it could run"
_EKS_TODO = "let it be read, or name it in `usage.eks.ignore`: until then retention removes nothing that it could run"


def usage(site: Site) -> Iterator[Finding]:
    """Read ECS, Lambda, Batch and Inspector in each account and region as a retention plan does, with the person's own
    credentials, at the same cost."""
    stack = site.stack
    sources = [source(stack.clients()) for source in SOURCES]
    for registry in stack.policy.registries():
        readings = [reading(source, registry, stack.clock()) for source in sources]
        yield from (
            Finding(USAGE, UNKNOWN, f"{each.source} of {registry} can't be read: {each.error}", _TODO)
            for each in readings
            if each.error is not None
        )
        if read := [each.source for each in readings if each.error is None]:
            yield Finding(USAGE, OK, f"{', '.join(read)} in {registry} can be read")


def clusters(site: Site) -> Iterator[Finding]:
    """Read each EKS cluster in the same way: one for each, and one where an account's clusters can't be listed; none
    where there is no cluster."""
    stack = site.stack
    source = EksClusters(stack.clients())
    for registry in stack.policy.registries():
        for each in source.readings(registry, stack.clock(), stack.policy.usage):
            if each.error is not None:
                yield Finding(CLUSTERS, UNKNOWN, each.error, _EKS_TODO)
            elif each.source != "EKS":
                yield Finding(CLUSTERS, OK, f"{each.source} in {registry} can be read")

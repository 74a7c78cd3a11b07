"""Checks that the sources of usage can be read, by which retention and recalls find what runs an image."""

from collections.abc import Iterator

from tallyman.adapters.usage.references import SOURCES, reading
from tallyman_cli.doctor.finding import OK, UNKNOWN, Finding, Site

TITLE = "usage"
_TODO = "use credentials that may read it: while the functions can't, retention removes nothing that it could run"


def usage(site: Site) -> Iterator[Finding]:
    """Read ECS, Lambda, Batch and Inspector in each account and region as a retention plan does, with the person's own
    credentials, at the same cost; EKS has a check of its own."""
    stack = site.stack
    sources = [source(stack.clients()) for source in SOURCES]
    for registry in stack.policy.registries():
        readings = [reading(source, registry, stack.clock()) for source in sources]
        yield from (
            Finding(TITLE, UNKNOWN, f"{each.source} of {registry} can't be read: {each.error}", _TODO)
            for each in readings
            if each.error is not None
        )
        if read := [each.source for each in readings if each.error is None]:
            yield Finding(TITLE, OK, f"{', '.join(read)} in {registry} can be read")

"""What runs an image, by the sources of usage: ECS, EKS, Lambda …"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tallyman.domain.names import Repository
from tallyman.domain.retention import Reading
from tallyman.domain.usage import Use, used_tag
from tallyman_cli.shared.context import Stack


def read_usage(stack: Stack) -> list[Reading]:
    """What every source of usage reports now."""
    inputs, _ = stack.retention_inputs(stack.policy)
    return inputs.readings()


def running(
    readings: Sequence[Reading],
    digests: Collection[str],
    tags: Mapping[Repository, Collection[str]],
    only: Collection[Repository] | None = None,
) -> list[Use]:
    """What runs one of the digests, or by its tag one of `tags` of a repository. `only`: the repositories whose digests
    count, and digests of which a source names no repository; None: those of any repository."""

    def counts(use: Use) -> bool:
        if use.digest is None:
            return use.repository is not None and used_tag(use) in tags.get(use.repository, ())
        return use.digest in digests and (only is None or use.repository is None or use.repository in only)

    return [use for reading in readings for use in reading.uses if counts(use)]


def unread(readings: Sequence[Reading]) -> list[dict[str, Any]]:
    """The sources that could not be read: `{source, where, error}`."""
    return [{"source": r.source, "where": str(r.where), "error": r.error} for r in readings if r.error]

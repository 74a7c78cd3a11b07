"""Which images a repository holds. The item of a removed image stays for 30 days, so that its revision continues."""

from datetime import timedelta

from tallyman.domain.names import Digest, Repository
from tallyman.state.base import StateValue
from tallyman.state.items import ItemKind, Key
from tallyman.values import value

GONE_KEPT = timedelta(days=30)
"""How long the item of a removed image stays."""


@value
class HeldImage(StateValue):
    """Whether the registry holds the image, and whether it is in ECR's archive."""

    present: bool
    archived: bool


def partition(repository: Repository) -> str:
    """The partition of a repository's images; sort key: the digest."""
    return f"R#{repository}"


def key(repository: Repository, digest: Digest) -> Key:
    """The key of one image."""
    return partition(repository), digest


IMAGES = ItemKind(HeldImage, "R#<registry>/<repository>", "digest", "whether the registry holds the image")

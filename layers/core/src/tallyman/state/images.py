"""Which images a repository holds. The item of a removed image stays for 30 days, so that its revision continues."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from tallyman.domain.names import Digest, Repository
from tallyman.state.items import ItemKind, Key
from tallyman.values import value

GONE_KEPT = timedelta(days=30)
"""How long the item of a removed image stays."""


@value
class HeldImage:
    """Whether the registry holds the image, and whether it is in ECR's archive."""

    present: bool
    archived: bool


def partition(repository: Repository) -> str:
    """The partition of a repository's images; sort key: the digest."""
    return f"R#{repository}"


def key(repository: Repository, digest: Digest) -> Key:
    """The key of one image."""
    return partition(repository), digest


def _parse(data: Mapping[str, Any]) -> HeldImage:
    return HeldImage(bool(data["present"]), bool(data["archived"]))


def _dump(image: HeldImage) -> dict[str, Any]:
    return {"present": image.present, "archived": image.archived}


IMAGES = ItemKind("R#<registry>/<repository>", "digest", "whether the registry holds the image", _parse, _dump)

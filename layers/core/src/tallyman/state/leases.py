"""Leases: which worker works on what. An item's revision is the fencing token."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from tallyman.domain.names import Digest
from tallyman.domain.times import format_time, parse_time
from tallyman.state.items import ItemKind, Key
from tallyman.values import value

KEPT = timedelta(days=1)
"""How long the item of an ended lease stays, so that its revision continues."""


@value
class LeaseState:
    """The holder of the lease, and when it ends unless it is renewed."""

    owner: str
    until: datetime


def key(environment: str, what: str) -> Key:
    """The key of the lease on something in an environment."""
    return f"L#{environment}", what


def of_image(repository: str, digest: Digest) -> str:
    """The `what` of the lease for staging an image's content, or removing the image."""
    return f"{repository}@{digest}"


def of_rollout(repository: str) -> str:
    """The `what` of the lease for rolling out a release; not a possible name of a repository."""
    return f"roll-out {repository}"


def _parse(data: Mapping[str, Any]) -> LeaseState:
    return LeaseState(str(data["owner"]), parse_time(data["until"]))


def _dump(lease: LeaseState) -> dict[str, Any]:
    return {"owner": lease.owner, "until": format_time(lease.until)}


LEASES = ItemKind(
    "L#<environment>",
    "`<repository>` (tags and release), `<repository>@<digest>` (content), `roll-out <repository>`",
    "a lease",
    _parse,
    _dump,
)

"""Leases: who works on what. An item's revision is the fencing token."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from tallyman.domain.names import Digest
from tallyman.domain.times import format_time, parse_time
from tallyman.state.items import ItemKind, Key
from tallyman.values import value

KEPT = timedelta(days=1)
"""How long an ended lease stays, so that its revision goes on counting."""


@value
class LeaseState:
    """Who holds it, and until when if it is not renewed."""

    owner: str
    until: datetime


def key(environment: str, what: str) -> Key:
    """The key of the lease on something in an environment."""
    return f"L#{environment}", what


def of_image(repository: str, digest: Digest) -> str:
    """What is leased while content of an image is staged, or while it is removed."""
    return f"{repository}@{digest}"


def of_rollout(repository: str) -> str:
    """What is leased while a release is rolled out; no repository is called so."""
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

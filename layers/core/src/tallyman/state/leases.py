"""Leases: which worker works on what. An item's revision is the fencing token."""

from datetime import datetime, timedelta

from tallyman.domain.names import Digest
from tallyman.state.base import StateValue
from tallyman.state.items import ItemKind, Key
from tallyman.values import value

KEPT = timedelta(days=1)
"""How long the item of an ended lease stays, so that its revision continues."""


@value
class LeaseState(StateValue):
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


LEASES = ItemKind(
    LeaseState,
    "L#<environment>",
    "`<repository>` (tags and release), `<repository>@<digest>` (content), `roll-out <repository>`",
    "a lease",
)

"""Repositories that a promotion is creating. The item is removed once the repository policy is set; one that remains
shows that Tallyman may have created a repository without its policy."""

from datetime import datetime

from tallyman.domain.names import Repository
from tallyman.state.base import StateValue
from tallyman.state.items import ItemKind, Key
from tallyman.values import value

PARTITION = "S#creating"


@value
class Creation(StateValue):
    """The environment, the canonical name, and when the creation began."""

    environment: str
    name: str
    at: datetime


def key(place: Repository) -> Key:
    """The key of one repository."""
    return PARTITION, str(place)


CREATIONS = ItemKind(Creation, PARTITION, "`<registry>/<repository>`", "a new repository whose policy is not set yet")

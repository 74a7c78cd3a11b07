"""Recently changed repositories, which each run of reconcile reads."""

from datetime import datetime

from tallyman.domain.names import Repository
from tallyman.state.base import StateValue
from tallyman.state.items import ItemKind, Key, ListsItems
from tallyman.values import value

PARTITION = "A#active"


@value
class Active(StateValue):
    """When the repository last changed."""

    at: datetime


def key(repository: Repository) -> Key:
    """The key of one repository."""
    return PARTITION, str(repository)


ACTIVE = ItemKind(Active, PARTITION, "`<registry>/<repository>`", "the repository changed recently")


def repositories(state: ListsItems) -> list[Repository]:
    """All recently changed repositories; also some whose item has expired, but is not removed yet. One Query."""
    return [Repository.parse(entry.sk) for entry in ACTIVE.list(state, PARTITION)]

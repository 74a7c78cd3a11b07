"""Repositories with `push: tallyman-only` whose repository policy does not enforce it."""

from datetime import datetime

from tallyman.domain.names import Repository
from tallyman.state.base import StateValue
from tallyman.state.items import ItemKind, Key
from tallyman.values import value


@value
class GuardState(StateValue):
    """What is wrong, and since when. `notified`: a notice was sent."""

    problem: str
    since: datetime
    notified: bool


PARTITION = "S#guard"


def key(place: Repository) -> Key:
    """The key of one repository."""
    return PARTITION, str(place)


GUARDS = ItemKind(GuardState, PARTITION, "`<registry>/<repository>`", "a repository that others could push to")

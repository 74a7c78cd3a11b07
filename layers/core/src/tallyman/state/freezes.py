"""Which environments and repositories are frozen. A thawed item stays, with `frozen` false."""

from datetime import datetime

from tallyman.state.base import StateValue
from tallyman.state.items import ItemKind, Key
from tallyman.values import value

_ALL = "*"


@value
class FreezeState(StateValue):
    """Whether it is frozen, since when, by whom and why. `id`: that of the fact."""

    frozen: bool
    at: datetime
    id: str
    by: str
    because: str | None


def partition(environment: str) -> str:
    """The partition of an environment's freezes; sort key: the repository, or `*` for the whole environment."""
    return f"F#{environment}"


def key(environment: str, repository: str | None) -> Key:
    """The key for one repository, or (None) for the whole environment."""
    return partition(environment), repository or _ALL


def parse_key(key: Key) -> tuple[str, str | None]:
    """Environment and repository (None: all of them) of a key."""
    return key[0].removeprefix("F#"), None if key[1] == _ALL else key[1]


FREEZES = ItemKind(FreezeState, "F#<environment>", "repository or `*`", "whether it is frozen")

"""Which environments and repositories are frozen. A thawed item stays, with `frozen` false."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tallyman.domain.times import format_time, parse_time
from tallyman.state.items import ItemKind, Key
from tallyman.values import value

_ALL = "*"


@value
class FreezeState:
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


def _parse(data: Mapping[str, Any]) -> FreezeState:
    return FreezeState(bool(data["frozen"]), parse_time(data["at"]), data["id"], data["by"], data["because"])


def _dump(freeze: FreezeState) -> dict[str, Any]:
    return {
        "frozen": freeze.frozen,
        "at": format_time(freeze.at),
        "id": freeze.id,
        "by": freeze.by,
        "because": freeze.because,
    }


FREEZES = ItemKind("F#<environment>", "repository or `*`", "whether it is frozen", _parse, _dump)

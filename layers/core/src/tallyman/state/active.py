"""Recently changed repositories, which each run of reconcile reads."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tallyman.domain.names import Repository
from tallyman.domain.times import format_time, parse_time
from tallyman.state.items import ItemKind, Key, ListsItems
from tallyman.values import value

PARTITION = "A#active"


@value
class Active:
    """When the repository last changed."""

    at: datetime


def key(repository: Repository) -> Key:
    """The key of one repository."""
    return PARTITION, str(repository)


def _parse(data: Mapping[str, Any]) -> Active:
    return Active(parse_time(data["at"]))


def _dump(active: Active) -> dict[str, Any]:
    return {"at": format_time(active.at)}


ACTIVE = ItemKind("A#active", "`<registry>/<repository>`", "the repository changed recently", _parse, _dump)


def repositories(state: ListsItems) -> list[Repository]:
    """All recently changed repositories; also some whose item has expired, but is not removed yet. One Query."""
    return [Repository.parse(entry.sk) for entry in ACTIVE.list(state, PARTITION)]

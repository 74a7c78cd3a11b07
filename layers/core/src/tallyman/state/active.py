"""Repositories where something happened of late, which reconcile looks at each time."""

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
    """When something happened there."""

    at: datetime


def key(repository: Repository) -> Key:
    """The key of one repository."""
    return PARTITION, str(repository)


def _parse(data: Mapping[str, Any]) -> Active:
    return Active(parse_time(data["at"]))


def _dump(active: Active) -> dict[str, Any]:
    return {"at": format_time(active.at)}


ACTIVE = ItemKind("A#active", "`<registry>/<repository>`", "that something happened there of late", _parse, _dump)


def repositories(state: ListsItems) -> list[Repository]:
    """All that are marked, those too whose mark has expired but is still there. One Query."""
    return [Repository.parse(entry.sk) for entry in ACTIVE.list(state, PARTITION)]

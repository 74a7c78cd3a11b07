"""Repositories that we are about to create. An item goes once the repository policy is set: one that stays shows that a
repository may be ours and lack its policy."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tallyman.domain.names import Repository
from tallyman.domain.times import format_time, parse_time
from tallyman.state.items import ItemKind, Key
from tallyman.values import value

PARTITION = "S#creating"


@value
class Creation:
    """For which environment, under which canonical name, begun when."""

    environment: str
    name: str
    at: datetime


def key(place: Repository) -> Key:
    """The key of one repository."""
    return PARTITION, str(place)


def _parse(data: Mapping[str, Any]) -> Creation:
    return Creation(str(data["environment"]), str(data["name"]), parse_time(data["at"]))


def _dump(creation: Creation) -> dict[str, Any]:
    return {"environment": creation.environment, "name": creation.name, "at": format_time(creation.at)}


CREATIONS = ItemKind(
    "S#creating", "`<registry>/<repository>`", "a repository of ours whose policy is not set yet", _parse, _dump
)

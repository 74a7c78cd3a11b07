"""Repositories that a promotion is creating. The item is removed once the repository policy is set; one that remains
shows that Tallyman may have created a repository without its policy."""

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
    """The environment, the canonical name, and when the creation began."""

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
    "S#creating", "`<registry>/<repository>`", "a new repository whose policy is not set yet", _parse, _dump
)

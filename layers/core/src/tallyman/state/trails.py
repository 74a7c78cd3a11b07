"""How far CloudTrail's history of each registry was read."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tallyman.domain.names import Registry
from tallyman.domain.times import format_time, parse_time
from tallyman.state.items import ItemKind, Key
from tallyman.values import value


@value
class TrailRead:
    """All calls between these times are in the ledger."""

    since: datetime
    until: datetime


PARTITION = "S#trail"


def key(registry: Registry) -> Key:
    """The key of one registry."""
    return PARTITION, str(registry)


def _parse(data: Mapping[str, Any]) -> TrailRead:
    return TrailRead(parse_time(data["since"]), parse_time(data["until"]))


def _dump(read: TrailRead) -> dict[str, Any]:
    return {"since": format_time(read.since), "until": format_time(read.until)}


TRAILS = ItemKind("S#trail", "`<account>/<region>`", "how far CloudTrail's history was read", _parse, _dump)

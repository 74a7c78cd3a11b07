"""The progress of reading CloudTrail's history for each registry."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tallyman.domain.names import EcrRegistry
from tallyman.domain.times import format_time, parse_time
from tallyman.state.items import ItemKind, Key
from tallyman.values import value


@value
class TrailPart:
    """A partly read window of time. `position`: where to continue. `settled`: CloudTrail had all calls until then when
    reading began."""

    since: datetime
    until: datetime
    settled: datetime
    position: str


@value
class TrailRead:
    """All calls between `since` and `until` are in the ledger. `ahead`, `behind`: the windows after and before that are
    partly read."""

    since: datetime
    until: datetime
    ahead: TrailPart | None = None
    behind: TrailPart | None = None


PARTITION = "S#trail"


def key(registry: EcrRegistry) -> Key:
    """The key of one registry."""
    return PARTITION, str(registry)


def _parse(data: Mapping[str, Any]) -> TrailRead:
    ahead, behind = (_parse_part(data.get(name)) for name in ("ahead", "behind"))
    return TrailRead(parse_time(data["since"]), parse_time(data["until"]), ahead, behind)


def _parse_part(data: Mapping[str, Any] | None) -> TrailPart | None:
    if data is None:
        return None
    since, until, settled = (parse_time(data[name]) for name in ("since", "until", "settled"))
    return TrailPart(since, until, settled, data["position"])


def _dump(read: TrailRead) -> dict[str, Any]:
    parts = {"ahead": read.ahead, "behind": read.behind}
    span = {"since": format_time(read.since), "until": format_time(read.until)}
    return span | {name: _dump_part(part) for name, part in parts.items() if part}


def _dump_part(part: TrailPart) -> dict[str, Any]:
    times = {"since": part.since, "until": part.until, "settled": part.settled}
    return {name: format_time(at) for name, at in times.items()} | {"position": part.position}


TRAILS = ItemKind("S#trail", "`<account>/<region>`", "what of CloudTrail's history was read", _parse, _dump)

"""Recent requests of reconcile (scans, verifications), so that it does not repeat them too soon."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tallyman.domain.times import format_time, parse_time
from tallyman.state.items import ItemKind, Key
from tallyman.values import value


@value
class Asked:
    """When the request was made."""

    at: datetime


def key(what: str) -> Key:
    """The key of one request."""
    return "S#asked", what


def _parse(data: Mapping[str, Any]) -> Asked:
    return Asked(parse_time(data["at"]))


def _dump(asked: Asked) -> dict[str, Any]:
    return {"at": format_time(asked.at)}


ASKED = ItemKind("S#asked", "`scan …`, `verify …`, `watch …`, …", "when reconcile requested it", _parse, _dump)

"""Test events of `tallyman doctor`, from the bus of a registry to the function that records its events."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from tallyman.domain.names import EcrRegistry
from tallyman.domain.times import parse_time, sort_time
from tallyman.state.items import ItemKind, Key, time_or_none
from tallyman.values import value

KEPT = timedelta(hours=1)
"""How long the item stays."""


@value
class Trip:
    """When the test event was sent, and when it arrived; None: it has not arrived."""

    sent: datetime
    arrived: datetime | None = None


def key(nonce: str, registry: EcrRegistry | str) -> Key:
    """The key of the test event of one run of doctor (`nonce`) from one registry."""
    return f"TRIP#{nonce}", str(registry)


def _parse(data: Mapping[str, Any]) -> Trip:
    return Trip(parse_time(data["sent"]), time_or_none(data.get("arrived")))


def _dump(trip: Trip) -> dict[str, Any]:
    return {"sent": sort_time(trip.sent), "arrived": sort_time(trip.arrived) if trip.arrived else None}


TRIPS = ItemKind(
    "TRIP#<nonce>", "`<account>/<region>`", "a test event: sent, arrived; gone after an hour", _parse, _dump
)

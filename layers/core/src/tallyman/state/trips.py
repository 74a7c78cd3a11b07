"""Test events of `tallyman doctor`, from the bus of a registry to the function that records its events."""

from datetime import datetime, timedelta
from typing import Any

from tallyman.domain.names import EcrRegistry
from tallyman.domain.times import sort_time
from tallyman.state.base import StateValue
from tallyman.state.items import ItemKind, Key
from tallyman.values import value

KEPT = timedelta(hours=1)
"""How long the item stays."""


@value
class Trip(StateValue):
    """When the test event was sent, and when it arrived; None: it has not arrived."""

    sent: datetime
    arrived: datetime | None = None

    def dump(self) -> dict[str, Any]:
        return {"sent": sort_time(self.sent), "arrived": sort_time(self.arrived) if self.arrived else None}


def key(nonce: str, registry: EcrRegistry | str) -> Key:
    """The key of the test event of one run of doctor (`nonce`) from one registry."""
    return f"TRIP#{nonce}", str(registry)


TRIPS = ItemKind(Trip, "TRIP#<nonce>", "`<account>/<region>`", "a test event: sent, arrived; gone after an hour")

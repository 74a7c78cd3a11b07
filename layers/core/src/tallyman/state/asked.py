"""Recent requests of reconcile (scans, verifications), so that it does not repeat them too soon."""

from datetime import datetime

from tallyman.state.base import StateValue
from tallyman.state.items import ItemKind, Key
from tallyman.values import value


@value
class Asked(StateValue):
    """When the request was made."""

    at: datetime


def key(what: str) -> Key:
    """The key of one request."""
    return "S#asked", what


ASKED = ItemKind(Asked, "S#asked", "`scan …`, `verify …`, `watch …`, …", "when reconcile requested it")

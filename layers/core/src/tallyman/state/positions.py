"""Positions at which a part of reconcile stopped before its end."""

from tallyman.state.base import StateValue
from tallyman.state.items import ItemKind, Key
from tallyman.values import value

WAITING: Key = ("S#waiting", "position")
"""The part that decides again about pending images."""
RELEASED: Key = ("S#waiting", "released")
"""The part that decides again about released images."""
GUARDED: Key = ("S#waiting", "guarded")
"""The part that checks repository policies."""


@value
class Position(StateValue):
    """The last item that was done; the next run continues after it."""

    after: tuple[str, ...]


POSITIONS = ItemKind(Position, "S#waiting", "`position`, `released`, `guarded`", "where a part of reconcile stopped")

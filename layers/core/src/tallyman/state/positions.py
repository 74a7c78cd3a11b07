"""Positions at which a part of reconcile stopped before its end."""

from collections.abc import Mapping
from typing import Any

from tallyman.state.items import ItemKind, Key
from tallyman.values import value

WAITING: Key = ("S#waiting", "position")
"""The part that decides again about pending images."""
RELEASED: Key = ("S#waiting", "released")
"""The part that decides again about released images."""
GUARDED: Key = ("S#waiting", "guarded")
"""The part that checks repository policies."""


@value
class Position:
    """The last item that was done; the next run continues after it."""

    after: tuple[str, ...]


def _parse(data: Mapping[str, Any]) -> Position:
    return Position(tuple(str(each) for each in data["after"]))


def _dump(position: Position) -> dict[str, Any]:
    return {"after": list(position.after)}


POSITIONS = ItemKind(
    "S#waiting", "`position`, `released`, `guarded`", "where a part of reconcile stopped", _parse, _dump
)

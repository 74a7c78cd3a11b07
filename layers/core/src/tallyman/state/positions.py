"""Where a part of reconcile stopped that did not come to all."""

from collections.abc import Mapping
from typing import Any

from tallyman.state.items import ItemKind, Key
from tallyman.values import value

WAITING: Key = ("S#waiting", "position")
"""The part that takes up pending images."""
RELEASED: Key = ("S#waiting", "released")
"""The part that looks after what is released."""
GUARDED: Key = ("S#waiting", "guarded")
"""The part that looks at the policies of repositories."""


@value
class Position:
    """The last that was done: the next run goes on behind it."""

    after: tuple[str, ...]


def _parse(data: Mapping[str, Any]) -> Position:
    return Position(tuple(str(each) for each in data["after"]))


def _dump(position: Position) -> dict[str, Any]:
    return {"after": list(position.after)}


POSITIONS = ItemKind(
    "S#waiting", "`position`, `released`, `guarded`", "where a part of reconcile stopped", _parse, _dump
)

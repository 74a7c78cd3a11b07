"""Repositories with `push: tallyman-only` whose repository policy does not enforce it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tallyman.domain.names import Repository
from tallyman.domain.times import format_time, parse_time
from tallyman.state.items import ItemKind, Key
from tallyman.values import value


@value
class GuardState:
    """What is wrong, and since when. `notified`: a notice was sent."""

    problem: str
    since: datetime
    notified: bool


PARTITION = "S#guard"


def key(place: Repository) -> Key:
    """The key of one repository."""
    return PARTITION, str(place)


def _parse(data: Mapping[str, Any]) -> GuardState:
    return GuardState(data["problem"], parse_time(data["since"]), bool(data["told"]))


def _dump(guard: GuardState) -> dict[str, Any]:
    return {"problem": guard.problem, "since": format_time(guard.since), "told": guard.notified}


GUARDS = ItemKind("S#guard", "`<registry>/<repository>`", "a repository that others could push to", _parse, _dump)

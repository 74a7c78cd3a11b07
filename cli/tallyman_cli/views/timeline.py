"""The tags of a repository over time: a lane a tag, a bar for each image that it pointed to."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.history.fold import PUSHES, TAG_MOVED, Row, history
from tallyman.domain.people import person_of_arn
from tallyman.domain.times import format_time

LANES = 14
"""Lanes that a picture shows at most."""


def timeline(facts: Iterable[Fact], until: datetime, most: int = LANES) -> dict[str, Any]:
    """`{from, to, lanes: [{tag, bars}], more}`; a bar is `{digest, from, to, who, actor, via, commit, moved}` (`to`
    None: it points there still). Tags that moved come first, then the newest; `more`: tags that have no lane here."""
    rows = [row for row in history(facts) if row.at <= until]
    lanes: dict[str, list[dict[str, Any]]] = {}
    for row in reversed(rows):  # oldest first
        _apply(lanes, row)
    ordered = sorted(lanes)
    ordered.sort(key=lambda tag: (len(lanes[tag]) > 1, lanes[tag][-1]["from"]), reverse=True)
    shown = ordered[:most]
    begins = min((lanes[tag][0]["from"] for tag in shown), default=format_time(until))
    return {
        "from": begins,
        "to": format_time(until),
        "lanes": [{"tag": tag, "bars": lanes[tag]} for tag in shown],
        "more": len(ordered) - len(shown),
    }


def moves(timeline: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The beginning of every bar, the newest first: the same timeline as a list."""
    found = [{"tag": lane["tag"], **bar} for lane in timeline["lanes"] for bar in lane["bars"]]
    return sorted(found, key=lambda bar: (bar["from"], bar["tag"]), reverse=True)


def _apply(lanes: dict[str, list[dict[str, Any]]], row: Row) -> None:
    if row.kind == TAG_MOVED:
        if row.tag in lanes:
            lanes[row.tag][-1]["moved"] = True
    elif row.kind in PUSHES and row.tag:
        bars = lanes.setdefault(row.tag, [])
        _end(bars, row)
        bars.append(
            {
                "digest": row.digest,
                "from": format_time(row.at),
                "to": None,
                "who": person_of_arn(row.actor) if row.actor else None,
                "actor": row.actor,
                "via": str(row.via),
                "commit": row.commit,
                "moved": False,
            }
        )
    elif row.kind == Kind.UNTAGGED and row.tag in lanes:
        _end(lanes[row.tag], row)
    elif row.kind == Kind.DELETED:
        for bars in lanes.values():
            if bars[-1]["digest"] == row.digest:
                _end(bars, row)


def _end(bars: Sequence[dict[str, Any]], row: Row) -> None:
    if bars and bars[-1]["to"] is None:
        bars[-1]["to"] = format_time(row.at)

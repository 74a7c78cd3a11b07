"""The tags of a repository over time: a lane for each tag, a bar for each image that it pointed to."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.history.fold import PUSHES, TAG_MOVED, Row, history
from tallyman.domain.people import person_of_arn
from tallyman.domain.times import format_time, text_or_none

LANES = 14
"""Lanes that a picture shows at most."""


@dataclass(slots=True)
class Bar:
    """One image that a tag pointed to. `row`: its push; `ended`: when the tag was moved or removed (None: it points
    there still); `moved`: whether the push moved the tag."""

    row: Row
    ended: datetime | None = None
    moved: bool = False


def lanes(rows: Iterable[Row]) -> dict[str, list[Bar]]:
    """The bars of each tag, oldest first, from rows as `history` gives them. Tags that moved come first, then the
    newest."""
    found: dict[str, list[Bar]] = {}
    oldest_first = list(rows)[::-1]
    for row in sorted(oldest_first, key=lambda row: row.at):
        bars = found.get(row.tag or "", [])
        if row.kind in PUSHES and row.tag:
            if not bars or bars[-1].ended or bars[-1].row.digest != row.digest:
                _end(bars, row)
                found.setdefault(row.tag, bars).append(Bar(row))
        elif row.kind == TAG_MOVED and bars:
            bars[-1].moved = True
        elif row.kind == Kind.UNTAGGED:
            _end(bars, row)
        elif row.kind == Kind.DELETED:
            for each in found.values():
                if each[-1].row.digest == row.digest:
                    _end(each, row)
    ordered = sorted(found)
    ordered.sort(key=lambda tag: (len(found[tag]) > 1, found[tag][-1].row.at), reverse=True)
    return {tag: found[tag] for tag in ordered}


def timeline(facts: Iterable[Fact], until: datetime) -> dict[str, Any]:
    """`{from, to, lanes: [{tag, bars}], more}`; a bar is `{digest, from, to, who, actor, via, commit, moved}` (`to`
    None: it points there still). `more`: tags that have no lane here."""
    found = lanes(row for row in history(facts) if row.at <= until)
    shown = dict(islice(found.items(), LANES))
    return {
        "from": format_time(min((bars[0].row.at for bars in shown.values()), default=until)),
        "to": format_time(until),
        "lanes": [{"tag": tag, "bars": [_as_data(bar) for bar in bars]} for tag, bars in shown.items()],
        "more": len(found) - len(shown),
    }


def moves(timeline: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The beginning of every bar, the newest first: the same timeline as a list."""
    found = [{"tag": lane["tag"], **bar} for lane in timeline["lanes"] for bar in lane["bars"]]
    return sorted(found, key=lambda bar: (bar["from"], bar["tag"]), reverse=True)


def _as_data(bar: Bar) -> dict[str, Any]:
    row = bar.row
    return {
        "digest": row.digest,
        "from": format_time(row.at),
        "to": text_or_none(bar.ended),
        "who": person_of_arn(row.actor) if row.actor else None,
        "actor": row.actor,
        "via": str(row.via),
        "commit": row.commit,
        "moved": bar.moved,
    }


def _end(bars: Sequence[Bar], row: Row) -> None:
    if bars and bars[-1].ended is None:
        bars[-1].ended = row.at

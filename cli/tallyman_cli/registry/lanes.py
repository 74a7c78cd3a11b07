"""Draws the tags of a history with characters: a lane for each tag, a bar for each image that it pointed to."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from tallyman.domain.history.facts import Kind
from tallyman.domain.history.fold import PUSHES, Row
from tallyman.domain.names import Digest

MOST = 12
"""Lanes at most: tags that moved first, then the newest."""

NARROWEST = 20
"""Columns that bars need at least."""

_BARS = "─━"


@dataclass(slots=True)
class _Lane:
    """`bars`: the images that the tag pointed to, each with the time of its push; `ended`: when the tag was removed, if
    it was not set again."""

    bars: list[tuple[datetime, Digest]] = field(default_factory=list)
    ended: datetime | None = None


def picture(rows: Iterable[Row], until: datetime, width: int) -> list[str]:
    """Lines of at most `width` columns, the newest tag first; empty if there is no room, or only one image.

    `●` is a push, `▶` what the tag points to at `until`, `×` its removal. A bar takes at least one column, so pushes
    that follow each other closely are drawn later than they were.
    """
    lanes = _lanes(rows)
    if sum(len(lane.bars) for lane in lanes.values()) < 2:
        return []
    shown = sorted(lanes, key=lambda tag: (len(lanes[tag].bars) > 1, lanes[tag].bars[-1][0]), reverse=True)[:MOST]
    label = max(map(len, shown))
    columns = width - label - len("  ▶ ") - 7
    if columns < NARROWEST:
        return []
    begins = min(lanes[tag].bars[0][0] for tag in shown)
    whole = max((until - begins).total_seconds(), 1.0)

    def at(moment: datetime) -> int:
        return min(columns - 1, int((moment - begins).total_seconds() / whole * columns))

    lines = [f"{tag:<{label}}  {_draw(lanes[tag], at, columns)}" for tag in shown]
    if len(lanes) > len(shown):
        lines.append(f"{'':<{label}}  and {len(lanes) - len(shown)} more tags")
    return lines


def _lanes(rows: Iterable[Row]) -> dict[str, _Lane]:
    lanes: dict[str, _Lane] = {}
    for row in sorted(rows, key=lambda row: row.at):
        if row.kind in PUSHES and row.tag and row.digest:
            lane = lanes.setdefault(row.tag, _Lane())
            if not lane.bars or lane.ended or lane.bars[-1][1] != row.digest:
                lane.bars.append((row.at, row.digest))
            lane.ended = None
        elif row.kind == Kind.UNTAGGED and row.tag in lanes:
            lanes[row.tag].ended = row.at
        elif row.kind == Kind.DELETED:
            for lane in lanes.values():
                if lane.bars[-1][1] == row.digest:
                    lane.ended = row.at
    return lanes


def _draw(lane: _Lane, at: Callable[[datetime], int], columns: int) -> str:
    cells = [" "] * columns
    starts: list[int] = []
    for moment, _ in lane.bars:
        starts.append(max(at(moment), starts[-1] + 1 if starts else 0))
    end = columns if lane.ended is None else max(at(lane.ended), starts[-1] + 1)
    for number, start in enumerate(starts):
        stop = starts[number + 1] if number + 1 < len(starts) else end
        for column in range(start, min(stop, columns)):
            cells[column] = "●" if column == start else _BARS[number % 2]
    text = "".join(cells)
    if lane.ended is None:
        return f"{text}▶ {lane.bars[-1][1].removeprefix('sha256:')[:7]}"
    return f"{text[:end]}×".rstrip()

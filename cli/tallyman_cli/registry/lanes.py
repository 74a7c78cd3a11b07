"""Draws the tags of a history with characters: a lane for each tag, a bar for each image that it pointed to."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from tallyman.domain.history.fold import Row
from tallyman_cli.views.timeline import Bar, lanes

MOST = 12
"""Lanes at most: tags that moved first, then the newest."""

NARROWEST = 20
"""Columns that bars need at least."""

_BARS = "─━"


def picture(rows: Iterable[Row], until: datetime, width: int) -> list[str]:
    """Lines of at most `width` columns, the newest tag first; empty if there is no room, or only one image.

    `●` is a push, `▶` what the tag points to at `until`, `×` its removal. A bar takes at least one column, so pushes
    that follow each other closely are drawn later than they were.
    """
    found = lanes(rows)
    if sum(map(len, found.values())) < 2:
        return []
    shown = list(found)[:MOST]
    label = max(map(len, shown))
    columns = width - label - len("  ▶ ") - 7
    if columns < NARROWEST:
        return []
    begins = min(found[tag][0].row.at for tag in shown)
    whole = max((until - begins).total_seconds(), 1.0)

    def at(moment: datetime) -> int:
        return min(columns - 1, int((moment - begins).total_seconds() / whole * columns))

    lines = [f"{tag:<{label}}  {_draw(found[tag], at, columns)}" for tag in shown]
    if len(found) > len(shown):
        lines.append(f"{'':<{label}}  and {len(found) - len(shown)} more tags")
    return lines


def _draw(bars: Sequence[Bar], at: Callable[[datetime], int], columns: int) -> str:
    cells = [" "] * columns
    starts: list[int] = []
    for bar in bars:
        starts.append(max(at(bar.row.at), starts[-1] + 1 if starts else 0))
    last = bars[-1]
    end = columns if last.ended is None else max(at(last.ended), starts[-1] + 1)
    for number, start in enumerate(starts):
        stop = starts[number + 1] if number + 1 < len(starts) else end
        for column in range(start, min(stop, columns)):
            cells[column] = "●" if column == start else _BARS[number % 2]
    text = "".join(cells)
    if last.ended is None:
        return f"{text}▶ {last.row.digest.removeprefix('sha256:')[:7]}"
    return f"{text[:end]}×".rstrip()

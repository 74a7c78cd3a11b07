"""What commands print: results on stdout, as tables or as JSON; everything else on stderr.

On a terminal tables have colour and digests are short. Elsewhere each row is one line, with whole digests.
"""

import io
import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tallyman.domain.names import Digest
from tallyman.domain.times import format_time

WIDE = 10_000
"""Columns where there is no terminal: nothing is ever wrapped."""

MARKS = {
    "passed": ("✓", "green"),
    "promoted": ("✓", "green"),
    "failed": ("✗", "red"),
    "conflict": ("✗", "red"),
    "waiting": ("…", "yellow"),
    "unknown": ("…", "yellow"),
}

PROSE = ("reason", "what", "why", "error")
"""Headings of columns that hold sentences."""

SHORTEST = 40
"""Columns of the screen that a sentence gets at least."""

Cell = str | Text


class _Mode:
    """How the command that runs was asked to answer."""

    json = False


def reset() -> None:
    """A command begins: text, until it says otherwise."""
    _Mode.json = False


def use_json(value: bool) -> bool:
    """The callback of `--json`."""
    _Mode.json = value
    return value


def is_json() -> bool:
    """Whether the command was asked for JSON."""
    return _Mode.json


def data(value: Any) -> None:
    """A result as JSON on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def line(text: Cell = "") -> None:
    """A line of a result."""
    _write(text)


def say(text: str) -> None:
    """Progress or a note, on stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def table(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """Columns that line up, without a frame; columns without a value are left out, headings where there are none.

    Only sentences (the columns of PROSE) are broken into lines; where even that does not fit, the terminal wraps.
    """
    cells = [list(row) for row in rows]
    kept = [i for i in range(len(columns)) if any(str(row[i]) for row in cells)]
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_header=any(columns))
    fixed = 0
    for i in kept:
        prose = columns[i] in PROSE
        made.add_column(columns[i], overflow="fold", no_wrap=not prose)
        longest = max(len(columns[i]), *(len(str(row[i])) for row in cells))
        fixed += (min(longest, SHORTEST) if prose else longest) + 2
    for row in cells:
        made.add_row(*(row[i] for i in kept))
    _write(made, fixed)


def mark(verdict: str) -> Text:
    """✓, ✗ or … with the verdict."""
    sign, style = MARKS.get(verdict, ("·", ""))
    return Text(f"{sign} {verdict}", style=style)


def digest(value: Digest | str | None) -> str:
    """Whole, except on a terminal."""
    if not value:
        return ""
    return str(value)[:19] if sys.stdout.isatty() else str(value)


def time(moment: datetime | None) -> str:
    """RFC 3339, or nothing."""
    return format_time(moment) if moment else ""


def size(count: int | None) -> str:
    """Bytes in a unit that people read; decimal, as registries and bills count."""
    if count is None:
        return "?"
    number = float(count)
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"


def _write(what: Any, width: int = 0) -> None:
    """`width`: columns that it needs at least."""
    if sys.stdout.isatty():
        screen = Console(file=sys.stdout, highlight=False, markup=False)
        if width <= screen.width:
            screen.print(what, soft_wrap=isinstance(what, str))
            return
        wide = Console(file=sys.stdout, width=WIDE, highlight=False, markup=False)
        with wide.capture() as captured:
            wide.print(what)
        _put(captured.get())
        return
    buffer = io.StringIO()
    plain = Console(file=buffer, width=WIDE, color_system=None, force_terminal=False, highlight=False, markup=False)
    plain.print(what, no_wrap=True, crop=False, overflow="ignore")
    _put(buffer.getvalue())


def _put(text: str) -> None:
    """Without the blanks that fill up columns: a terminal would wrap them too."""
    sys.stdout.write("".join(part.rstrip() + "\n" for part in text.splitlines()))
    sys.stdout.flush()

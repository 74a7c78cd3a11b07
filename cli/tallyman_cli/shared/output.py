"""What commands print: results on stdout, as tables or as JSON; everything else on stderr.

On a terminal tables have colour, digests are short, times are local and long tables are paged. Elsewhere each row is
one line, with whole digests, and times are in UTC. rich is imported when a table is made.
"""

import errno
import io
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, TextIO, TypeAlias

from tallyman.domain.text import LINES, visible
from tallyman.domain.text import counted as counted
from tallyman_cli.shared.chosen import chosen
from tallyman_cli.shared.patience import Patience

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from tallyman.domain.names import Digest

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

TIMES = ("at", "since", "until", "again at", "read at")
"""Headings of columns that hold times, as in JSON. Digests are below `digest`, verdicts below `verdict`."""

_TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")

_NOT_ASCII = re.compile("[^\x20-\x7e\n]")

SHORTEST = 40
"""Columns of the screen that a sentence gets at least."""

Cell: TypeAlias = "str | Text"


class _Mode:
    """How the running command answers."""

    json = False
    patience: Patience | None = None


def reset() -> None:
    """Begin a command: it answers in text unless it has --json."""
    _Mode.json = False


def use_json(value: bool) -> bool:
    """The callback of `--json`."""
    _Mode.json = value
    return value


def is_json() -> bool:
    """Whether the command was asked for JSON."""
    return _Mode.json


@contextmanager
def patience(wanted: bool) -> Iterator[None]:
    """While the block runs, shows on a terminal that the command still works, from the first second on."""
    if not wanted or chosen.quiet or not Patience.possible():
        yield
        return
    _Mode.patience = Patience(sys.stderr)
    try:
        yield
    finally:
        _Mode.patience.end()
        _Mode.patience = None


def pause() -> None:
    """Remove the line that says that the command still works, before anything is written."""
    if _Mode.patience is not None:
        _Mode.patience.clear()


def hand_over() -> None:
    """End the line that says that the command still works, before another program or a question has the terminal."""
    if _Mode.patience is not None:
        _Mode.patience.end()


def debugging(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether TALLYMAN_DEBUG asks for tracebacks."""
    return environ.get("TALLYMAN_DEBUG", "") not in ("", "0")


def is_broken(error: BaseException) -> bool:
    """Whether the output can't be written: nobody reads it any more, or the disk is full."""
    return isinstance(error, OSError) and error.errno in (errno.EPIPE, errno.ENOSPC, errno.EIO, errno.EBADF)


def data(value: Any) -> None:
    """Print a result as JSON on stdout."""
    put(as_json(value))


def as_json(value: Any, indent: int | None = 2) -> str:
    """JSON, without `indent` on one line. Characters that are not printable are escaped, which JSON allows in any
    text."""
    return _NOT_ASCII.sub(_escaped, json.dumps(value, indent=indent, ensure_ascii=False))


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    return character if visible(character) == character else json.dumps(character)[1:-1]


def put(text: str) -> None:
    """Print a line on stdout without rich; control characters in it are shown, not sent."""
    _send(sys.stdout, visible(text, LINES) + "\n")


def json_line(value: Any) -> None:
    """Print one of many results as a line of JSON on stdout."""
    put(as_json(value, None))


def line(text: "Cell" = "") -> None:
    """Print a line of a result on stdout."""
    _write(_harmless(text, LINES))


def say(text: str) -> None:
    """Print progress or a note on stderr; with --quiet nothing."""
    if not chosen.quiet:
        trouble(text)


def trouble(text: str) -> None:
    """Print an error or a warning on stderr, also with --quiet."""
    _send(sys.stderr, visible(text, LINES) + "\n")


def table(rows: Iterable[Mapping[str, "Cell | int | None"]]) -> None:
    """Print a table on stdout, from the cells of each row by the headings of the columns.

    It has no frame, and no columns without any value. Without rows it prints nothing. Only sentences (the columns of
    PROSE) are wrapped; if the table still does not fit, the terminal wraps its rows. Where a row would take more than
    two lines of the terminal, each cell has a line of its own, after its heading.
    """
    listed = [{name: _harmless(_shown(name, cell)) for name, cell in row.items()} for row in rows]
    if listed:
        _table(list(listed[0]), [list(row.values()) for row in listed])


def pairs(rows: Iterable[tuple[str, "Cell"]]) -> None:
    """Print names and values on stdout, as a table without headings."""
    _table(["", ""], [[_harmless(name), _harmless(value)] for name, value in rows])


def _table(headings: Sequence[str], cells: Sequence[Sequence["Cell"]]) -> None:
    from rich.table import Table

    kept = [i for i in range(len(headings)) if any(str(row[i]) for row in cells)]
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_header=any(headings))
    fixed = whole = 0
    for i in kept:
        prose = headings[i] in PROSE
        made.add_column(headings[i], overflow="fold", no_wrap=not prose)
        longest = max(len(headings[i]), *(len(str(row[i])) for row in cells))
        fixed += (min(longest, SHORTEST) if prose else longest) + 2
        whole += longest + 2
    for row in cells:
        made.add_row(*(row[i] for i in kept))
    screen = columns()
    if any(headings) and screen and fixed > screen and whole > 2 * screen:
        _write(_records([headings[i] for i in kept], [[row[i] for i in kept] for row in cells], screen), WIDE)
    else:
        _write(made, fixed)


def _records(headings: Sequence[str], cells: Sequence[Sequence["Cell"]], screen: int) -> "Table":
    """Each row as lines of heading and value, with an empty line between rows. Only sentences are wrapped."""
    from textwrap import fill

    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    made.add_column(no_wrap=True)
    made.add_column(no_wrap=True)
    beside = max(screen - max(map(len, headings)) - 2, SHORTEST // 2)
    for number, row in enumerate(cells):
        if number:
            made.add_row()
        for heading, cell in zip(headings, row, strict=True):
            if str(cell):
                sentence = heading in PROSE and isinstance(cell, str)
                made.add_row(Text(heading, style="bold"), fill(str(cell), beside) if sentence else cell)
    return made


def _harmless(cell: "Cell", keep: str = "") -> "Cell":
    """The cell with control characters shown instead of sent: names, annotations and findings may hold anything."""
    if isinstance(cell, str):
        return visible(cell, keep)
    if cell.plain.isprintable():
        return cell
    from rich.text import Text

    return Text(visible(cell.plain, keep), style=cell.style)


def _shown(column: str, cell: "Cell | int | None") -> "Cell":
    """The cell for people: on a terminal times are local, and digests short."""
    if cell is None or isinstance(cell, int):
        return "" if cell is None else str(cell)
    if not isinstance(cell, str):
        return cell
    if column in TIMES and _TIME.fullmatch(cell):
        return when(cell)
    return digest(cell) if column == "digest" else mark(cell) if column == "verdict" else cell


def mark(verdict: str) -> "Text":
    """✓, ✗ or … with the verdict."""
    from rich.text import Text

    sign, style = MARKS.get(verdict, ("·", ""))
    return Text(f"{sign} {verdict}", style=style)


def digest(value: "Digest | str | None") -> str:
    """The digest, shortened on a terminal."""
    if not value:
        return ""
    return str(value)[:19] if sys.stdout.isatty() else str(value)


def time(moment: datetime | None) -> str:
    """The time as RFC 3339 in UTC, for JSON; empty for None."""
    from tallyman.domain.times import format_time

    return format_time(moment) if moment else ""


def when(moment: datetime | str | None) -> str:
    """A time for people (of a text, the time that it names): on a terminal the local one with its offset, unless --utc
    is given; elsewhere as in JSON."""
    from tallyman.domain.times import parse_time

    if not moment:
        return ""
    found = parse_time(moment) if isinstance(moment, str) else moment
    if chosen.utc or not sys.stdout.isatty():
        return time(found)
    try:
        return found.astimezone().isoformat(timespec="seconds")
    except OverflowError:  # at an end of the calendar (9999-12-31), which a policy or a person may name
        return time(found)


def size(count: int | None) -> str:
    """Bytes in a decimal unit, as registries and bills count; `?` for None."""
    if count is None:
        return "?"
    if count < 1000:
        return f"{count} B"
    number = float(count)
    for unit in ("kB", "MB", "GB"):
        number /= 1000
        if number < 1000:
            return f"{number:.1f} {unit}"
    return f"{number / 1000:.1f} TB"


def _write(what: Any, width: int = 0) -> None:
    """Print a text or table, in a pager if it is longer than the terminal. `width`: columns that it needs at least."""
    from rich.console import Console

    pause()
    if sys.stdout.isatty():
        screen = Console(file=sys.stdout, highlight=False, markup=False)
        height, dumb = screen.height, screen.is_dumb_terminal
        wide = dumb or width > screen.width  # the width of a dumb terminal is not known: nothing is cut, it wraps
        if wide:  # without a height rich takes no width for a dumb terminal either, and cuts at 80 columns
            screen = Console(file=sys.stdout, width=WIDE, height=height, highlight=False, markup=False)
        with screen.capture() as captured:
            screen.print(what, soft_wrap=isinstance(what, str))
        text = _unpadded(captured.get()) if wide else captured.get()
        if not (chosen.paged and text.count("\n") >= height and page(text)):
            _send(sys.stdout, text)
        return
    buffer = io.StringIO()
    plain = Console(file=buffer, width=WIDE, color_system=None, force_terminal=False, highlight=False, markup=False)
    plain.print(what, no_wrap=True, crop=False, overflow="ignore")
    _send(sys.stdout, _unpadded(buffer.getvalue()))


def _send(stream: TextIO, text: str) -> None:
    pause()
    stream.write(text)
    stream.flush()


def columns() -> int:
    """The columns of the terminal, for pictures; 0 if stdout is none, or a dumb one."""
    import shutil

    dumb = os.environ.get("TERM", "dumb") == "dumb"
    return shutil.get_terminal_size().columns if sys.stdout.isatty() and not dumb else 0


def _unpadded(text: str) -> str:
    """The lines without the blanks at their ends, which a terminal would wrap too."""
    return "".join(part.rstrip() + "\n" for part in text.splitlines())


def page(text: str) -> bool:
    """Show a text in the pager (PAGER, else less). False: there is none, or it fails."""
    import shlex
    import subprocess

    if not sys.stdin.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        return False
    command = shlex.split(os.environ.get("PAGER", "less"))
    if not command or command == ["cat"]:
        return False
    hand_over()
    environment = {"LESS": "FRX", "LESSCHARSET": "utf-8"} | os.environ
    try:
        done = subprocess.run(command, input=text.encode(), check=False, env=environment)
    except OSError:
        return False
    return done.returncode == 0

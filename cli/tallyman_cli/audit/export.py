"""Writes the whole ledger to a file, one entry after the other: JSON Lines or CSV."""

import csv
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from tallyman.domain.history.seals import LedgerEntry
from tallyman.domain.text import visible
from tallyman.errors import BadInput

COLUMNS = (
    "at",
    "seen",
    "kind",
    "via",
    "environment",
    "repository",
    "tag",
    "digest",
    "media_type",
    "size",
    "actor",
    "detail",
    "pk",
    "sk",
    "id",
    "segment",
    "hash",
)
"""The columns of the CSV. `segment`: the number of the segment that seals the entry; `hash`: of all its attributes."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


Row = dict[str, Any]
"""Every stored attribute of an entry, with `segment` (None: not sealed) and `hash`."""


class Export:
    """Writes entries to an open file, one at a time."""

    def __init__(self, write: Callable[[Row], object]) -> None:
        self._write, self.count = write, 0

    @classmethod
    @contextmanager
    def opened(cls, path: Path) -> Iterator["Export"]:
        """Open an export to a file; its suffix (.jsonl, .csv) says the format. The entries go to a hidden file beside
        it that is renamed at the end: an incomplete export never has the name. Raises BadInput for another suffix, or
        where the file can't be written."""
        formats = {".jsonl": _json_lines, ".csv": _csv}
        if path.suffix not in formats:
            raise BadInput(f"'{path}' is neither .jsonl nor .csv")
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            with part.open("x", encoding="utf-8", newline="") as file:
                yield cls(formats[path.suffix](file))
            part.replace(path)
        except OSError as error:
            raise BadInput(f"can't write {path}: {error.strerror or error}") from error
        finally:
            part.unlink(missing_ok=True)

    def write(self, entry: LedgerEntry, segment: int | None) -> None:
        """Write one entry."""
        self._write({**entry.item, "segment": segment, "hash": entry.hash})
        self.count += 1


def _json_lines(file: TextIO) -> Callable[[Row], object]:
    """Each line is an object, with `detail` as JSON."""
    return lambda row: file.write(json.dumps({**row, "detail": _detail(row.get("detail"))}) + "\n")


def _csv(file: TextIO) -> Callable[[Row], object]:
    """A table for people with the columns of COLUMNS: control characters are shown, and a text that a spreadsheet would
    run as a formula gets an apostrophe before it."""
    table = csv.writer(file)
    table.writerow(COLUMNS)
    return lambda row: table.writerow([_cell(row.get(name)) for name in COLUMNS])


def _detail(text: str | int | None) -> Any:
    """The detail as data; as text where it is not JSON, because somebody altered it."""
    try:
        return json.loads(str(text)) if text is not None else None
    except (ValueError, RecursionError):
        return text


def _cell(found: str | int | None) -> str | int | None:
    if not isinstance(found, str):
        return found
    return visible(f"'{found}" if found.startswith(_FORMULA) else found)

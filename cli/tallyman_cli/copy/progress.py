"""Shows the progress of a copy: on a terminal some lines that are redrawn, elsewhere nothing.

Without rich, whose import takes longer than the copy of a small image.
"""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO

from tallyman.domain.names import Digest, Location
from tallyman.services.copying.progress import CopyProgress
from tallyman_cli.shared.output import size

_FRAME = 0.2  # seconds
_LAYERS = 6  # lines of layers on their way, for each target


@dataclass
class Count:
    """The bytes and blobs of one target. `moving`: bytes sent of each blob on its way; `sizes`: of all blobs."""

    total: int = 0
    sent: int = 0
    blobs: int = 0
    uploaded: int = 0
    mounted: int = 0
    skipped: int = 0
    manifests: int = 0
    moving: dict[Digest, int] = field(default_factory=dict)
    sizes: dict[Digest, int] = field(default_factory=dict)


class Counting(CopyProgress):
    """Counts by target; `bytes_read` from the source."""

    def __init__(self) -> None:
        self.counts: dict[Location, Count] = {}
        self.bytes_read = 0
        self.began = time.monotonic()
        self._lock = threading.Lock()

    def of(self, repository: Location) -> Count:
        """The count of a target."""
        return self.counts.setdefault(repository, Count())

    def lacking(self, repository: Location, blobs: dict[Digest, int], held: int) -> None:
        with self._lock:
            count = self.of(repository)
            count.total += sum(blobs.values())
            count.blobs += len(blobs)
            count.skipped += held
            count.sizes.update(blobs)

    def sent(self, repository: Location, digest: Digest, count: int) -> None:
        with self._lock:
            mine = self.of(repository)
            mine.sent += count
            mine.moving[digest] = mine.moving.get(digest, 0) + count

    def uploaded(self, repository: Location, digest: Digest, size: int) -> None:
        with self._lock:
            mine = self.of(repository)
            mine.uploaded += 1
            mine.moving.pop(digest, None)

    def mounted(self, repository: Location, digest: Digest, size: int) -> None:
        with self._lock:
            mine = self.of(repository)
            mine.mounted += 1
            mine.total -= size
            mine.blobs -= 1

    def read(self, digest: Digest, count: int) -> None:
        with self._lock:
            self.bytes_read += count

    def pushed(self, repository: Location, digest: Digest) -> None:
        with self._lock:
            self.of(repository).manifests += 1

    def lines(self) -> list[str]:
        """A line for each target, and below it lines for the layers that are on their way."""
        seconds = max(time.monotonic() - self.began, 0.001)
        found = []
        with self._lock:
            for repository, count in self.counts.items():
                parts = [f"{size(count.sent)} of {size(count.total)}", f"{size(int(count.sent / seconds))}/s"]
                parts.append(f"{count.uploaded} of {count.blobs} blobs")
                parts += [f"{n} {word}" for n, word in ((count.skipped, "there"), (count.mounted, "mounted")) if n]
                found.append(f"{repository}: {', '.join(parts)}")
                for digest, done in list(count.moving.items())[:_LAYERS]:
                    whole = count.sizes.get(digest, 0)
                    found.append(f"  {digest[:19]} {done * 100 // whole if whole else 0:3d} % of {size(whole)}")
        return found


@contextmanager
def shown(counting: Counting, stream: TextIO | None = None) -> Iterator[None]:
    """Draw the progress while the block runs, if the stream (default: stderr) is a terminal."""
    out, end, drawn = stream or sys.stderr, threading.Event(), 0

    def draw(lines: list[str]) -> None:
        nonlocal drawn
        up = f"\x1b[{drawn}F" if drawn else ""
        out.write(up + "\x1b[J" + "".join(f"{line[:200]}\n" for line in lines))
        out.flush()
        drawn = len(lines)

    def run() -> None:
        while not end.wait(_FRAME):
            draw(counting.lines())

    if not out.isatty():
        yield
        return
    thread = threading.Thread(target=run, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
        draw([])

"""Tells open pages, which ask every two seconds, whether anything was recorded since they were rendered."""

import threading
import time

from tallyman_cli.desk.watch import LATE
from tallyman_cli.shared.context import Stack

AGAIN = 1.0
"""Seconds between two Queries, however many pages ask."""


class Pulse:
    """A number that grows whenever new facts are there. At most one Query a second, for facts of the last half
    minute."""

    def __init__(self, stack: Stack) -> None:
        self._stack, self._monotonic = stack, time.monotonic
        self._lock = threading.Lock()
        self._known: set[tuple[str, str]] = set()
        self._looked: float | None = None
        self.number = 0

    def look(self) -> int:
        """Read new facts, unless that was done within the last second. Return the number."""
        with self._lock:
            now = self._monotonic()
            if self._looked is None or now - self._looked >= AGAIN:
                found = {(f.partition, f.id) for f in self._stack.ledger.written_since(self._stack.clock() - LATE)}
                if self._looked is not None and found - self._known:
                    self.number += 1
                self._known, self._looked = found, now
            return self.number

"""Whether anything was recorded since a page was made: what open pages ask every two seconds."""

import threading
import time
from collections.abc import Callable
from datetime import timedelta

from tallyman_cli.shared.context import Stack

AGAIN = 1.0
"""Seconds between two looks, whoever asks how often."""
LATE = timedelta(seconds=30)
"""Clocks of functions may differ, and the index lags: facts may come this late."""


class Pulse:
    """A number that grows whenever new facts were seen. One Query a second at most, of the last half minute."""

    def __init__(self, stack: Stack, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._stack, self._monotonic = stack, monotonic
        self._lock = threading.Lock()
        self._known: set[tuple[str, str]] = set()
        self._looked: float | None = None
        self.number = 0

    def look(self) -> int:
        """The number now."""
        with self._lock:
            now = self._monotonic()
            if self._looked is None or now - self._looked >= AGAIN:
                found = {(f.partition, f.id) for f in self._stack.ledger.written_since(self._stack.clock() - LATE)}
                if self._looked is not None and found - self._known:
                    self.number += 1
                self._known, self._looked = found, now
            return self.number

"""The line on a terminal that says that a command is still at work, and for how long."""

import os
import sys
import threading
import time
from typing import TextIO

FIRST, EACH = 1.0, 0.2
"""Seconds until it is shown, and between two changes of it."""

SIGNS = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


class Patience:
    """Shown by a thread of its own; whoever prints takes it away first, and it comes again after a second."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._began = self._quiet_since = time.monotonic()
        self._lock = threading.Lock()
        self._shown = False
        self._ended = threading.Event()
        threading.Thread(target=self._run, name="patience", daemon=True).start()

    @staticmethod
    def possible() -> bool:
        """Whether there is a terminal that can take a line away again."""
        return sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"

    def clear(self) -> None:
        """Takes the line away: something is printed now."""
        with self._lock:
            self._quiet_since = time.monotonic()
            self._take_away()

    def end(self) -> None:
        """Takes the line away for good."""
        self._ended.set()
        self.clear()

    def _take_away(self) -> None:
        if self._shown:
            self._shown = False
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def _run(self) -> None:
        while not self._ended.wait(EACH):
            with self._lock:
                now = time.monotonic()
                if self._ended.is_set() or now - self._quiet_since < FIRST:
                    continue
                seconds = now - self._began
                self._stream.write(f"\r{SIGNS[int(seconds / EACH) % len(SIGNS)]} {seconds:.0f} s\x1b[K")
                self._stream.flush()
                self._shown = True

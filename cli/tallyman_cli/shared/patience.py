"""The line on a terminal that shows that a command still works, and for how long."""

import os
import sys
import threading
import time
from typing import TextIO

FIRST, EACH = 1.0, 0.2
"""Seconds until the line is shown, and between two changes of it."""

SIGNS = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


class Patience:
    """Draws the line in a thread of its own. Whoever prints removes it first; it returns after a second."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._began = self._quiet_since = time.monotonic()
        self._lock = threading.Lock()
        self._shown = False
        self._ended = threading.Event()
        threading.Thread(target=self._run, name="patience", daemon=True).start()

    @staticmethod
    def possible() -> bool:
        """Whether stderr is a terminal that can erase a line."""
        return sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"

    def clear(self) -> None:
        """Remove the line, before something is printed."""
        with self._lock:
            self._quiet_since = time.monotonic()
            self._take_away()

    def end(self) -> None:
        """Remove the line for good."""
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

"""Limit the rate of calls: a token bucket that makes its callers wait."""

import threading
import time
from collections.abc import Callable


class Pace:
    """At most `rate` calls per second after a burst of `burst`; rate 0: no limit. Threads share it, in order."""

    def __init__(
        self,
        rate: float,
        burst: int = 1,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._interval = 1 / rate if rate else 0.0
        self._slack = self._interval * (burst - 1)
        self._clock, self._sleep = clock, sleep
        self._next = float("-inf")
        self._lock = threading.Lock()

    def wait(self) -> float:
        """Wait until the next call is allowed. Return the seconds that it waited."""
        if not self._interval:
            return 0.0
        with self._lock:
            now = self._clock()
            turn = max(self._next, now - self._slack)
            self._next = turn + self._interval
        pause = max(0.0, turn - now)
        if pause:
            self._sleep(pause)
        return pause

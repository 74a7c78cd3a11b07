"""Finds by measuring how many blobs to copy at once: the network is not known beforehand."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import ceil

MOST = 16
"""The most streams: they bound the memory, and more were never faster."""

FEW = 6
"""The most streams to begin with where the registries are near. Fewer are used where the blobs divide evenly: ten
blobs go in two rounds of five."""

SMALL, LARGE = 1_000_000, 50_000_000
"""Bytes. Of blobs smaller than SMALL on average the requests are most of the work: all streams are used. Of blobs from
LARGE on two streams are enough to begin with: more only cost processor time, unless measuring shows otherwise."""

_BLOB = 64 * 1024
"""Bytes that the end of a blob counts for besides its own: of many small blobs the requests are most of the work."""

_INTERVAL = 0.25  # seconds between two measurements
_BETTER, _WORSE = 1.08, 0.85
_PAUSE = 8  # measurements between two trials of more streams
_FAST = 150e6
"""Bytes a second of one stream from which on no further stream is tried: no network gives a single connection so much,
so the processors are the limit, and a further stream would only compete for them."""


def beginning(sizes: Sequence[int]) -> int:
    """The number of streams to begin with for blobs of these sizes in bytes, where the registries are near."""
    mean = sum(sizes) / (len(sizes) or 1)
    if mean < SMALL:
        return MOST
    return ceil(len(sizes) / ceil(len(sizes) / (2 if mean >= LARGE else FEW)))


class Streams:
    """Limits how many blobs are copied at once, by the throughput that was measured last.

    It tries more streams, goes on while throughput grows, goes back where it does not, and tries again later.
    """

    def __init__(self, start: int = 4, most: int = MOST, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit, self._most, self._clock = min(start, most), most, clock
        self._active, self._work, self._since = 0, 0, clock()
        self._rate = 0.0  # bytes a second with the present limit; during a trial, with the limit before it
        self._tried_from, self._calm = 0, 0
        self._changed = threading.Condition()

    @property
    def limit(self) -> int:
        """The number of streams that may run now."""
        return self._limit

    @contextmanager
    def one(self) -> Iterator[None]:
        """Wait until a stream is free; the block copies one blob."""
        with self._changed:
            self._changed.wait_for(lambda: self._active < self._limit)
            self._active += 1
        try:
            yield
        finally:
            with self._changed:
                self._active -= 1
                self._changed.notify()
            self.count(_BLOB)

    def count(self, work: int) -> None:
        """Count bytes that were copied, and adjust the limit at the end of each interval."""
        with self._changed:
            self._work += work
            passed = self._clock() - self._since
            if passed < _INTERVAL:
                return
            rate, self._work, self._since = self._work / passed, 0, self._since + passed
            if self._active >= self._limit:  # else the number of streams did not limit the throughput
                self._steer(rate)

    def _steer(self, rate: float) -> None:
        before = self._limit
        if self._tried_from:
            if rate > self._rate * _BETTER:
                self._rate = rate
                self._try_more()
            else:  # more streams cost processor time and memory
                self._limit, self._tried_from = self._tried_from, 0
        elif rate < self._rate * _WORSE:
            self._limit, self._rate = max(2, self._limit - max(1, self._limit // 4)), rate
        else:
            self._rate = max(rate, self._rate * 0.95)
            if self._calm % _PAUSE == 0 and rate < _FAST * before:
                self._try_more()
            self._calm += 1
        if self._limit > before:
            self._changed.notify(self._limit - before)

    def _try_more(self) -> None:
        self._tried_from, self._limit = self._limit, min(self._most, self._limit + max(1, self._limit // 2))

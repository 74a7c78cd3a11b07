"""How many blobs are on their way at once: found out by measuring, since nobody knows the network beforehand."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import ceil

MOST = 16
"""Streams at most: memory is bounded by them, and more have never been faster."""

FEW = 6
"""Streams to begin with where the registries are near, or fewer, so that none is left over: ten blobs go five at once,
and again five."""

SMALL, LARGE = 1_000_000, 50_000_000
"""Bytes of a blob up to which requests are most of its work, and all streams are used; and from which on two streams
are enough to begin with: each more only costs processor time, unless measuring says otherwise."""

_BLOB = 64 * 1024
"""What the end of a blob counts for beside its bytes: with many small ones the requests are the work."""

_INTERVAL = 0.25  # seconds between two looks
_BETTER, _WORSE = 1.08, 0.85
_PAUSE = 8  # looks between two tries with more
_FAST = 150e6
"""Bytes a second of one stream from which on no more are tried: no network gives a single connection as much, so the
processors are what limits it, and a stream more only takes of their time."""


def beginning(sizes: Sequence[int]) -> int:
    """With how many streams to begin for blobs of these sizes in bytes, where the registries are near."""
    mean = sum(sizes) / (len(sizes) or 1)
    if mean < SMALL:
        return MOST
    return ceil(len(sizes) / ceil(len(sizes) / (2 if mean >= LARGE else FEW)))


class Streams:
    """Lets so many work at once as the throughput of the last moments makes seem best.

    Tries more, climbs while these bring more, goes back where they bring nothing, and tries again from time to time.
    """

    def __init__(self, start: int = 4, most: int = MOST, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit, self._most, self._clock = min(start, most), most, clock
        self._active, self._work, self._since = 0, 0, clock()
        self._rate = 0.0  # units a second with as many as now; while more are tried, with as many as before
        self._tried_from, self._calm = 0, 0
        self._changed = threading.Condition()

    @property
    def limit(self) -> int:
        """How many may work now."""
        return self._limit

    @contextmanager
    def one(self) -> Iterator[None]:
        """Waits for its turn; the end of the block is the end of a blob."""
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
        """Bytes that went."""
        with self._changed:
            self._work += work
            passed = self._clock() - self._since
            if passed < _INTERVAL:
                return
            rate, self._work, self._since = self._work / passed, 0, self._since + passed
            if self._active >= self._limit:  # else the streams were not the limit
                self._steer(rate)

    def _steer(self, rate: float) -> None:
        before = self._limit
        if self._tried_from:
            if rate > self._rate * _BETTER:
                self._rate = rate
                self._try_more()
            else:  # each costs processor time, and memory
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

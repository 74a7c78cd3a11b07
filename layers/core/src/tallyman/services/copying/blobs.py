"""Reading blobs: streamed, hashed on the way, going on where a connection broke, never past the deadline."""

import hashlib
import math
from collections.abc import Generator
from concurrent.futures import Executor, wait

from tallyman.domain.names import Digest, Location
from tallyman.errors import OutOfTime, Unreachable
from tallyman.ports.clocks import Deadline
from tallyman.ports.copying import Origin
from tallyman.values import value

RESERVE = 5.0
"""Seconds before the deadline at which work stops, so that the caller can record how far it came."""

_READS = 3  # of one blob, each going on where the one before broke


@value
class Read:
    """What a blob turned out to be: the digest and size of the bytes that came. `kept`: the first of them."""

    digest: Digest
    size: int
    kept: bytes = b""


def enough_time(deadline: Deadline, what: str) -> None:
    """OutOfTime, naming what was not done, where RESERVE seconds or less are left."""
    if deadline() <= RESERVE:
        raise OutOfTime(f"no time left in this run for {what}")


def patience(deadline: Deadline) -> float | None:
    """How many seconds may be waited for what cannot be hurried; None: any number."""
    left = deadline() - RESERVE
    return None if math.isinf(left) else max(0.0, left)


def chunks(
    source: Origin, repository: Location, digest: Digest, deadline: Deadline, start: int = 0, size: int | None = None
) -> Generator[bytes, None, None]:
    """The blob's bytes in order from `start` on, at most 1 MiB at a time; nothing about them is checked. `size`: where
    it is known to end, so that nothing is asked for when nothing is left (a range past the end is refused).

    A connection that breaks is opened again at the byte reached, three times in all; then Unreachable. OutOfTime
    between two chunks; NotFound if the blob is not there.
    """
    done = start
    if size is not None and start >= size > 0:
        return
    for attempt in range(_READS):
        enough_time(deadline, f"reading {digest}")
        try:
            with source.open_blob(repository, digest, done) as stream:
                for chunk in stream:
                    done += len(chunk)
                    yield chunk
                    enough_time(deadline, f"the rest of {digest}, after {done} bytes")
            return
        except Unreachable as error:
            if attempt + 1 == _READS:
                raise Unreachable(f"{digest}, after {done} bytes: {error}") from error


def ahead(content: Generator[bytes, None, None], pool: Executor) -> Generator[bytes, None, None]:
    """The same chunks. The first is asked for at once, in a thread of the pool: who takes them may wait for something
    else meanwhile."""
    begun = _ahead(content, pool)
    next(begun)
    return begun


def _ahead(content: Generator[bytes, None, None], pool: Executor) -> Generator[bytes, None, None]:
    first = pool.submit(next, content, b"")
    try:
        yield b""  # for `ahead`: what has begun can be closed, and closes the content with it
        if chunk := first.result():
            yield chunk
            yield from content
    finally:
        if not first.cancel():
            wait([first])
        content.close()


def read_blob(source: Origin, repository: Location, digest: Digest, deadline: Deadline, keep: int = 0) -> Read:
    """Reads the whole blob, keeping its first `keep` bytes. Errors as `chunks`."""
    hasher, size, kept = hashlib.sha256(), 0, bytearray()
    for chunk in chunks(source, repository, digest, deadline):
        hasher.update(chunk)
        size += len(chunk)
        kept += chunk[: keep - len(kept)] if keep > len(kept) else b""
    return Read(Digest("sha256:" + hasher.hexdigest()), size, bytes(kept))

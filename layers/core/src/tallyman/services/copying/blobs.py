"""Reads blobs as streams: hashes them, resumes after a broken connection, stops before the deadline."""

import hashlib
import math
import time
from collections.abc import Generator
from concurrent.futures import Executor, wait

from tallyman.domain.names import Digest, Location
from tallyman.errors import OutOfTime, Throttled, TransientError, Unreachable
from tallyman.ports.clocks import Deadline
from tallyman.ports.copying import Origin
from tallyman.values import value

RESERVE = 5.0
"""Seconds before the deadline at which work stops, so that the caller can record how far it came."""

TRIES = 3
"""Attempts at one blob: to read it (each resumes where the one before broke), and to upload it to a target alone."""

LONGEST_PAUSE = 20.0
"""The longest pause in seconds that a copy makes at a registry's request."""


@value
class Read:
    """The digest and the size in bytes of what was read of a blob. `kept`: its first bytes."""

    digest: Digest
    size: int
    kept: bytes = b""


def enough_time(deadline: Deadline, what: str) -> None:
    """Raise OutOfTime, which names what was not done, where RESERVE seconds or less are left."""
    if deadline() <= RESERVE:
        raise OutOfTime(f"no time left in this run for {what}")


def patience(deadline: Deadline) -> float | None:
    """The seconds that may be spent waiting for something that can't be interrupted; None: no limit."""
    left = deadline() - RESERVE
    return None if math.isinf(left) else max(0.0, left)


def pause(error: TransientError, attempt: int, deadline: Deadline) -> None:
    """Wait before the next attempt: as long as the other side asked, else longer after each. Raises the error where it
    asks for more than LONGEST_PAUSE, or for more than is left."""
    import random  # seldom needed

    seconds = 0.05 * 2**attempt if error.after is None else error.after
    left = patience(deadline)
    if seconds > LONGEST_PAUSE or (left is not None and seconds >= left):
        raise error
    time.sleep(seconds * random.uniform(1, 1.25))  # so that clients refused together don't return together


def chunks(
    source: Origin, repository: Location, digest: Digest, deadline: Deadline, start: int = 0, size: int | None = None
) -> Generator[bytes, None, None]:
    """Yield the blob's bytes from `start` on, at most 1 MiB at a time. Their hash is not checked. `size`: the size of
    the blob where it is known, so that no request is made when nothing is left (a range past the end is refused).

    After a transient error it pauses and resumes at the byte reached; TRIES connections in all. Raises OutOfTime
    between two chunks, NotFound if the blob is not there.
    """
    done = start
    if size is not None and start >= size > 0:
        return
    for attempt in range(1, TRIES + 1):
        enough_time(deadline, f"reading {digest}")
        begun = done
        try:
            with source.open_blob(repository, digest, done) as stream:
                for chunk in stream:
                    done += len(chunk)
                    yield chunk
                    enough_time(deadline, f"the rest of {digest}, after {done} bytes")
                if stream.size is None and begun < done < (size or 0):
                    raise Unreachable("the connection was closed")  # an end that was not announced may be a break
            return
        except (Unreachable, Throttled) as error:
            if attempt == TRIES:
                raise Unreachable(f"{digest}, after {done} bytes: {error}") from error
            pause(error, attempt, deadline)


def ahead(content: Generator[bytes, None, None], pool: Executor) -> Generator[bytes, None, None]:
    """Yield the same chunks. A thread of the pool requests the first one at once, while the consumer may still wait
    for something else."""
    begun = _ahead(content, pool)
    next(begun)
    return begun


def _ahead(content: Generator[bytes, None, None], pool: Executor) -> Generator[bytes, None, None]:
    first = pool.submit(next, content, b"")
    try:
        yield b""  # for `ahead`: only a generator that has begun closes the content when it is closed
        if chunk := first.result():
            yield chunk
            yield from content
    finally:
        if not first.cancel():
            wait([first])
        content.close()


def read_blob(source: Origin, repository: Location, digest: Digest, deadline: Deadline, keep: int = 0) -> Read:
    """Read the whole blob and keep its first `keep` bytes. Raises as `chunks`."""
    hasher, size, kept = hashlib.sha256(), 0, bytearray()
    for chunk in chunks(source, repository, digest, deadline):
        hasher.update(chunk)
        size += len(chunk)
        kept += chunk[: keep - len(kept)] if keep > len(kept) else b""
    return Read(Digest("sha256:" + hasher.hexdigest()), size, bytes(kept))

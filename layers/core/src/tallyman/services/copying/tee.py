"""Streams a blob from one reader to several writers: read once, sent to every target that lacks it, never stored.

Between the reader and each writer is a pipe of at most DEPTH chunks. The writers share the chunks; memory is at most
(DEPTH + 2) MiB for each writer.
"""

import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import closing
from typing import Any, Generic, TypeVar

from tallyman.domain.names import Digest
from tallyman.errors import DigestMismatch, OutOfTime, TallymanError, TransientError
from tallyman.ports.clocks import Deadline
from tallyman.services.copying.blobs import enough_time, patience
from tallyman.values import value

DEPTH = 4
"""Chunks (of at most 1 MiB) by which a writer may be behind before the reader waits for it."""

PATIENCE = 10.0
"""Seconds for which the others wait for a slow one. Of writers: the time in which another writer was idle because this
one took no chunk, and the time after another had the whole blob. Of requests: the time after the first answer."""

_TICK = 1.0  # seconds between two checks of the deadline while waiting

_Key = TypeVar("_Key")


class TooSlow(TransientError):
    """The writer kept the others waiting; it gets the blob alone, afterwards."""


class Pipe:
    """A bounded queue of chunks from one thread to another."""

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._error: BaseException | None = None
        self.abandoned = False
        self.hungry = False
        """Whether the writer waits for a chunk."""

    def put(self, chunk: bytes, timeout: float) -> bool:
        """Add a chunk; wait at most `timeout` seconds for room. False: there was none. True also once it is
        abandoned."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._chunks) < DEPTH or self.abandoned, timeout):
                return False
            if not self.abandoned:
                self._chunks.append(chunk)
                self._changed.notify_all()
            return True

    def end(self, error: BaseException | None = None) -> None:
        """End the pipe. With an error the writer gets that error at once, instead of the chunks that are left."""
        with self._changed:
            if not self._ended:
                self._ended, self._error = True, error
                self._changed.notify_all()

    def abandon(self) -> None:
        """Drop the chunks: the writer has ended and takes no more."""
        with self._changed:
            self.abandoned = True
            self._chunks.clear()
            self._changed.notify_all()

    def __iter__(self) -> Iterator[bytes]:
        while True:
            with self._changed:
                self.hungry = not (self._chunks or self._ended)
                self._changed.wait_for(lambda: bool(self._chunks) or self._ended)
                self.hungry = False
                if self._error:
                    raise self._error
                if not self._chunks:
                    return
                chunk = self._chunks.popleft()
                self._changed.notify_all()
            yield chunk


@value(slots=False)
class Teed(Generic[_Key]):
    """The result of a tee. `failed`: errors by writer; `source_failed`: the source caused them. A writer in `slow` was
    dropped; its thread may still hang in a connection, so wait for its future before writing there again."""

    failed: Mapping[_Key, TallymanError]
    slow: Mapping[_Key, "Future[TallymanError | None]"]
    source_failed: bool


def tee(  # noqa: PLR0913 - a blob (chunks, digest, size, start), where it goes, in which threads and time
    chunks: Generator[bytes, None, None],
    digest: Digest,
    size: int,
    writers: Mapping[_Key, Callable[[Iterator[bytes]], None]],
    pool: Executor,
    deadline: Deadline,
    start: int = 0,
) -> Teed[_Key]:
    """Read `chunks` once and pass them to every writer, each in a thread of `pool` (which needs a free one for
    each).

    The last chunk is held back until the hash of the whole blob was compared. If it is wrong, every writer gets
    DigestMismatch from its iterator instead, so that no upload is completed with wrong bytes. A failed writer does not
    stop the others; one for which the others waited PATIENCE seconds is dropped. Where the chunks begin at a byte
    `start` > 0 there is no hash to compare here: the registry has to check the digest.
    """
    if len(writers) == 1:
        return _straight(_checked(chunks, digest, size, start), chunks, digest, writers, pool, deadline)
    pipes = {key: Pipe() for key in writers}
    threads = {key: pool.submit(_write, writers[key], pipe) for key, pipe in pipes.items()}
    slow: set[_Key] = set()
    waited = dict.fromkeys(pipes, 0.0)
    problem: TallymanError | None = None
    try:
        with closing(chunks):
            for chunk in _checked(chunks, digest, size, start):
                for key in [k for k, pipe in pipes.items() if k not in slow and not pipe.abandoned]:
                    others = [pipe for k, pipe in pipes.items() if k != key and k not in slow]
                    waited[key] = _hand_over(chunk, pipes[key], deadline, others, waited[key])
                    if waited[key] >= PATIENCE:
                        slow.add(key)
                        pipes[key].end(TooSlow(f"kept the others waiting for {digest} for {PATIENCE:.0f} s"))
                if all(key in slow or pipe.abandoned for key, pipe in pipes.items()):
                    break
    except TallymanError as error:
        problem = error
    except BaseException as error:
        problem = TransientError("interrupted")
        problem.__cause__ = error
        raise
    finally:
        for pipe in pipes.values():
            pipe.end(problem)
    failed = _ends(threads, slow, digest, deadline, problem)
    return Teed(failed, {key: threads[key] for key in slow}, source_failed=problem is not None)


def _ends(
    threads: Mapping[_Key, "Future[TallymanError | None]"],
    slow: set[_Key],
    digest: Digest,
    deadline: Deadline,
    problem: TallymanError | None,
) -> dict[_Key, TallymanError]:
    """Wait for the writers that are not `slow`; return the error of each that failed. A writer that is late but may
    still succeed is added to `slow`."""
    failed: dict[_Key, TallymanError] = {}
    waiting = {key: thread for key, thread in threads.items() if key not in slow}
    late = stragglers(waiting, deadline, failing=problem is not None)
    for key, thread in waiting.items():
        if key in late and not problem and patience(deadline) != 0:
            slow.add(key)  # it may still succeed: its pipe has everything
        elif key in late:  # it hangs in a connection; when it wakes up, its pipe has ended
            failed[key] = problem or OutOfTime(f"no time left in this run for the end of the upload of {digest}")
        elif refusal := thread.result():
            failed[key] = problem or refusal
    return failed


def _write(writer: Callable[[Iterator[bytes]], None], pipe: Pipe) -> TallymanError | None:
    try:
        writer(iter(pipe))
    except TallymanError as error:
        return error
    finally:
        pipe.abandon()
    return None


def stragglers(threads: Mapping[_Key, "Future[Any]"], deadline: Deadline, *, failing: bool = False) -> set[_Key]:
    """Wait for all threads, but no more than PATIENCE seconds once one has succeeded (`failing`: has ended). Return
    the keys of those that are not done then."""
    pending = set(threads.values())
    while pending:
        done, pending = wait(pending, patience(deadline), FIRST_COMPLETED)
        if not done or any(failing or not (thread.exception() or thread.result()) for thread in done):
            break
    left = patience(deadline)
    wait(pending, PATIENCE if left is None else min(PATIENCE, left))
    return {key for key, thread in threads.items() if not thread.done()}


def _hand_over(chunk: bytes, pipe: Pipe, deadline: Deadline, others: Sequence[Pipe], waited: float) -> float:
    """Put a chunk into the pipe. Return the seconds for which the other writers have waited for this one so far
    (`waited` before this chunk); gives up once these reach PATIENCE. Raises OutOfTime near the deadline."""
    while True:
        began = time.monotonic()
        taken = pipe.put(chunk, min(_TICK, PATIENCE))
        if any(other.hungry for other in others):
            waited += time.monotonic() - began
        if taken or waited >= PATIENCE:
            return waited
        enough_time(deadline, "a slow upload")


def _straight(
    checked: Iterator[bytes],
    chunks: Generator[bytes, None, None],
    digest: Digest,
    writers: Mapping[_Key, Callable[[Iterator[bytes]], None]],
    pool: Executor,
    deadline: Deadline,
) -> Teed[_Key]:
    """Let the only writer read the chunks itself, without a pipe."""
    [(key, writer)] = writers.items()
    problems: list[TallymanError] = []

    def read() -> Iterator[bytes]:
        try:
            yield from checked
        except TallymanError as error:
            problems.append(error)
            raise

    def write() -> TallymanError | None:
        with closing(chunks):
            try:
                writer(read())
            except TallymanError as error:
                return problems[0] if problems else error
        return None

    if patience(deadline) is None:  # no deadline: no thread has to be left behind
        refusal = write()
        return Teed({key: refusal} if refusal else {}, {}, source_failed=bool(problems))
    thread = pool.submit(write)
    wait([thread], patience(deadline))
    if not thread.done():  # it hangs in a connection; when it wakes up, the deadline is over
        return Teed({key: OutOfTime(f"no time left in this run for the end of {digest}")}, {key: thread}, False)
    refusal = thread.result()
    return Teed({key: refusal} if refusal else {}, {}, source_failed=bool(problems))


def _checked(chunks: Iterator[bytes], digest: Digest, size: int, start: int = 0) -> Iterator[bytes]:
    """Yield the chunks, the last one only after size and hash were compared. Raises DigestMismatch."""
    hasher, seen, last = hashlib.sha256(), start, b""
    for chunk in chunks:
        if not start:
            hasher.update(chunk)
        seen += len(chunk)
        if seen > size:
            break
        if last:
            yield last
        last = chunk
    found = digest if start else "sha256:" + hasher.hexdigest()
    if found != digest or seen != size:
        raise DigestMismatch(
            f"the source's copy of {digest} ({size} bytes stated) is damaged: its {seen} bytes hash to {found}; "
            "remove the image and push it again"
            if seen <= size
            else f"the source's copy of {digest} is damaged: it has more than the {size} bytes stated"
        )
    if last:
        yield last

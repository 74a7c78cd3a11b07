"""One reader, several writers: a blob is read once and streamed to every target that lacks it, never stored.

Between the reader and each writer lies a pipe of at most DEPTH chunks, so that memory is bounded by chunks that are
shared between the writers: (DEPTH + 2) MiB for each writer at worst.
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
"""Chunks (of at most 1 MiB) that a writer may lie behind the reader before the reader waits for it."""

PATIENCE = 10.0
"""Seconds for which the others wait for one of them: of a blob, those in which another writer had nothing to do because
this one took no chunk, and those after another had all of it; of questions, those after the first was answered."""

_TICK = 1.0  # seconds between two looks at the deadline while waiting

_Key = TypeVar("_Key")


class TooSlow(TransientError):
    """The writer kept the others waiting: it gets the blob alone, afterwards."""


class Pipe:
    """Chunks on their way from one thread to another."""

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._error: BaseException | None = None
        self.abandoned = False
        self.hungry = False
        """Whether the writer waits for a chunk."""

    def put(self, chunk: bytes, timeout: float) -> bool:
        """Waits at most `timeout` seconds for room. True: it was taken, or nobody wants any more."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._chunks) < DEPTH or self.abandoned, timeout):
                return False
            if not self.abandoned:
                self._chunks.append(chunk)
                self._changed.notify_all()
            return True

    def end(self, error: BaseException | None = None) -> None:
        """No more chunks. With an error the writer gets that at once, and not what still lies in the pipe."""
        with self._changed:
            if not self._ended:
                self._ended, self._error = True, error
                self._changed.notify_all()

    def abandon(self) -> None:
        """The writer has ended: nothing is taken out any more."""
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
    """How it went. `failed` by writer, with `source_failed` True where it was the source's fault. A writer in `slow`
    was dropped: its thread may still hang in a connection, so wait for the future before writing there again."""

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
    """Reads `chunks` once and hands them to every writer, each in a thread of `pool` (which needs one free for each).

    The last chunk is held back until the hash of all is right: where it is not, every writer gets DigestMismatch
    from its iterator instead, so that no upload is completed with wrong bytes. A writer that fails does not stop
    the others; one for which the others waited PATIENCE seconds is dropped. Where the chunks begin at
    a byte `start` further on there is no hash to compare: the writers have to let the registry check.
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
    """Waits for the writers that are not `slow`: why each failed. Those that are late, and may still come to their
    end, join the slow ones."""
    failed: dict[_Key, TallymanError] = {}
    waiting = {key: thread for key, thread in threads.items() if key not in slow}
    late = stragglers(waiting, deadline, failing=problem is not None)
    for key, thread in waiting.items():
        if key in late and not problem and patience(deadline) != 0:
            slow.add(key)  # it may still come to its end: nothing is missing in its pipe
        elif key in late:  # hangs in a connection; it finds its pipe ended when that wakes up
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
    """Waits for all, but once one has succeeded (`failing`: has ended) for no more than PATIENCE seconds. Those that
    are not done then."""
    pending = set(threads.values())
    while pending:
        done, pending = wait(pending, patience(deadline), FIRST_COMPLETED)
        if not done or any(failing or not (thread.exception() or thread.result()) for thread in done):
            break
    left = patience(deadline)
    wait(pending, PATIENCE if left is None else min(PATIENCE, left))
    return {key for key, thread in threads.items() if not thread.done()}


def _hand_over(chunk: bytes, pipe: Pipe, deadline: Deadline, others: Sequence[Pipe], waited: float) -> float:
    """For how many seconds the others have waited for it by now, `waited` before; it has taken the chunk, or these are
    PATIENCE or more. OutOfTime if the deadline comes nearer than the writer's next breath."""
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
    """One writer reads for itself: no pipe, no second thread that works."""
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

    if patience(deadline) is None:  # nobody has to be left hanging
        refusal = write()
        return Teed({key: refusal} if refusal else {}, {}, source_failed=bool(problems))
    thread = pool.submit(write)
    wait([thread], patience(deadline))
    if not thread.done():  # hangs in a connection; it finds its time over when that wakes up
        return Teed({key: OutOfTime(f"no time left in this run for the end of {digest}")}, {key: thread}, False)
    refusal = thread.result()
    return Teed({key: refusal} if refusal else {}, {}, source_failed=bool(problems))


def _checked(chunks: Iterator[bytes], digest: Digest, size: int, start: int = 0) -> Iterator[bytes]:
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

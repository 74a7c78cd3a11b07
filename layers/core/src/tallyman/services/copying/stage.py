"""Stages an image graph in several repositories: copies everything except the tag.

    members = read_graph(source, DEV, digest)
    staged = stage(source, DEV, target, [PROD, PROD_SA], members, CopyOptions(deadline))

Cost for a target that has the image: one request for the image and its referrers together (a hundred manifests a call
where a registry answers for many at once, else a call for each). For a target that lacks it: that, ⌈B/100⌉ requests for
the B blobs, a mount or an upload for each missing blob, a request for each missing manifest, and one request to read
back a hundred manifests. A blob that several targets lack is read from the source once. Memory: that of tee.py for each
stream in use.
"""

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from tallyman.domain.images.manifest import Manifest
from tallyman.domain.names import Digest, Location
from tallyman.errors import DigestMismatch, OutOfTime, TallymanError, TransientError, Unsupported
from tallyman.ports.copying import Destination, Origin
from tallyman.services.copying.blobs import TRIES, ahead, chunks, patience, pause
from tallyman.services.copying.image_graph import ImageGraph, join, read_graph, read_graphs
from tallyman.services.copying.progress import CopyProgress
from tallyman.services.copying.streams import MOST, Streams, beginning
from tallyman.services.copying.target_copy import Staged, TargetCopy
from tallyman.services.copying.target_plan import CopyOptions, Held
from tallyman.services.copying.tee import Teed, stragglers, tee

__all__ = ["CopyOptions", "CopyProgress", "Held", "ImageGraph", "Staged", "join", "read_graph", "read_graphs", "stage"]

R = TypeVar("R", bound=Location)

FAR = 0.008
"""Seconds of a round trip from which on a registry counts as far away: then all streams are used from the beginning,
and source and target are asked at the same time."""


OF_THE_BLOB = (Unsupported, DigestMismatch)
"""Errors of a target that concern one blob: it is empty or too large, or arrived damaged. Others may be accepted."""


def ask_ahead(target: Destination, place: Location, name: str) -> tuple[Held, float]:
    """Ask the target for one manifest; return the answer, which `stage` can use, and the seconds that it took."""
    began = time.monotonic()
    found = target.manifests(place, [name]).get(name)
    held: dict[str, Manifest | None] = {name: found}
    if found is not None:
        held[found.digest] = found
    return held, time.monotonic() - began


def stage(
    source: Origin,
    source_repository: Location,
    target: Destination,
    targets: Sequence[R],
    graph: ImageGraph,
    options: CopyOptions,
) -> dict[R, Staged | TallymanError]:
    """Copy the graph to every target that lacks it; return the result of each target, in their order.

    The targets are independent: a failed or slow target does not stop the others.

    It may be repeated: it changes nothing twice, and resumes blob by blob. An error is OutOfTime where the time was too
    short, DigestMismatch where the source is damaged (no upload of that blob was completed) or a target does not return
    the bytes that were put, or the target's own error. Of several roots each has its own error in `Staged.failed`.
    """
    stopped = threading.Event()

    def left() -> float:
        return 0.0 if stopped.is_set() else options.deadline()

    places = list(dict.fromkeys(targets))
    ours = replace(options, deadline=left)
    works = [TargetCopy(source_repository, target, place, graph, ours) for place in places]
    if not works:
        return {}
    most = options.parallel or MOST
    uploads = ThreadPoolExecutor((most + 1) * (len(works) + 1), thread_name_prefix="upload")
    with (
        _unjoined(uploads),
        ThreadPoolExecutor(2 * len(works), thread_name_prefix="target") as alone,
        ThreadPoolExecutor(most, thread_name_prefix="blob") as readers,
        _stopping(stopped),
    ):
        begun = {work: alone.submit(work.begin) for work in works}
        late = stragglers(begun, left)
        for work in late:
            work.behind = True
        present = [work for work in works if work not in late]
        _all(begun[work] for work in present)
        far = max([options.seconds, *(work.seconds for work in present)]) > FAR
        lacking = {d for work in present for d in work.lacking if not work.error}
        sizes = [graph.blobs[d].size for d in lacking]
        streams = Streams(start=options.parallel or (MOST if far else beginning(sizes)), most=most)
        copier = _Copier(source, source_repository, graph, ours, uploads, streams, far)
        largest_first = sorted(lacking, key=graph.order)
        _all(readers.submit(copier.spread, digest, present) for digest in largest_first)
        _all(alone.submit(copier.end, work, begun[work]) for work in works)
    return {place: work.outcome() for place, work in zip(places, works, strict=True)}


@dataclass
class _Copier:
    """Copies blobs from the source to targets."""

    source: Origin
    repository: Location
    graph: ImageGraph
    options: CopyOptions
    uploads: ThreadPoolExecutor
    streams: Streams
    far: bool

    def spread(self, digest: Digest, works: Sequence[TargetCopy]) -> None:
        """Copy a blob to all targets that lack it and keep up. A target with a transient error gets it alone, at the
        end."""
        with self.streams.one():
            takers = [w for w in works if digest in w.lacking and not (w.error or w.behind)]
            if not takers:
                return
            teed = self._tee(digest, takers)
            for work, hanging in teed.slow.items():
                work.behind = True
                work.hanging.append(hanging)
            for work, error in teed.failed.items():
                if teed.source_failed or isinstance(error, OF_THE_BLOB):
                    work.lost[digest] = error
                elif isinstance(error, TransientError):
                    work.behind, work.failure = True, error
                else:
                    work.error = error
        arrived = [work for work in takers if digest not in work.lacking]
        others = [self.uploads.submit(work.settle, "blob", digest) for work in arrived[1:]]
        for work in arrived[:1]:
            work.settle("blob", digest)
        _all(others)

    def end(self, work: TargetCopy, begun: "Future[None]") -> None:
        """Do what is left for one target, also for one that was slow to begin."""
        if wait([begun], patience(self.options.deadline)).not_done:
            work.error = OutOfTime(f"{work.repository} has not answered in this run")
            return
        begun.result()
        work.guard(partial(work.finish, self.alone))

    def alone(self, digest: Digest, work: TargetCopy) -> None:
        """Copy a blob to one target; after a transient error pause and try again. Raises the target's error; an error
        of the source, or of this blob alone, is recorded."""
        for attempt in range(1, TRIES + 1):
            teed = self._tee(digest, [work])
            error = teed.failed.get(work)
            if error is None:
                return
            if teed.source_failed or isinstance(error, OF_THE_BLOB):
                work.lost[digest] = error
                return
            if attempt == TRIES or not isinstance(error, TransientError):
                raise error
            pause(error, attempt, self.options.deadline)

    def _tee(self, digest: Digest, takers: Sequence[TargetCopy]) -> Teed[TargetCopy]:
        size = self.graph.blobs[digest].size
        parts = self.options.parts
        in_parts = [work for work in takers if parts and parts.suits(work.repository, size)]
        offsets = {work: parts.offset(work.repository, digest) for work in in_parts if parts}
        start = min((offsets.get(work, 0) for work in takers), default=0)
        writers: dict[TargetCopy, Callable[[Iterator[bytes]], None]] = {}
        for work in takers:
            if parts and work in offsets:
                send = partial(parts.upload, work.repository, digest, size, start)
            else:
                send = partial(work.port.upload, work.repository, digest, size)
            writers[work] = partial(work.upload, digest, size, send)
        read = chunks(self.source, self.repository, digest, self.options.deadline, start, size)
        content = self._counted(read, digest)
        if self.far and len(takers) == 1:  # several targets already have threads of their own
            content = ahead(content, self.uploads)
        return tee(content, digest, size, writers, self.uploads, self.options.deadline, start)

    def _counted(self, content: Generator[bytes, None, None], digest: Digest) -> Generator[bytes, None, None]:
        with closing(content):  # now, not when it is garbage collected: it holds a connection
            for chunk in content:
                self.streams.count(len(chunk))
                self.options.watch.read(digest, len(chunk))
                yield chunk


@contextmanager
def _unjoined(pool: ThreadPoolExecutor) -> Iterator[None]:
    """Shut the pool down without waiting for threads that hang in a connection."""
    try:
        yield
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _stopping(stopped: threading.Event) -> Iterator[None]:
    """Set the event when the block fails or is interrupted, which ends its work at the next chunk. Without it the
    process could not end before the whole copy."""
    try:
        yield
    except BaseException:
        stopped.set()
        raise


def _all(steps: Iterable["Future[None]"]) -> None:
    """Wait for all steps; then raise an unexpected exception of a step (a bug, the end of the process)."""
    waiting = list(steps)
    wait(waiting)
    for step in waiting:
        step.result()

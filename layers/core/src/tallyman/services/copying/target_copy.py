"""The work of a copy in one target."""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import field

from tallyman.domain.images.manifest import Manifest
from tallyman.domain.names import Digest, Location
from tallyman.errors import (
    BadInput,
    ContentMissing,
    DigestMismatch,
    OutOfTime,
    Refused,
    TallymanError,
    TransientError,
    Unreachable,
)
from tallyman.ports.copying import Destination
from tallyman.services.copying.blobs import TRIES, enough_time, patience, pause
from tallyman.services.copying.image_graph import ImageGraph
from tallyman.services.copying.manifest_order import Kind, Order
from tallyman.services.copying.target_plan import CopyOptions, TargetPlan
from tallyman.values import value

PUTS = 16
"""The most manifests that are put at once; they do not need each other."""


@value
class Staged:
    """The image is in the repository and was read back. No tag was set, except those in `tagged` (by root).

    `pushed`: manifests that were not there before. `uploaded`, `mounted`: digests of blobs. `refused_referrers`:
    referrers that could not be copied, with the reason. `failed`: of several roots, those that could not be copied.
    """

    repository: Location
    pushed: tuple[Digest, ...] = ()
    uploaded: tuple[Digest, ...] = ()
    mounted: tuple[Digest, ...] = ()
    refused_referrers: Mapping[str, str] = field(default_factory=dict)
    failed: Mapping[Digest, TallymanError] = field(default_factory=dict)
    tagged: Mapping[Digest, str] = field(default_factory=dict)

    @property
    def was_there(self) -> bool:
        """Whether everything was there before."""
        return not (self.pushed or self.uploaded or self.mounted or self.refused_referrers or self.failed)


class TargetCopy(TargetPlan):
    """Copies to one target what it lacks."""

    def __init__(
        self, origin: Location, port: Destination, repository: Location, graph: ImageGraph, options: CopyOptions
    ) -> None:
        super().__init__(origin, port, repository, graph, options)
        self.behind = False  # whether it gets the rest alone, after the others
        self.failure: TransientError | None = None  # why it does
        self.seconds = 0.0  # that the first request took
        self.hanging: list[Future[TallymanError | None]] = []
        self.pushed: list[Digest] = []
        self.uploaded: list[Digest] = []
        self.mounted: list[Digest] = []
        self._order = Order((), {})
        self._unsettled: TallymanError | None = None

    def outcome(self) -> Staged | TallymanError:
        """The result: the target's error, or what was staged."""
        failed = {root: self.broken[root] for root in self.graph.roots if root in self.broken}
        if self.error or len(failed) == len(self.graph.roots) == 1:
            return self.error or failed[self.graph.digest]
        pushed, roots = set(self.pushed), set(self.graph.roots)
        return Staged(
            self.repository,
            tuple(m.digest for m in self.graph.manifests if m.digest in pushed),
            tuple(self.uploaded),
            tuple(self.mounted),
            dict(self.refused),
            failed,
            {digest: tag for digest, tag in self.tags.items() if digest in (pushed | self.tagged) & roots},
        )

    def begin(self) -> None:
        """Ask the target what it lacks, and mount what it can, before blobs are read."""
        began = time.monotonic()
        self.guard(self.look)
        self.seconds = time.monotonic() - began
        self.guard(self.prepare)
        self.guard(self.mount)
        self.await_blobs()

    def mount(self) -> None:
        """Mount the blobs from the origin, where that is in the same registry."""
        if self.repository.registry != self.origin.registry or self.repository == self.origin:
            return
        wanted = sorted(self.lacking)
        if not wanted or not self._mount(wanted[0]):
            return  # the account does not mount, or not with this encryption: the others would fail too
        with ThreadPoolExecutor(PUTS, thread_name_prefix="mount") as pool:
            for done in [pool.submit(self._mount, digest) for digest in wanted[1:]]:
                done.result()

    def _mount(self, digest: Digest) -> bool:
        enough_time(self.deadline, f"mounting {digest} in {self.repository}")
        if not self.port.mount(self.repository, digest, self.origin.name):
            return False
        self.lacking.discard(digest)
        self.mounted.append(digest)
        self.watch.mounted(self.repository, digest, self.graph.blobs[digest].size)
        return True

    def await_blobs(self) -> None:
        """Note which blobs each manifest waits for, for `settle`."""
        self._order = Order(self.needed, {m.digest: self.graph.blobs_of(m) & self.lacking for m in self.needed})

    def settle(self, kind: Kind, digest: Digest) -> None:
        """Put the manifests that waited only for this blob or manifest, while other blobs are still copied. An error
        is kept and raised by `finish`, after the other blobs."""
        for manifest in self._order.arrived(kind, digest):
            try:
                if not self.error and self._put(manifest):
                    self.settle("manifest", manifest.digest)
            except TallymanError as error:
                self._unsettled = error

    def finish(self, alone: "Callable[[Digest, TargetCopy], None]") -> None:
        """Copy the blobs that are left, then put the other manifests bottom-up and read all of them back."""
        if wait(self.hanging, patience(self.deadline)).not_done:
            raise OutOfTime(f"an upload to {self.repository} hangs, and no time is left in this run to wait for it")
        late = self.lacking - self.lost.keys()
        if late and self.failure:
            pause(self.failure, 1, self.deadline)
        if late:  # an upload whose answer was lost may have been completed
            enough_time(self.deadline, f"asking {self.repository} for blobs again")
            for digest in sorted(late - self.port.missing_blobs(self.repository, sorted(late))):
                self._has(digest)
        for digest in sorted(self.lacking - self.lost.keys()):
            alone(digest, self)
        if self._unsettled:
            raise self._unsettled
        with ThreadPoolExecutor(PUTS, thread_name_prefix="put") as pool:
            for level in self._order.levels(self.refused.keys() | {*self.pushed, *self.broken}):
                for done in [pool.submit(self._put, manifest) for manifest in level]:
                    done.result()
        self._read_back()

    def upload(
        self, digest: Digest, size: int, send: Callable[[Iterator[bytes]], None], content: Iterator[bytes]
    ) -> None:
        """Send a blob and report the progress."""

        def counted() -> Iterator[bytes]:
            for chunk in content:
                yield chunk
                self.watch.sent(self.repository, digest, len(chunk))

        send(counted())
        self._has(digest)
        self.watch.uploaded(self.repository, digest, size)

    def _has(self, digest: Digest) -> None:
        self.uploaded.append(digest)
        self.lacking.discard(digest)

    def _put(self, manifest: Manifest) -> bool:
        """Put a manifest; return whether it is there now. Raises an error of the target; an error of the manifest
        alone is recorded."""
        digest = manifest.digest
        gone = self._gone(manifest)
        try:
            if gone is not None:
                part, why = gone
                raise Refused(f"its part {part} could not be copied: {why}") if digest in self._referrers else why
            enough_time(self.deadline, f"putting {digest} into {self.repository}")
            self._send(manifest)
        except (Refused, BadInput, DigestMismatch) as error:
            if digest in self._referrers:
                self.refused[digest] = str(error)
            else:
                self.broken[digest] = error
            return False
        except TallymanError as error:
            if gone is None:
                raise
            self.broken[digest] = error
            return False
        self.pushed.append(digest)
        self.watch.pushed(self.repository, digest)
        return True

    def _send(self, manifest: Manifest) -> None:
        try:
            self.port.put_manifest(self.repository, manifest, self.tags.get(manifest.digest))
        except ContentMissing as error:
            absent = [layer.digest for layer in manifest.foreign if layer.digest not in self.graph.blobs]
            if not absent:
                raise
            raise Refused(f"{error}; the source does not hold its foreign layer {absent[0]}") from error

    def _gone(self, manifest: Manifest) -> tuple[Digest, TallymanError] | None:
        """A part of the manifest that could not be copied, with the reason; None: there is none."""
        for digest in self.graph.blobs_of(manifest):
            if digest in self.lost:
                return digest, self.lost[digest]
        for child in manifest.children:
            if child.is_manifest and child.digest in self.broken:
                return child.digest, self.broken[child.digest]
            if child.is_manifest and child.digest in self.refused:
                return child.digest, Refused(self.refused[child.digest])
        return None

    def _read_back(self) -> None:
        """Read back what was pushed. Some registries show a manifest only a moment later."""
        pushed = set(self.pushed)
        left = [m for m in self.graph.manifests if m.digest in pushed]
        for attempt in range(1, TRIES + 1):
            there = self._there(left, self.tags, ours=pushed)
            left = [m for m in left if m.digest not in there and m.digest not in self.broken]
            if not left:
                return
            text = f"{self.repository.at(left[0].digest)} was put, and is not there when it is read back"
            if attempt == TRIES:
                raise Unreachable(text)
            pause(Unreachable(text), attempt, self.deadline)

"""Stages an image family in several repositories: everything but the tag.

    members = family(source, DEV, digest)
    staged = stage(source, DEV, target, [PROD, PROD_SA], members, deadline=deadline)

Cost for a target that has it: one request for the image, and one for each referrer. For one that lacks it: that,
⌈B/100⌉ questions for the B blobs, a mount or an upload for each blob that is not there, and two or three requests for
each manifest (asked for unless one of its blobs was missing, put, read back). A blob that several targets lack is
read from the source once. Memory: see tee.py, times `parallel`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from tallyman.domain.manifest import Manifest
from tallyman.domain.names import Digest, Repository
from tallyman.errors import DigestMismatch, OutOfTime, Passing, TallymanError, Unreachable, Unsupported
from tallyman.ports import Deadline, ImageSource, ImageTarget
from tallyman.services.blobs import chunks, enough_time, patience
from tallyman.services.family import Family, family
from tallyman.services.tee import Teed, tee

__all__ = ["Family", "Staged", "family", "stage"]


@dataclass(frozen=True, slots=True)
class Staged:
    """All of the image is in the repository, read back, without any tag of ours.

    `pushed`: manifests that were not there before. `uploaded`, `mounted`: the blobs' digests. `refused_referrers`:
    those that the registry does not take, with its words.
    """

    repository: Repository
    pushed: tuple[Digest, ...] = ()
    uploaded: tuple[Digest, ...] = ()
    mounted: tuple[Digest, ...] = ()
    refused_referrers: Mapping[Digest, str] = field(default_factory=dict)

    @property
    def was_there(self) -> bool:
        """Whether nothing had to be done."""
        return not (self.pushed or self.uploaded or self.mounted or self.refused_referrers)


def stage(
    source: ImageSource,
    source_repository: Repository,
    target: ImageTarget,
    targets: Sequence[Repository],
    family: Family,
    *,
    deadline: Deadline,
    parallel: int = 4,
) -> dict[Repository, Staged | TallymanError]:
    """Brings the family into every target that lacks it; for each what came of it, in their order.

    The targets are independent: one that fails or is slow keeps no other from being staged. `parallel`: blobs on
    their way at once. Doing it again changes nothing, and goes on where it broke off, blob by blob. An error is
    OutOfTime for what did not fit, DigestMismatch where the source is damaged (nothing of that blob was completed)
    or the target does not give back what was put, or what the target answered.
    """
    works = [_Target(source_repository, target, repository, family, deadline) for repository in dict.fromkeys(targets)]
    if not works:
        return {}
    uploads = ThreadPoolExecutor((parallel + 1) * len(works), thread_name_prefix="upload")
    with (
        _unjoined(uploads),
        ThreadPoolExecutor(len(works), thread_name_prefix="target") as alone,
        ThreadPoolExecutor(parallel, thread_name_prefix="blob") as readers,
    ):
        copier = _Copier(source, source_repository, family, deadline, uploads)
        _all(alone.submit(work.guard, work.prepare) for work in works)
        lacking = {d for work in works for d in work.lacking if not work.error}
        largest_first = sorted(lacking, key=lambda d: -family.blobs[d].size)
        _all(readers.submit(copier.spread, digest, works) for digest in largest_first)
        _all(alone.submit(work.guard, partial(work.finish, copier)) for work in works)
    return {work.repository: work.error or work.staged() for work in works}


class _Target:
    """What is done, and still to do, in one repository."""

    def __init__(
        self, origin: Repository, port: ImageTarget, repository: Repository, family: Family, deadline: Deadline
    ) -> None:
        self.origin, self.port, self.repository, self.family, self.deadline = origin, port, repository, family, deadline
        self.error: TallymanError | None = None
        self.behind = False  # gets what it still lacks alone, after the others
        self.hanging: list[Future[TallymanError | None]] = []
        self.needed: list[Manifest] = []
        self.lacking: set[Digest] = set()
        self.lacked: set[Digest] = set()  # at the beginning
        self.absent: set[Digest] = set()  # manifests known not to be there
        self.pushed: list[Digest] = []
        self.uploaded: list[Digest] = []
        self.mounted: list[Digest] = []
        self.refused: dict[Digest, str] = {}

    def staged(self) -> Staged:
        return Staged(
            self.repository, tuple(self.pushed), tuple(self.uploaded), tuple(self.mounted), dict(self.refused)
        )

    def guard(self, step: Callable[[], None]) -> None:
        """Runs a step unless one before failed; what it raises is this target's outcome, and nobody else's."""
        if not self.error:
            try:
                step()
            except TallymanError as error:
                self.error = error

    def prepare(self) -> None:
        """Finds out what is missing, and mounts what can be mounted.

        An image that is there has all that it needs: a registry takes no manifest before its blobs and children,
        and ECR removes no image that an index lists.
        """
        if self.there(self.family.root):
            self.needed = [m for m in self.family.referrers if not self.there(m)]
        else:
            self.needed = list(self.family.manifests)
        wanted = {d for m in self.needed for d in self.family.blobs_of(m)}
        if wanted:
            enough_time(self.deadline, f"asking {self.repository} for blobs")
            self.lacking = self.port.missing_blobs(self.repository, sorted(wanted)) & wanted
            self.lacked = set(self.lacking)
        if self.repository.registry == self.origin.registry and self.repository != self.origin:
            for digest in sorted(self.lacking):
                enough_time(self.deadline, f"mounting {digest} in {self.repository}")
                if not self.port.mount(self.repository, digest, self.origin.name):
                    break  # the account does not mount, or not with this encryption: no use asking for the others
                self.lacking.discard(digest)
                self.mounted.append(digest)

    def finish(self, copier: "_Copier") -> None:
        """Catches up with blobs alone, then puts the manifests bottom-up and reads each of them back."""
        if wait(self.hanging, patience(self.deadline)).not_done:
            raise OutOfTime(f"an upload to {self.repository} hangs, and no time is left in this run to wait for it")
        for digest in sorted(self.lacking):
            copier.alone(digest, self)
        for manifest in self.needed:
            digest, blobs = manifest.digest, self.family.blobs_of(manifest)
            is_referrer = manifest in self.family.referrers
            refused = next((c.digest for c in manifest.children if c.digest in self.refused), None)
            if is_referrer and refused:
                self.refused[digest] = f"its part {refused} was refused"
                continue
            if digest not in self.absent and not blobs & self.lacked and self.there(manifest):
                continue
            enough_time(self.deadline, f"putting {digest} into {self.repository}")
            try:
                self.port.put_manifest(self.repository, manifest)
            except Unsupported as error:
                if not is_referrer:
                    raise
                self.refused[digest] = str(error)
                continue
            if not self.there(manifest):
                raise Unreachable(f"{self.repository.at(digest)} was put, and is not there when it is read back")
            self.pushed.append(digest)

    def there(self, manifest: Manifest) -> bool:
        """Whether the repository gives back exactly these bytes; DigestMismatch if it gives others."""
        enough_time(self.deadline, f"asking {self.repository} for {manifest.digest}")
        found = self.port.manifest(self.repository, manifest.digest)
        if found is None:
            self.absent.add(manifest.digest)
            return False
        if found.raw != manifest.raw:
            raise DigestMismatch(
                f"{self.repository} answers {found.digest} when asked for {manifest.digest}: remove it there"
            )
        return True

    def upload(self, digest: Digest, size: int, content: Iterator[bytes]) -> None:
        self.port.upload(self.repository, digest, size, content)
        self.uploaded.append(digest)
        self.lacking.discard(digest)


@dataclass
class _Copier:
    """Brings blobs from the source to targets."""

    source: ImageSource
    repository: Repository
    family: Family
    deadline: Deadline
    uploads: ThreadPoolExecutor

    def spread(self, digest: Digest, works: Sequence[_Target]) -> None:
        """To all that lack it and keep up, in one go. Who only failed for now tries again alone in the end."""
        takers = [w for w in works if digest in w.lacking and not (w.error or w.behind)]
        if not takers:
            return
        teed = self._tee(digest, takers)
        for work, hanging in teed.slow.items():
            work.behind = True
            work.hanging.append(hanging)
        for work, error in teed.failed.items():
            if teed.source_failed or not isinstance(error, Passing):
                work.error = error
            else:
                work.behind = True

    def alone(self, digest: Digest, work: _Target) -> None:
        """To one; raises what goes wrong."""
        for error in self._tee(digest, [work]).failed.values():
            raise error

    def _tee(self, digest: Digest, takers: Sequence[_Target]) -> Teed[_Target]:
        size = self.family.blobs[digest].size
        content = chunks(self.source, self.repository, digest, self.deadline)
        writers = {work: partial(work.upload, digest, size) for work in takers}
        return tee(content, digest, size, writers, self.uploads, self.deadline)


@contextmanager
def _unjoined(pool: ThreadPoolExecutor) -> Iterator[None]:
    """Shuts the pool down in the end without waiting for threads that hang in a connection."""
    try:
        yield
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _all(steps: Iterable["Future[None]"]) -> None:
    """Waits for all of them; then raises what none of them was to raise (a fault of ours, the end of the process)."""
    waiting = list(steps)
    wait(waiting)
    for step in waiting:
        step.result()

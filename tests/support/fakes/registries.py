"""Any number of ECR registries in memory: ImageSource, RegistryView and ImageTarget at once, with ECR's rules.

registries = FakeRegistries(clock)
registries.add(DEV)                                  # immutable, `latest` may move
registries.push(DEV, multi_arch(), "v1.0.0")         # what tests/support/images/builders.py builds
registries.fail(PROD_SA.registry)                    # every call raises Unreachable
registries.fail(PROD.registry, Throttled("…"), methods={"put_manifest"}, times=2)
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from tallyman.domain.images.details import ImageDetail, RepositorySettings, ScanReport
from tallyman.domain.images.manifest import Descriptor, Manifest
from tallyman.domain.names import Digest, EcrRegistry, Location, Place, Repository, in_ecr
from tallyman.errors import BadManifest, DigestMismatch, NotFound, TagTaken, TransientError, Unreachable, Unsupported
from tallyman.ports.clocks import Clock
from tallyman.ports.copying import BlobStream

if TYPE_CHECKING:
    from support.images.builders import Built


@dataclass
class FakeRepository:
    """One repository: its settings and contents."""

    settings: RepositorySettings
    created_at: datetime
    manifests: dict[Digest, Manifest] = field(default_factory=dict)
    pushed_at: dict[Digest, datetime] = field(default_factory=dict)
    tags: dict[str, Digest] = field(default_factory=dict)
    blobs: dict[Digest, bytes] = field(default_factory=dict)
    archived: set[Digest] = field(default_factory=set)
    scans: dict[Digest, ScanReport] = field(default_factory=dict)
    pull: tuple[str, ...] = ()
    functions: bool = False  # whether Lambda may pull for functions of the repository's account
    push: tuple[str, ...] | None = None  # the principals besides promotions that may push; None: anyone

    def is_immutable(self, tag: str) -> bool:
        """By the repository's setting and its exclusion filters."""
        return self.settings.immutable and not any(fnmatchcase(tag, g) for g in self.settings.mutable_tags)


@dataclass
class _Failure:
    error: Exception
    methods: frozenset[str]
    times: int | None
    after_bytes: int | None


class FakeRegistries:
    """See the module. `requests` are all calls of ports as (method, repository or registry, argument); `pushes` the
    manifests that were put, as (repository, digest, tag), in order."""

    def __init__(self, clock: Clock, chunk: int = 64 * 1024) -> None:
        self._clock, self._chunk = clock, chunk
        self._held: dict[Location, FakeRepository] = {}
        self._failures: dict[Place, list[_Failure]] = {}
        self._lock = threading.RLock()
        self.requests: list[tuple[str, Location | Place, Any]] = []
        self.pushes: list[tuple[Repository, Digest, str | None]] = []
        self.unsupported: set[str] = set()  # artifact types that put_manifest refuses with Unsupported
        self.scores: dict[str, float] = {}  # EPSS, by vulnerability
        self.mounting = True  # the account setting BLOB_MOUNTING
        self.watchers: list[Callable[[Repository, Manifest, str | None], None]] = []  # called after each push

    # --- arranged by tests

    def add(self, repository: Repository, **settings: Any) -> RepositorySettings:
        """Add a repository; by default immutable except `latest`, AES256, scan on push."""
        values = {"immutable": True, "mutable_tags": ("latest",), "scan_on_push": True, **settings}
        made = RepositorySettings(repository, **values)
        self._held[repository] = FakeRepository(made, self._clock())
        return made

    def held(self, repository: Location) -> FakeRepository:
        """The repository's contents, which a test may read or change directly."""
        if repository not in self._held:
            raise NotFound(f"the repository {repository.name} does not exist in {repository.registry}")
        return self._held[repository]

    def push(self, repository: Repository, built: "Built", tag: str | None = None) -> Digest:
        """Push everything beneath it, then itself, as a client does (not counted in `requests`)."""
        with self._lock:
            held = self.held(repository)
            held.blobs.update(built.blobs)
            for manifest in built.manifests.values():
                self._put(repository, manifest, tag if manifest is built.root else None)
        return built.digest

    def tag_of(self, repository: Location, tag: str) -> Digest | None:
        """The digest of the tag now."""
        return self._held[repository].tags.get(tag) if repository in self._held else None

    def untag(self, repository: Repository, tag: str) -> None:
        """BatchDeleteImage by tag: removing the last tag deletes the image."""
        held = self.held(repository)
        digest = held.tags.pop(tag)
        if digest not in held.tags.values():
            self.delete(repository, digest)

    def drop(self, repository: Repository) -> None:
        """DeleteRepository with its contents."""
        del self._held[repository]

    def delete(self, repository: Repository, digest: Digest) -> None:
        """BatchDeleteImage by digest: with all its tags."""
        held = self.held(repository)
        held.manifests.pop(digest)
        held.pushed_at.pop(digest)
        held.tags = {tag: of for tag, of in held.tags.items() if of != digest}

    def damage(self, repository: Repository, digest: Digest, raw: bytes | None) -> None:
        """Replace the bytes under a blob's digest; None removes the blob."""
        if raw is None:
            del self.held(repository).blobs[digest]
        else:
            self.held(repository).blobs[digest] = raw

    def set_scan(self, repository: Repository, digest: Digest, report: ScanReport | str = "complete") -> None:
        """Set the scan's result."""
        made = ScanReport(report, completed_at=self._clock()) if isinstance(report, str) else report
        self.held(repository).scans[digest] = made

    def fail(
        self,
        registry: Place,
        error: Exception | None = None,
        *,
        methods: Iterable[str] = (),
        times: int | None = None,
        after_bytes: int | None = None,
    ) -> None:
        """Make calls for this registry raise (those of `methods`, or all; `times` times, or always).

        With `after_bytes` blobs break after so many bytes, and nothing else fails."""
        error = error or Unreachable(f"{registry} does not answer")
        failure = _Failure(error, frozenset(methods), times, after_bytes)
        self._failures.setdefault(registry, []).append(failure)

    def heal(self, registry: EcrRegistry | None = None) -> None:
        """End the failures of one registry, or of all."""
        if registry:
            self._failures.pop(registry, None)
        else:
            self._failures.clear()

    # --- ImageSource

    def manifest(self, repository: Location, reference: str) -> Manifest | None:
        held = self._enter("manifest", repository, reference)
        return _readable(held, reference)

    def manifests(self, repository: Location, references: Sequence[str]) -> dict[str, Manifest]:
        held = self._enter("manifests", repository, tuple(references))
        found = {r: _readable(held, r) for r in references}
        return {r: manifest for r, manifest in found.items() if manifest is not None}

    def describe(self, repository: Repository, references: Sequence[str]) -> list[ImageDetail]:
        held = self._enter("describe", repository, tuple(references))
        wanted = dict.fromkeys(Digest(held.tags.get(r, r)) for r in references)
        tags = _by_digest(held)
        return [self._detail(repository, held, d, tags) for d in wanted if d in held.manifests]

    def images(self, repository: Repository) -> Iterator[ImageDetail]:
        held = self._enter("images", repository, None)
        tags = _by_digest(held)
        return iter([self._detail(repository, held, d, tags) for d in held.manifests])

    def missing_blobs(self, repository: Location, digests: Iterable[Digest]) -> set[Digest]:
        asked = tuple(digests)
        held = self._enter("missing_blobs", repository, asked)
        return {d for d in asked if d not in held.blobs}

    @contextmanager
    def open_blob(self, repository: Location, digest: Digest, start: int = 0) -> Iterator[BlobStream]:
        held = self._enter("open_blob", repository, digest)
        if digest not in held.blobs:
            raise NotFound(f"the blob {digest.short} is not in {repository}")
        yield _Blob(held.blobs[digest], start, self._chunk, self._break_at(repository.registry))

    def referrers(self, repository: Location, subject: Digest) -> list[Descriptor]:
        held = self._enter("referrers", repository, subject)
        return [
            Descriptor(m.media_type, d, len(m.raw), None, m.artifact_type, m.annotations)
            for d, m in held.manifests.items()
            if m.subject and m.subject.digest == subject
        ]

    # --- RegistryView

    def repositories(self, registry: EcrRegistry) -> Iterator[RepositorySettings]:
        self._check("repositories", registry, registry, None)
        return iter([h.settings for r, h in sorted(self._held.items(), key=str) if r.registry == registry])

    def settings(self, repository: Repository) -> RepositorySettings | None:
        self._check("settings", repository.registry, repository, None)
        return self._held[repository].settings if repository in self._held else None

    def scan(self, repository: Repository, digest: Digest) -> ScanReport:
        held = self._image("scan", repository, digest)
        return held.scans.get(digest, ScanReport("none"))

    def epss(self, repository: Repository, digest: Digest) -> dict[str, float]:
        return dict(self.scores)

    def start_scan(self, repository: Repository, digest: Digest) -> None:
        held = self._image("start_scan", repository, digest)
        if held.manifests[digest].is_index:
            raise Unsupported(f"an index can't be scanned: {repository.at(digest)}")
        held.scans[digest] = ScanReport("in_progress")

    # --- ImageTarget

    def mount(self, repository: Location, digest: Digest, source: str) -> bool:
        held = self._enter("mount", repository, digest)
        origin = self._held.get(Repository(in_ecr(repository.registry), source))
        if not (self.mounting and origin and digest in origin.blobs):
            return False
        held.blobs[digest] = origin.blobs[digest]
        return True

    def upload(self, repository: Location, digest: Digest, size: int | None, chunks: Iterable[bytes]) -> None:
        held = self._enter("upload", repository, digest)
        raw = b"".join(chunks)
        limit = self._break_at(repository.registry)
        if limit is not None and len(raw) > limit:
            raise Unreachable(f"the upload of {digest.short} to {repository} broke after {limit} bytes")
        if Digest.of(raw) != digest or size not in (None, len(raw)):
            raise DigestMismatch(f"what was uploaded to {repository} is not {digest.short}")
        if not raw:
            raise Unsupported(f"{repository} takes no empty blobs")
        held.blobs[digest] = raw

    def put_manifest(self, repository: Location, manifest: Manifest, tag: str | None = None) -> None:
        self._enter("put_manifest", repository, tag or manifest.digest)
        if manifest.artifact_type in self.unsupported:
            raise Unsupported(f"{repository} takes no {manifest.artifact_type}")
        assert isinstance(repository, Repository)  # of ECR, as all that this fake holds
        with self._lock:
            self._put(repository, manifest, tag)

    def unlisted(self, repository: Location, referrers: Sequence[Manifest]) -> set[Digest]:
        return set()

    def create(
        self,
        settings: RepositorySettings,
        pull: Sequence[str] = (),
        push: Sequence[str] | None = None,
        functions: bool = False,
    ) -> None:
        repository = settings.repository
        self._check("create", repository.registry, repository, settings)
        with self._lock:
            held = self._held.setdefault(repository, FakeRepository(settings, self._clock()))
            held.pull = held.pull or tuple(pull)
            held.functions = held.functions or functions
            held.push = held.push if held.push is not None or push is None else tuple(push)

    # --- internals

    def _put(self, repository: Repository, manifest: Manifest, tag: str | None) -> None:
        held = self.held(repository)
        missing = [b.digest.short for b in manifest.blobs if b.digest not in held.blobs]
        missing += [c.digest.short for c in manifest.children if c.digest not in held.manifests]
        if missing:
            raise TransientError(f"{repository} lacks {', '.join(missing)}, which {manifest.digest.short} needs")
        if tag and held.tags.get(tag, manifest.digest) != manifest.digest and held.is_immutable(tag):
            raise TagTaken(
                f"The image tag '{tag}' already exists in the '{repository.name}' repository and cannot be "
                "overwritten because the tag is immutable."
            )
        held.manifests.setdefault(manifest.digest, manifest)
        held.pushed_at.setdefault(manifest.digest, self._clock())
        if tag:
            held.tags[tag] = manifest.digest
        self.pushes.append((repository, manifest.digest, tag))
        for watch in self.watchers:
            watch(repository, manifest, tag)

    def _detail(
        self, repository: Repository, held: FakeRepository, digest: Digest, tags: Mapping[Digest, Sequence[str]]
    ) -> ImageDetail:
        manifest = held.manifests[digest]
        shown = ImageDetail(
            repository=repository,
            digest=digest,
            tags=tuple(tags.get(digest, ())),
            size=len(manifest.raw),
            pushed_at=held.pushed_at[digest],
            media_type=manifest.media_type,
            archived=digest in held.archived,
        )
        try:
            listed = [held.manifests[c.digest] for c in manifest.children if c.digest in held.manifests]
            size = sum(c.size or 0 for c in listed) if manifest.is_index else manifest.size
            subject = manifest.subject.digest if manifest.subject else None
        except BadManifest:
            return shown  # a test put it there: a registry also lists what it can't read
        return replace(shown, size=size, artifact_type=manifest.artifact_type, subject=subject)

    def _image(self, method: str, repository: Repository, digest: Digest) -> FakeRepository:
        held = self._enter(method, repository, digest)
        if digest not in held.manifests:
            raise NotFound(f"the image {repository.at(digest)} does not exist")
        return held

    def _enter(self, method: str, repository: Location, argument: Any) -> FakeRepository:
        self._check(method, repository.registry, repository, argument)
        return self.held(repository)

    def _check(self, method: str, registry: Place, what: Location | Place, argument: Any) -> None:
        with self._lock:
            self.requests.append((method, what, argument))
            for failure in self._failures.get(registry, []):
                if failure.after_bytes is not None or (failure.methods and method not in failure.methods):
                    continue
                if failure.times is not None:
                    if failure.times == 0:
                        continue
                    failure.times -= 1
                raise failure.error

    def _break_at(self, registry: Place) -> int | None:
        limits = [f.after_bytes for f in self._failures.get(registry, []) if f.after_bytes is not None]
        return min(limits, default=None)


class _Blob:
    def __init__(self, raw: bytes, start: int, chunk: int, limit: int | None) -> None:
        self.size: int | None = len(raw)
        self._raw, self._start, self._chunk, self._limit = raw, start, chunk, limit

    def __iter__(self) -> Iterator[bytes]:
        sent = 0
        for at in range(self._start, len(self._raw), self._chunk):
            part = self._raw[at : at + self._chunk]
            if self._limit is not None and sent + len(part) > self._limit:
                raise Unreachable(f"the connection broke after {self._limit} bytes")
            sent += len(part)
            yield part


def _readable(held: FakeRepository, reference: str) -> Manifest | None:
    """The manifest, which ECR does not give of an archived image."""
    digest = Digest(held.tags.get(reference, reference))
    return held.manifests.get(digest) if digest not in held.archived else None


def _by_digest(held: FakeRepository) -> dict[Digest, list[str]]:
    """The tags of each image, in order."""
    found: dict[Digest, list[str]] = {}
    for tag, digest in held.tags.items():
        found.setdefault(digest, []).append(tag)
    return found

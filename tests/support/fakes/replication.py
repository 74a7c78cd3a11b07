"""ECR's own replication between the registries of `FakeRegistries`, with its gaps; the test decides what is
delivered."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from support.fakes.registries import FakeRegistries
from tallyman.domain.images.details import ReplicationStatus
from tallyman.domain.images.manifest import Manifest
from tallyman.domain.names import Digest, EcrRegistry, Repository
from tallyman.domain.replication import ReplicationRule, destinations
from tallyman.errors import NotFound

_Journey = tuple[Repository, Digest, str | None, Repository]


@dataclass
class FakeImageReplication:
    """`ImageReplication`, each of whose calls begins with a `tick`. Pushes replicate at once; with `slow`, when
    `deliver` is called.

    `fails`: the code with which replication to a registry fails. `drops`: registries where no tag arrives. `arrived`:
    the replicated images as (repository, digest, tag), in order.
    """

    registries: FakeRegistries
    tick: Callable[[], object] = lambda: None
    slow: bool = False
    configured: dict[EcrRegistry, list[ReplicationRule]] = field(default_factory=dict)
    fails: dict[EcrRegistry, str] = field(default_factory=dict)
    drops: set[EcrRegistry] = field(default_factory=set)
    arrived: list[tuple[Repository, Digest, str | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._waiting: list[_Journey] = []
        self._statuses: dict[tuple[Repository, Digest], dict[EcrRegistry, ReplicationStatus]] = {}
        self.registries.watchers.append(self._pushed)

    # --- arranged by tests

    def configure(self, source: EcrRegistry, *to: EcrRegistry, prefix: str = "") -> None:
        """Set the one rule of a registry; no destination: no rule."""
        filters = (("PREFIX_MATCH", prefix),) if prefix else ()
        self.configured[source] = [ReplicationRule(to, filters)] if to else []

    @property
    def is_in_progress(self) -> bool:
        """Whether something has not arrived yet."""
        return bool(self._waiting)

    def deliver(self) -> None:
        """Complete or fail what is in transit."""
        for journey in self._waiting:
            self._arrive(*journey)
        self._waiting.clear()

    # --- ImageReplication

    def rules(self, registry: EcrRegistry) -> list[ReplicationRule]:
        self.tick()
        return self.configured.get(registry, [])

    def statuses(self, repository: Repository, digest: Digest) -> dict[EcrRegistry, ReplicationStatus]:
        self.tick()
        if digest not in self.registries.held(repository).manifests:
            raise NotFound(f"{repository.at(digest)} is not there")
        return dict(self._statuses.get((repository, digest), {}))

    # --- internals

    def _pushed(self, repository: Repository, manifest: Manifest, tag: str | None) -> None:
        for to in destinations(self.configured.get(repository.registry, []), repository.name):
            known = self._statuses.setdefault((repository, manifest.digest), {})
            known.setdefault(to, ReplicationStatus("in_progress"))
            self._waiting.append((repository, manifest.digest, tag, Repository(to, repository.name)))
        if not self.slow:
            self.deliver()

    def _arrive(self, source: Repository, digest: Digest, tag: str | None, to: Repository) -> None:
        status = ReplicationStatus("complete")
        if code := self.fails.get(to.registry):
            status = ReplicationStatus("failed", code)
        else:
            self._take(self.registries.held(source).manifests[digest], tag, source, to)
        self._statuses[source, digest][to.registry] = status

    def _take(self, manifest: Manifest, tag: str | None, source: Repository, to: Repository) -> None:
        there, here = self.registries.held(to), self.registries.held(source)
        blobs: Sequence[Digest] = [d.digest for d in manifest.blobs]
        there.blobs.update({d: here.blobs[d] for d in blobs})
        there.manifests.setdefault(manifest.digest, manifest)
        there.pushed_at.setdefault(manifest.digest, here.pushed_at[manifest.digest])
        taken = tag is not None and there.is_immutable(tag) and there.tags.get(tag, manifest.digest) != manifest.digest
        if tag is not None and not taken and to.registry not in self.drops:
            there.tags[tag] = manifest.digest
            self.arrived.append((to, manifest.digest, tag))
        else:
            self.arrived.append((to, manifest.digest, None))

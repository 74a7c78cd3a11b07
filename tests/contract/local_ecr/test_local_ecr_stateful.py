"""Any sequence of pushes, tag moves, deletions and archivings, against a model of two dictionaries."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from support.examples import examples
from support.images.builders import Built, image, index
from support.servers.ecr import DEV, Clock, identity
from tallyman.domain.names import Digest, Repository
from tallyman_local.ecr import Callbacks, EcrError, LocalEcr

PLAIN = [image(f"app {n}") for n in range(3)]
INDEXES = [index(*PLAIN[:2]), index(*PLAIN[1:])]
EVERY: dict[str, Built] = {str(built.digest): built for built in [*PLAIN, *INDEXES]}
CHILDREN = {str(one.digest): {str(d) for d in one.manifests if d != one.digest} for one in INDEXES}
TAGS = ("v1", "v2", "latest")
REPOSITORIES = (Repository(DEV, "team/mutable"), Repository(DEV, "team/fixed"))

digests = st.sampled_from(sorted(EVERY))
tags = st.sampled_from(TAGS)
repositories = st.sampled_from(REPOSITORIES)


class StoreAgainstAModel(RuleBasedStateMachine):
    """The model: for each repository its images, and which digest each tag points to."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.events: list[dict[str, object]] = []
        self.open()
        self.images: dict[Repository, set[str]] = {}
        self.tags: dict[Repository, dict[str, str]] = {}
        for repository in REPOSITORIES:
            self.create(repository)

    def open(self) -> None:
        self.ecr = LocalEcr(
            self.folder,
            Callbacks(
                clock=Clock(),
                emit=lambda event, account, region: self.events.append(event),
                trail=lambda record: None,
                endpoint_of=lambda registry: "http://localhost:1",
            ),
        )

    def create(self, repository: Repository) -> None:
        mutability = "IMMUTABLE" if repository.name.endswith("fixed") else "MUTABLE"
        body = f'{{"repositoryName": "{repository.name}", "imageTagMutability": "{mutability}"}}'
        status, _, said = self.ecr.api("CreateRepository", body.encode(), DEV, identity(DEV.account))
        assert status == 200, said
        self.images[repository], self.tags[repository] = set(), {}

    def teardown(self) -> None:
        if hasattr(self, "ecr"):
            self.ecr.close()
            shutil.rmtree(self.folder)

    @rule(repository=repositories, digest=digests, tag=st.none() | tags)
    def push(self, repository: Repository, digest: str, tag: str | None) -> None:
        built, there = EVERY[digest], self.images[repository]
        row = self.ecr.store.get(repository)
        for raw in built.blobs.values():
            self.ecr.store.add_blob(row, raw)
        before = len(self.events)
        current = self.tags[repository].get(tag) if tag else None
        refused = not CHILDREN.get(digest, set()) <= there
        refused |= current is not None and repository.name.endswith("fixed")
        try:
            self.ecr.put_images(DEV, repository.name, [(built.raw, tag)])
        except EcrError:
            assert refused
            assert len(self.events) == before
            return
        assert not refused
        unchanged = digest in there and (tag is None or current == digest)
        assert len(self.events) == before + (not unchanged)
        there.add(digest)
        if tag:
            self.tags[repository][tag] = digest

    def named(self, repository: Repository, digest: str) -> bool:
        """Whether an existing index references it."""
        return any(digest in CHILDREN[parent] for parent in self.images[repository] & CHILDREN.keys())

    @rule(repository=repositories, digest=digests)
    def remove(self, repository: Repository, digest: str) -> None:
        removed = self.ecr._parts.images.delete(repository, digest, None)
        if digest in self.images[repository] and not self.named(repository, digest):
            assert isinstance(removed, list)
            self.images[repository].remove(digest)
            kept = {tag: at for tag, at in self.tags[repository].items() if at != digest}
            self.tags[repository] = kept
        else:
            assert not isinstance(removed, list)

    @rule(repository=repositories, tag=tags)
    def untag(self, repository: Repository, tag: str) -> None:
        named = self.tags[repository]
        removed = self.ecr._parts.images.delete(repository, None, tag)
        digest = named.get(tag)
        last = list(named.values()).count(digest or "") == 1
        if digest is None or (last and self.named(repository, digest)):
            assert not isinstance(removed, list)
            return
        assert isinstance(removed, list)
        del named[tag]
        if last:
            self.images[repository].remove(digest)

    @rule(repository=repositories)
    def delete_and_create_anew(self, repository: Repository) -> None:
        self.ecr.store.delete(self.ecr.store.get(repository))
        self.create(repository)

    @rule()
    def close_and_open(self) -> None:
        self.ecr.close()
        self.open()

    @precondition(lambda self: hasattr(self, "images"))
    @invariant()
    def the_store_is_as_the_model(self) -> None:
        for repository in REPOSITORIES:
            row = self.ecr.store.get(repository)
            found = {str(i.digest): listed for i, listed in self.ecr.store.tagged_images(row.id)}
            assert set(found) == self.images[repository]
            pairs = {tag: digest for digest, listed in found.items() for tag in listed}
            assert pairs == self.tags[repository]
            for digest in found:
                assert self.ecr.store.raw(row.id, digest) == EVERY[digest].raw
                for blob, raw in EVERY[digest].blobs.items():
                    assert self.ecr.store.blobs.path(DEV, Digest(blob)).stat().st_size == len(raw)


TestStoreAgainstAModel = StoreAgainstAModel.TestCase
TestStoreAgainstAModel.settings = settings(max_examples=examples(12), stateful_step_count=20, deadline=None)

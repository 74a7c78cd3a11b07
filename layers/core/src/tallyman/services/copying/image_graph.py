"""An image with everything that belongs to it: children, attestations, and the referrers of each."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import field, replace
from itertools import chain

from tallyman.domain.images.manifest import MAX_NESTING, Descriptor, Manifest
from tallyman.domain.names import Digest, Location
from tallyman.errors import BadManifest, DigestMismatch, NotFound, Refused, TallymanError, Unsupported
from tallyman.ports.clocks import Deadline, no_limit
from tallyman.ports.copying import Listing, Origin
from tallyman.services.copying.blobs import enough_time
from tallyman.services.copying.stated_sizes import misstated, named_blobs
from tallyman.values import value

MAX_CHAIN = 8
"""The longest chain of referrers that is followed (a signature of an SBOM of an image: two)."""

MOST_REFERRERS = 10_000
"""The most referrers of all images that are read together. A registry that lists more is refused."""


@value(slots=False)
class ImageGraph:
    """The manifests and blobs of an image, or of several images that were joined.

    `images`: the root, its children at any depth and their attestations; each comes after the manifests that it lists,
    so the root is last. `referrers`: manifests whose subject is one of the images or another referrer; each comes
    after its subject and after what it lists. `blobs`: every blob that these manifests name, once; foreign layers only
    where the source holds them. `unreadable`: referrers that the source lists but that can't be read, with the reason;
    by digest, or by the name of an invalid list entry. `others`: the other roots of joined graphs.
    """

    repository: Location
    digest: Digest
    images: tuple[Manifest, ...] = field(repr=False)
    referrers: tuple[Manifest, ...] = field(repr=False)
    blobs: Mapping[Digest, Descriptor] = field(repr=False)
    unreadable: Mapping[str, str] = field(default_factory=dict, repr=False)
    others: tuple[Digest, ...] = ()

    @property
    def roots(self) -> tuple[Digest, ...]:
        """The digests that were requested: one, unless graphs were joined."""
        return (*self.others, self.digest)

    @property
    def root(self) -> Manifest:
        """The image's or index's own manifest."""
        return next(m for m in reversed(self.images) if m.digest == self.digest)

    @property
    def manifests(self) -> tuple[Manifest, ...]:
        """All manifests, in the order in which to push them."""
        return (*self.images, *self.referrers)

    @property
    def digests(self) -> tuple[Digest, ...]:
        """The digests of all manifests, in the order in which to push them."""
        return tuple(m.digest for m in self.manifests)

    def order(self, digest: Digest) -> tuple[int, Digest]:
        """The sort key of a blob in the order of sending: the largest first."""
        return -self.blobs[digest].size, digest

    def blobs_of(self, manifest: Manifest) -> set[Digest]:
        """The digests of the graph's blobs that the manifest names."""
        named = chain(manifest.blobs, manifest.listed_blobs, manifest.foreign)
        return {d.digest for d in named if d.digest in self.blobs}

    def without(self, unreadable: Mapping[Digest, str]) -> "ImageGraph":
        """The graph without these referrers, which can't be copied for the given reasons."""
        referrers = tuple(m for m in self.referrers if m.digest not in unreadable)
        named = {blob.digest: blob for _, blob in named_blobs((*self.images, *referrers))}
        return replace(
            self,
            referrers=referrers,
            blobs={digest: blob for digest, blob in named.items() if digest in self.blobs},
            unreadable={
                **self.unreadable,
                **{m.digest: unreadable[m.digest] for m in self.referrers if m.digest in unreadable},
            },
        )


def join(graphs: Sequence[ImageGraph]) -> ImageGraph:
    """Join graphs of one repository, so that what they share is copied once."""
    last = graphs[-1]
    images = {m.digest: m for each in graphs for m in each.images}
    referrers = {m.digest: m for each in graphs for m in each.referrers if m.digest not in images}
    blobs = {digest: blob for each in graphs for digest, blob in each.blobs.items()}
    unreadable = {digest: why for each in graphs for digest, why in each.unreadable.items()}
    others = tuple(dict.fromkeys(each.digest for each in graphs if each.digest != last.digest))
    return ImageGraph(
        last.repository, last.digest, tuple(images.values()), tuple(referrers.values()), blobs, unreadable, others
    )


def read_graph(
    source: Origin,
    repository: Location,
    digest: Digest,
    *,
    deadline: Deadline = no_limit,
) -> ImageGraph:
    """Read the graph of an image and compare the hash of every manifest with its digest.

    Cost: one read for each level of an index (for each hundred manifests of a level), and one request for the referrers
    of each manifest, four at once. Raises NotFound where the image or a child is not there, DigestMismatch where
    the bytes are wrong, BadManifest where they are not a manifest or where indexes are nested too deep, and
    TransientError. A referrer that disappears meanwhile is left out; a damaged one is recorded in `unreadable`.
    """
    with _pool(4) as pool:
        graph = _Reader(source, repository, deadline, pool).read_graph([digest])
    consistent, errors = _consistent(source, [graph], deadline)
    for error in errors.values():
        raise error
    return consistent[0]


def read_graphs(
    source: Origin,
    repository: Location,
    digests: Sequence[Digest],
    *,
    known: Mapping[Digest, Manifest] | None = None,
    deadline: Deadline = no_limit,
) -> tuple[ImageGraph | None, dict[Digest, TallymanError]]:
    """Read several graphs of a repository. Return those that could be read, joined (None: none could), and the error
    of each of the others. Raises TransientError. `known`: manifests that were read already."""
    wanted = list(dict.fromkeys(digests))
    if not wanted:
        return None, {}
    found: list[ImageGraph] = []
    errors: dict[Digest, TallymanError] = {}
    with _pool(16) as pool:
        with suppress(BadManifest, DigestMismatch, Refused):
            joined = [_Reader(source, repository, deadline, pool, known).read_graph(wanted)]
            joined, wrong = _consistent(source, joined, deadline)
            if not wrong:
                return joined[0], {}
        for digest in wanted:  # one of them is damaged: read each by itself
            try:
                found.append(_Reader(source, repository, deadline, pool, known).read_graph([digest]))
            except (BadManifest, DigestMismatch, Refused) as error:
                errors[digest] = error
    found, wrong = _consistent(source, found, deadline)
    return (join(found) if found else None), {**errors, **wrong}


def _consistent(
    source: Origin, graphs: Sequence[ImageGraph], deadline: Deadline
) -> tuple[list[ImageGraph], dict[Digest, BadManifest]]:
    """The graphs, without referrers that state a wrong size of a blob; and the errors of those graphs of which an image
    does, by their digest."""
    members = {m.digest: m for graph in graphs for m in graph.manifests}
    wrong = misstated(source, graphs[0].repository, list(members.values()), deadline) if graphs else {}
    if not wrong:
        return list(graphs), {}
    found: list[ImageGraph] = []
    errors: dict[Digest, BadManifest] = {}
    for graph in graphs:
        image = next((m.digest for m in graph.images if m.digest in wrong), None)
        if image:
            errors[graph.digest] = BadManifest(wrong[image])
        else:
            found.append(graph.without(wrong))
    return found, errors


@contextmanager
def _pool(parallel: int) -> Iterator[ThreadPoolExecutor]:
    """A thread pool; what its threads have not begun when the block ends is cancelled."""
    with ThreadPoolExecutor(parallel, thread_name_prefix="graph") as pool:
        try:
            yield pool
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


class _Reader:
    def __init__(
        self,
        source: Origin,
        repository: Location,
        deadline: Deadline,
        pool: ThreadPoolExecutor,
        known: Mapping[Digest, Manifest] | None = None,
    ) -> None:
        self.source, self.repository, self.deadline, self.pool = source, repository, deadline, pool
        self.known: Mapping[str, Manifest] = {str(d): m for d, m in (known or {}).items()}
        self.manifests: dict[Digest, Manifest] = {}
        self.unreadable: dict[str, str] = {}
        self.asked: dict[Digest, Future[Sequence[Descriptor]]] = {}

    def read_graph(self, roots: Sequence[Digest]) -> ImageGraph:
        """The graph of the roots, joined where there are several."""
        self.read(roots)
        images = self.bottom_up(roots)
        referrers: list[Manifest] = []
        subjects: Sequence[Manifest] = images
        known = {m.digest for m in images}
        for _ in range(MAX_CHAIN):
            pointing = self.pointing_at(subjects)
            found = [d for d in pointing if d not in known and d not in self.unreadable]
            if len(referrers) + len(found) > MOST_REFERRERS:
                raise Refused(f"{self.repository.at(roots[-1])} has more than {MOST_REFERRERS} referrers: refused")
            self.read_referrers(found)
            found = [d for d in found if self.is_referrer(d, pointing[d])]
            subjects = [m for m in self.bottom_up(found) if m.digest not in known]
            if not subjects:
                break
            known.update(m.digest for m in subjects)
            referrers += subjects
        else:
            why = f"the chain of referrers is longer than {MAX_CHAIN}"
            beyond = (d for d in self.pointing_at(subjects) if d not in known)
            self.unreadable.update(dict.fromkeys(beyond, why))
        members = (*images, *referrers)
        blobs = {blob.digest: blob for m in members for blob in chain(m.blobs, m.listed_blobs)}
        foreign = {blob.digest: blob for m in members for blob in m.foreign if blob.digest not in blobs}
        if foreign:
            enough_time(self.deadline, "asking for foreign layers")
            absent = self.source.missing_blobs(self.repository, list(foreign))
            blobs.update({d: blob for d, blob in foreign.items() if d not in absent})
        return ImageGraph(
            self.repository, roots[-1], tuple(images), tuple(referrers), blobs, self.unreadable, tuple(roots[:-1])
        )

    def read(self, roots: Iterable[Digest], *, optional: bool = False) -> None:
        """Read the roots and everything that they list. `optional`: a root that is not there is left out."""
        level = [d for d in dict.fromkeys(roots) if d not in self.manifests]
        for depth in range(MAX_NESTING + 1):
            if not level:
                return
            enough_time(self.deadline, level[0])
            self.request_referrers(level)  # while the manifests are read: far away, each answer is a wait
            unknown = [d for d in level if d not in self.known]
            read = {**self.known, **(self.source.manifests(self.repository, unknown) if unknown else {})}
            found: dict[Digest, None] = {}
            for digest in level:
                manifest = read.get(digest)
                if manifest is None:
                    if optional and depth == 0:
                        continue
                    raise NotFound(f"{self.repository.at(digest)} is not there, and cannot be copied")
                if manifest.digest != digest:
                    raise DigestMismatch(
                        f"{self.repository} answers {manifest.digest} when asked for {digest}: push the image again"
                    )
                self.manifests[digest] = Manifest.parse(manifest.raw, manifest.media_type)
                children = self.manifests[digest].children
                found.update(dict.fromkeys(child.digest for child in children if child.is_manifest))
            level = [d for d in found if d not in self.manifests]
        if level:
            raise _too_deep(level[0])

    def read_referrers(self, digests: Sequence[Digest]) -> None:
        """Read these referrers; the error of each that can't be read is recorded in `unreadable`."""
        try:
            self.read(digests, optional=True)
            self.bottom_up(digests)
            return
        except (BadManifest, DigestMismatch, Refused) as error:
            if len(digests) == 1:
                self.manifests.pop(digests[0], None)
                self.unreadable[digests[0]] = str(error)
                return
        for digest in digests:  # one of them is damaged: read each by itself
            self.read_referrers([digest])

    def bottom_up(self, roots: Iterable[Digest]) -> list[Manifest]:
        """The manifests read so far of the roots and of what they list, each after what it lists."""
        ordered: dict[Digest, Manifest] = {}
        visited: set[Digest] = set()

        def visit(digest: Digest, depth: int) -> None:
            if digest in self.manifests and digest not in visited:
                visited.add(digest)
                children = self.manifests[digest].children
                if children and depth == MAX_NESTING:
                    raise _too_deep(digest)
                for child in children:
                    visit(child.digest, depth + 1)
                ordered[digest] = self.manifests[digest]

        for root in roots:
            visit(root, 0)
        return list(ordered.values())

    def pointing_at(self, subjects: Sequence[Manifest]) -> dict[Digest, set[Digest]]:
        """The referrers of these subjects, each with the subjects that list it. Invalid entries are recorded."""
        digests = [m.digest for m in subjects]
        self.request_referrers(digests)
        found: dict[Digest, set[Digest]] = {}
        for digest in digests:
            listing = self.asked[digest].result()
            for referrer in listing:
                found.setdefault(referrer.digest, set()).add(digest)
            if isinstance(listing, Listing):
                self.unreadable.update(listing.odd)
        return found

    def is_referrer(self, digest: Digest, subjects: Collection[Digest]) -> bool:
        """Whether its subject is one of these. A tag `sha256-<hex>` may hold an ordinary image instead of a list."""
        manifest = self.manifests.get(digest)
        return manifest is not None and manifest.subject is not None and manifest.subject.digest in subjects

    def request_referrers(self, digests: Iterable[Digest]) -> None:
        """Request the referrers of these digests in threads of the pool, once each."""
        for digest in digests:
            if digest not in self.asked:
                self.asked[digest] = self.pool.submit(self.referrers, digest)

    def referrers(self, digest: Digest) -> Sequence[Descriptor]:
        enough_time(self.deadline, digest)
        try:
            return self.source.referrers(self.repository, digest)
        except Unsupported:  # a registry without referrers
            return ()


def _too_deep(digest: Digest) -> BadManifest:
    return BadManifest(f"indexes are nested more than {MAX_NESTING} deep, at {digest}")

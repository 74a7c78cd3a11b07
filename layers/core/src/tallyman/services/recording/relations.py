"""Records how images are related (the index of each child, the referrers of each subject), and evaluates the
related."""

from tallyman.domain.history.details.base import new_fact
from tallyman.domain.history.details.referrers import ChildOf, Referred
from tallyman.domain.history.facts import BEFORE_ALL, NO_TIME, Kind, Via
from tallyman.domain.images import sboms
from tallyman.domain.images.manifest import Manifest, readable
from tallyman.domain.images.provenance import build_of, predicates
from tallyman.domain.names import Digest, Repository
from tallyman.errors import NotFound
from tallyman.ports.clocks import Clock
from tallyman.ports.records import Archive, Ledger
from tallyman.ports.registries import ImageSource
from tallyman.services.deciding.evaluator import Evaluator
from tallyman.services.deciding.read_signing import ReadSigning
from tallyman.values import value


@value
class Relations:
    """Records the relations of a new image in the partitions of the images that it is related to."""

    source: ImageSource
    ledger: Ledger
    archive: Archive
    evaluator: Evaluator
    clock: Clock
    signing: ReadSigning

    def write(self, repository: Repository, digest: Digest, manifest: Manifest, via: Via) -> None:
        """Record the index in each child's partition, and the referrer in its subject's, so that one read of those
        partitions finds them.

        An attestation that buildx puts into an index (platform `unknown/unknown`) is a referrer of the image it names.
        """
        children = {child.digest: child for child in manifest.children}
        for child in children:
            self._append(Kind.CHILD_OF, child, via, digest, ChildOf(digest))
        statements = [each.digest for each in children.values() if each.is_attestation]
        read = self.source.manifests(repository, statements) if statements else {}
        for statement in statements:
            about = children[statement].about
            found = readable(read.get(statement))
            if found is not None and about in children:
                self._refer(Digest(about), repository, found, via)
        if manifest.subject is not None:
            self._refer(manifest.subject.digest, repository, manifest, via)

    def _refer(self, subject: Digest, repository: Repository, referrer: Manifest, via: Via) -> None:
        """Record a referrer, once for each repository that holds it: a referrer elsewhere does not count here."""
        relation = Referred(
            referrer=str(referrer.digest),
            artifact_type=referrer.artifact_type or "",
            predicates=predicates(referrer),
            repository=str(repository),
            build=build_of(referrer) or None,
            packages=self._packages(repository, referrer),
        )
        self._append(Kind.REFERRED, subject, via, referrer.digest, relation)

    def _packages(self, repository: Repository, referrer: Manifest) -> int | None:
        """The number of packages in a referrer's SBOMs; None: it has no SBOM, or one that is too large or unreadable.

        Cost: a read of each SBOM, none where one is larger than `sboms.MAX_BYTES` (too large to name no package).
        """
        documents = sboms.documents(referrer)
        if not documents or any(document.size > sboms.MAX_BYTES for document in documents):
            return None
        found: list[int | None] = []
        for document in documents:
            try:
                with self.source.open_blob(repository, document.digest) as stream:
                    found.append(sboms.packages_in(b"".join(stream)))
            except NotFound:
                return None
        known = [count for count in found if count is not None]
        return sum(known) if len(known) == len(found) else None

    def _append(self, kind: Kind, digest: Digest, via: Via, other: Digest, relation: Referred | ChildOf) -> None:
        # without a time of its own: the relation follows from the bytes alone, and a fixed key makes it one fact
        at = BEFORE_ALL if kind is Kind.CHILD_OF else NO_TIME
        key = (digest, other, relation.repository if isinstance(relation, Referred) else None)
        self.ledger.append(new_fact(kind, key, relation, self.clock(), at=at, via=via, digest=digest))

    def judge_subject(self, digest: Digest, manifest: Manifest | None) -> None:
        """Evaluate the subject of a new referrer (the image of a signature). The caller evaluates the image itself."""
        subject = manifest.subject.digest if manifest is not None and manifest.subject is not None else None
        self.signing.refresh(subject or digest)
        if subject is not None:
            self.evaluator.digest(subject)

    def judge_subject_of_removed(self, digest: Digest) -> None:
        """Evaluate the subject of a removed referrer, which the archived manifest names."""
        raw = self.archive.get("manifests", digest)
        if raw is None:
            return  # its manifest was never read, so no fact of a relation exists
        manifest = readable(Manifest(raw, ""))
        if manifest is not None and manifest.subject is not None:
            self.judge_subject(digest, manifest)

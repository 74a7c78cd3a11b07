"""Reads every part of one image graph from one registry, and notes the result of each check.

The steps of `verify_image`, in the order in which it calls them. A failed or unknown check does not stop the others.
`domain/images/composition.py` describes how the parts relate.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from tallyman.domain.images.composition import Composition
from tallyman.domain.images.manifest import MAX_MANIFEST_BYTES, MAX_NESTING, Descriptor, Manifest
from tallyman.domain.images.verification import MAX_CONFIG_BYTES, ImageConfig, Notes
from tallyman.domain.names import Digest, Repository
from tallyman.domain.text import counted
from tallyman.errors import BadManifest, NotFound, TallymanError, TransientError, Unsupported
from tallyman.ports.clocks import Deadline
from tallyman.ports.registries import ImageSource
from tallyman.services.copying.blobs import Read, enough_time, read_blob

_Answer = TypeVar("_Answer")


class Inspection:
    """One inspection of one image. Threads of the pool ask the registry; one thread notes the results."""

    def __init__(
        self,
        source: ImageSource,
        repository: Repository,
        root: Digest,
        deadline: Deadline,
        pool: ThreadPoolExecutor,
    ) -> None:
        self.source, self.repository, self.root = source, repository, root
        self.deadline, self.pool = deadline, pool
        self.notes = Notes()
        self.image = Composition(root, self.notes)
        self.absent: set[Digest] = set()
        self.archived: set[Digest] = set()
        self.hashed = 0

    def read_manifests(self) -> None:
        """Read the root and everything beneath it, level by level. Raises NotFound where the root is not there."""
        asked: set[Digest] = set()
        level = [self.root]
        for _ in range(MAX_NESTING + 1):
            asked.update(level)
            following: dict[Digest, None] = {}
            answers = dict(self.each(level, lambda d: self.source.manifest(self.repository, d)))
            silent = [digest for digest, answer in answers.items() if answer is None and digest != self.root]
            for digest, answer in {**answers, **self.look_for_archived(silent)}.items():
                manifest = self.accept(digest, answer)
                for child in manifest.children if manifest else ():
                    self.image.listed.setdefault(child.digest, []).append(child)
                    if child.digest not in asked:
                        following[child.digest] = None
            level = list(following)
            if not level:
                break
        else:
            self.image.too_deep(level[0])
        self.image.describe_manifests()

    def look_for_archived(self, silent: Sequence[Digest]) -> dict[Digest, TransientError]:
        """Note which listed images without an answer are in ECR's archive; return why that is not known of an image.
        One more call for a hundred of them."""
        try:
            found = self.source.describe(self.repository, silent) if silent else []
        except TransientError as error:
            return dict.fromkeys(silent, error)
        self.archived.update(detail.digest for detail in found if detail.archived)
        return {}

    def accept(self, digest: Digest, answer: Manifest | Exception | None) -> Manifest | None:
        """The parsed manifest if its bytes are those of the digest; else notes the fault and returns None."""
        where = f"{'child ' if digest != self.root else ''}{digest.short}"
        if isinstance(answer, TransientError):
            name = "manifest_digest" if digest == self.root else "children_present"
            self.notes.of(name).unknown.append(f"{where}: {answer}")
        elif isinstance(answer, BadManifest):
            self.notes.of("media_types").failed.append(f"{where}: {answer}")
        elif isinstance(answer, Exception):
            raise answer
        elif answer is None and digest == self.root:
            raise NotFound(f"{self.repository.at(digest)} is not there: it was removed, or never pushed")
        elif digest in self.archived:
            self.notes.of("children_present").unknown.append(
                f"{digest} is listed and archived: it can't be read before it is restored"
            )
        elif answer is None:
            self.notes.of("children_present").failed.append(
                f"{digest} is listed but not there: push the index again with all its images"
            )
        elif answer.digest != digest:
            self.notes.of("manifest_digest").failed.append(
                f"asked for {digest}, got {len(answer.raw)} bytes of {answer.digest}: push the image again"
            )
        elif len(answer.raw) > MAX_MANIFEST_BYTES:
            self.notes.of("manifest_size").failed.append(
                f"{where}: {len(answer.raw)} bytes; at most {MAX_MANIFEST_BYTES} (4 MiB) are allowed"
            )
        else:
            try:
                self.image.manifests[digest] = Manifest.parse(answer.raw, answer.media_type)
            except BadManifest as error:
                self.notes.of("media_types").failed.append(f"{where}: {error}")
            return self.image.manifests.get(digest)
        return None

    def read_configs(self) -> None:
        """Read and parse the configurations of the images."""
        note = self.notes.of("config_present")
        wanted = [d for d, b in self.image.blobs.items() if b.read]
        for digest in [d for d in wanted if max(self.image.blobs[d].sizes) > MAX_CONFIG_BYTES]:
            note.failed.append(f"{digest}: {max(self.image.blobs[digest].sizes)} bytes; at most 8 MiB are read")
            wanted.remove(digest)
        for digest, answer in self.each(wanted, lambda d: self.read(d, MAX_CONFIG_BYTES)):
            read = self.arrived("config_present", digest, answer)
            if read is None:
                continue
            try:
                config = ImageConfig.parse(read.kept)
            except BadManifest as error:
                self.notes.of("platforms_agree").failed.append(f"configuration {digest.short}: {error}")
                continue
            self.image.configs.update(dict.fromkeys(self.image.blobs[digest].owners, config))
        note.passed = (
            f"{counted(sum(b.config for b in self.image.blobs.values()), 'configuration')}, {len(wanted)} read"
        )

    def look_for_blobs(self) -> None:
        """Ask whether all blobs are there that were not read, foreign layers too: a registry may hold those."""
        wanted = [d for d, b in self.image.blobs.items() if not b.read]
        note = self.notes.of("layers_present")
        try:
            enough_time(self.deadline, "asking for layers")
            self.absent = self.source.missing_blobs(self.repository, wanted) if wanted else set()
        except TransientError as error:
            note.unknown.append(str(error))
        foreign = 0
        for digest in wanted:
            blob = self.image.blobs[digest]
            if len(blob.sizes) > 1:
                stated = " and ".join(str(size) for size in sorted(blob.sizes))
                note.failed.append(f"{digest}: {stated} bytes stated in the same graph")
            if digest in self.absent and blob.foreign:
                foreign += 1
            elif digest in self.absent:
                name = "config_present" if blob.config else "layers_present"
                self.notes.of(name).failed.append(
                    f"{digest} ({max(blob.sizes)} bytes) is not there: push the image again"
                )
        note.passed = counted(len(wanted) - foreign, "layer")
        if foreign:
            note.passed += f"; {counted(foreign, 'foreign layer')} not held by the registry, as is allowed"

    def hash_blobs(self) -> None:
        """Stream and hash every blob that is there and was not read before, the largest first."""
        wanted = [d for d, b in self.image.blobs.items() if not b.read and d not in self.absent]
        wanted.sort(key=lambda d: -max(self.image.blobs[d].sizes))
        for digest, answer in self.each(wanted, self.read):
            self.arrived("layer_content", digest, answer)
        self.notes.of("layer_content").passed = f"{counted(len(wanted), 'blob')} hashed, {self.hashed} bytes in all"

    def list_referrers(self) -> None:
        """List the referrers (signatures, SBOMs, attestations) of every manifest except attestations in an index."""
        note, listed = self.notes.of("referrers"), list[Descriptor]()
        hidden = {d for d, found in self.image.listed.items() if all(x.is_attestation for x in found)}
        subjects = [d for d in self.image.manifests if d not in hidden]
        for subject, answer in self.each(subjects, lambda d: self.source.referrers(self.repository, d)):
            if isinstance(answer, TransientError):
                note.unknown.append(f"{subject.short}: {answer}")
            elif isinstance(answer, Exception):
                if not isinstance(answer, (NotFound, Unsupported)):
                    raise answer
                # The registry has no referrers API, or the image was removed just now: there are none to list.
            else:
                listed += answer
        kinds = sorted({each.artifact_type or each.media_type for each in listed})
        note.passed = f"{counted(len(listed), 'referrer')}{': ' if kinds else ''}{', '.join(kinds)}"

    def read(self, digest: Digest, keep: int = 0) -> Read:
        """Read a blob of the image (see `read_blob`)."""
        return read_blob(self.source, self.repository, digest, self.deadline, keep)

    def arrived(self, name: str, digest: Digest, answer: Read | Exception) -> Read | None:
        """The blob if its bytes match its digest and the sizes in all descriptors; else notes the fault and returns
        None."""
        note, sizes = self.notes.of(name), self.image.blobs[digest].sizes
        stated = " and ".join(str(size) for size in sorted(sizes))
        if isinstance(answer, TransientError):
            note.unknown.append(f"{digest.short}: {answer}")
        elif isinstance(answer, NotFound):
            note.failed.append(f"{digest} ({stated} bytes) is not there: push the image again")
        elif isinstance(answer, Exception):
            raise answer
        else:
            self.hashed += answer.size
            if answer.digest != digest:
                note.failed.append(
                    f"{digest}: its {answer.size} bytes ({stated} stated) hash to {answer.digest}: the registry's "
                    "copy is damaged; remove the image and push it again"
                )
            elif sizes != {answer.size}:
                note.failed.append(f"{digest}: {answer.size} bytes; {stated} are stated: build the image again")
            else:
                return answer
        return None

    def each(
        self, items: Sequence[Digest], ask: Callable[[Digest], _Answer]
    ) -> Iterator[tuple[Digest, _Answer | TallymanError]]:
        """Call `ask` for each digest in parallel; yield digest and answer in their order. A TallymanError is an
        answer."""

        def one(item: Digest) -> _Answer | TallymanError:
            try:
                enough_time(self.deadline, item)
                return ask(item)
            except TallymanError as error:
                return error

        waiting: list[Future[_Answer | TallymanError]] = [self.pool.submit(one, item) for item in items]
        try:
            for item, future in zip(items, waiting, strict=True):
                yield item, future.result()
        finally:
            for future in waiting:
                future.cancel()

"""Read and write images in an OCI layout, a folder (image specification 1.1).

Blobs and `index.json` are written to a temporary file and renamed when they are complete and their digest is right, so
that a reader at the same time, or after a crash, finds whole files. Tags are `org.opencontainers.image.ref.name` in
`index.json`: a tag alone, or a full name such as skopeo and podman write (layout_index.py). `index.json` is parsed once
for each of its versions, and each manifest that it names is read once for its subject.
"""

import fcntl
import hashlib
import json
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, BinaryIO

from tallyman.adapters.files.reading import MIB, read
from tallyman.adapters.http.client import PIECE
from tallyman.adapters.oci.fallback_tag import descriptors, listed
from tallyman.adapters.oci.layout_index import REF_NAME, LayoutIndex, name_of
from tallyman.domain.images.documents import loads
from tallyman.domain.images.manifest import MAX_MANIFEST_BYTES, Descriptor, Manifest, own_type
from tallyman.domain.images.referrer_tags import may_be_list, tag_of
from tallyman.domain.locations import layout_path
from tallyman.domain.names import Digest, Location
from tallyman.errors import BadManifest, DigestMismatch, NotFound, Refused, Unreachable
from tallyman.ports.copying import BlobStream, Listing

MAX_INDEX_BYTES = 256 * MIB
_LAYOUT = '{"imageLayoutVersion":"1.0.0"}'


class LayoutStore:
    """`Origin` and `Destination` for folders; safe to share between threads and processes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._indexes: dict[Location, tuple[object, LayoutIndex]] = {}
        self._subjects: dict[tuple[Location, Digest], Digest | None] = {}
        self._waiting: dict[Location, list[tuple[Manifest, str | None]]] = {}  # for index.json

    # --- Origin

    def manifests(
        self, repository: Location, references: Sequence[str], *, target: bool = False
    ) -> dict[str, Manifest]:
        """See `Origin`. A tag of several images is an error (BadInput); in a target it is not there: it may be set."""
        index = self._index(repository)
        tagged = index.tags.get if target else index.tagged
        found: dict[str, Manifest] = {}
        for reference in dict.fromkeys(references):
            digest = Digest.parse(reference) if ":" in reference else tagged(reference)
            raw = self._read(repository, digest) if digest else None
            if digest and raw is not None:
                found[reference] = Manifest(raw, index.types.get(digest) or own_type(raw))
        return found

    def tags(self, repository: Location) -> dict[str, Digest]:
        """All tags and their digests. Raises NotFound where there is no layout."""
        return dict(self._there(repository).tags)

    def odd_tags(self, repository: Location) -> dict[str, str]:
        """Names in `index.json` that are not valid tags or name several images, and why."""
        return dict(self._index(repository).odd)

    def missing_blobs(self, repository: Location, digests: Iterable[Digest]) -> set[Digest]:
        return {digest for digest in digests if not self._path(repository, digest).exists()}

    @contextmanager
    def open_blob(self, repository: Location, digest: Digest, start: int = 0) -> Iterator[BlobStream]:
        file = self._open(repository, digest)
        if file is None:
            raise NotFound(f"the blob {digest} is not in {repository}")
        with file:
            yield _File(file, os.fstat(file.fileno()).st_size, start)

    def referrers(self, repository: Location, subject: Digest) -> Listing:
        """The manifests in `index.json` that point at the subject, and those in the list at its fallback tag: regctl
        names referrers only there. One read of that list."""
        index = self._index(repository)
        with self._lock:
            if index.pointing is None:
                index.pointing = {}
                for digest, media_type in index.types.items():
                    if pointed := self._subject(repository, digest):
                        size = self._path(repository, digest).stat().st_size
                        index.pointing.setdefault(pointed, []).append(Descriptor(media_type, digest, size))
        found = Listing(index.pointing.get(subject, ()))
        tag = tag_of(subject)
        named = self.manifests(repository, [tag]).get(tag) if tag in index.tags else None
        if named and may_be_list(named, subject):
            further = descriptors(named.raw, f"the referrers of {subject}")
            known = {d.digest for d in found}
            found += [d for d in further if d.digest not in known]
            found.odd.update(further.odd)
        return found

    # --- Destination

    def mount(self, repository: Location, digest: Digest, source: str) -> bool:
        """Always False: each layout holds its own blobs."""
        return False

    def upload(self, repository: Location, digest: Digest, size: int | None, chunks: Iterable[bytes]) -> None:
        path = self._path(repository, digest)
        hasher = hashlib.sha256()

        def hashed() -> Iterator[bytes]:
            for chunk in chunks:
                hasher.update(chunk)
                yield chunk

        def check() -> None:
            if f"sha256:{hasher.hexdigest()}" != digest:
                raise DigestMismatch(f"the bytes for {digest} hash to sha256:{hasher.hexdigest()}: nothing was kept")

        _write(path, hashed(), check)

    def put_manifest(self, repository: Location, manifest: Manifest, tag: str | None = None) -> None:
        """Write the manifest as a blob and as an entry in `index.json`; an index's entry replaces its children's."""
        for needed in (*manifest.children, *manifest.blobs):
            if not self._path(repository, needed.digest).exists():
                raise Unreachable(f"{repository} lacks {needed.digest}, which {manifest.digest} needs")
        _write(self._path(repository, manifest.digest), [manifest.raw])
        if not tag and manifest.digest in self._index(repository).types:
            return
        mine = (manifest, tag)
        self._waiting.setdefault(repository, []).append(mine)
        with self._locked(repository):  # one writer enters all that wait, instead of each writing the whole index
            waiting = self._waiting[repository]
            if any(change is mine for change in waiting):
                count = len(waiting)
                try:
                    self._enter(repository, waiting[:count])
                except BaseException:
                    waiting.remove(mine)
                    raise
                del waiting[:count]

    def _enter(self, repository: Location, changes: Sequence[tuple[Manifest, str | None]]) -> None:
        tags = {tag for _, tag in changes if tag}
        gone = {m.digest for m, tag in changes if tag} | {c.digest for m, _ in changes for c in m.children}
        kept = [d for d in self._index(repository).entries if name_of(d) not in tags]
        kept = [d for d in kept if d.get("digest") not in gone or d.get("annotations")]
        named = {tag: manifest for manifest, tag in changes if tag}
        there = {d.get("digest") for d in kept} | gone
        for manifest in {m.digest: m for m, tag in changes if not tag and m.digest not in there}.values():
            kept.append(_entry(manifest))
        kept += [{**_entry(manifest), "annotations": {REF_NAME: tag}} for tag, manifest in named.items()]
        path = Path(layout_path(repository))
        if not (path / "oci-layout").exists():
            _write(path / "oci-layout", [_LAYOUT.encode()])
        rest = self._index(repository).rest
        _write(path / "index.json", [json.dumps({"schemaVersion": 2, **rest, "manifests": kept}).encode()])
        self._indexes[repository] = _version(path / "index.json"), LayoutIndex(kept, rest)

    def unlisted(self, repository: Location, manifests: Sequence[Manifest]) -> set[Digest]:
        """The manifests that `index.json` does not name."""
        named = self._index(repository).types
        return {m.digest for m in manifests if m.digest not in named}

    def _there(self, repository: Location) -> LayoutIndex:
        if _version(Path(layout_path(repository)) / "index.json") is None:
            raise NotFound(f"{repository}: there is no OCI layout (no index.json)")
        return self._index(repository)

    def _index(self, repository: Location) -> LayoutIndex:
        """The current `index.json`; empty where there is no layout yet."""
        path = Path(layout_path(repository)) / "index.json"
        version = _version(path)
        known, index = self._indexes.get(repository, (None, LayoutIndex([])))
        if version is None or version == known:
            return index if version else LayoutIndex([])
        try:
            document = loads(read(path, MAX_INDEX_BYTES))
        except OSError as error:
            raise Refused(f"{path} can't be read: {error.strerror}") from error
        except ValueError as error:
            raise Refused(f"{path} can't be read: {error}") from error
        entries = document.get("manifests") if isinstance(document, dict) else None
        if entries is None and isinstance(document, dict):  # null: a new layout of umoci
            entries = []
        if not isinstance(entries, list) or not all(isinstance(d, dict) for d in entries):
            raise BadManifest(f"{path}: manifests: expected a list of descriptors")
        index = LayoutIndex(entries, {key: value for key, value in document.items() if key != "manifests"})
        self._indexes[repository] = version, index
        return index

    def _subject(self, repository: Location, digest: Digest) -> Digest | None:
        """The subject of a manifest; read once, since the bytes of a digest never change."""
        key = repository, digest
        if key not in self._subjects:
            raw = self._read(repository, digest)
            try:
                found = Manifest.parse(raw).subject if raw else None
            except BadManifest:
                found = None
            if raw is None:
                return None
            self._subjects[key] = found.digest if found else None
        return self._subjects[key]

    def _read(self, repository: Location, digest: Digest) -> bytes | None:
        if (file := self._open(repository, digest)) is None:
            return None
        with file:
            return file.read(MAX_MANIFEST_BYTES + 1)

    def _open(self, repository: Location, digest: Digest) -> BinaryIO | None:
        """The open file of a blob; None: there is none. Raises Refused, also for a pipe or a device."""
        path = self._path(repository, digest)
        try:
            if path.exists() and not path.is_file():  # a pipe would block, a device might never end
                raise Refused(f"read {path}: not a file")
            return path.open("rb")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Refused(f"read {path}: {error.strerror}") from error

    def _path(self, repository: Location, digest: Digest) -> Path:
        return Path(layout_path(repository)) / "blobs" / "sha256" / digest.hex

    @contextmanager
    def _locked(self, repository: Location) -> Iterator[None]:
        """Lock this layout against other threads and processes."""
        path = Path(layout_path(repository))
        path.mkdir(parents=True, exist_ok=True)
        with self._lock:
            folder = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(folder, fcntl.LOCK_EX)
                yield
            finally:
                os.close(folder)


class _File:
    def __init__(self, file: Any, size: int, start: int) -> None:
        self._file = file
        self.size: int | None = size
        file.seek(start)

    def __iter__(self) -> Iterator[bytes]:
        while piece := self._file.read(PIECE):
            yield piece


def _write(path: Path, chunks: Iterable[bytes], check: Any = lambda: None) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=path.parent, prefix=".part-", delete=False) as file:
            try:
                for chunk in chunks:
                    file.write(chunk)
                check()
                file.flush()
                os.fchmod(file.fileno(), 0o644)
                Path(file.name).replace(path)
            except BaseException:
                with suppress(OSError):
                    Path(file.name).unlink()
                raise
    except OSError as error:
        raise Refused(f"write {path}: {error.strerror or error}") from error


def _entry(manifest: Manifest) -> dict[str, Any]:
    entry = listed(manifest)
    entry.pop("annotations", None)
    return entry


def _version(path: Path) -> tuple[int, int, int] | None:
    """A value that changes whenever the file is written; None: there is no file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Refused(f"read {path}: {error.strerror}") from error
    return found.st_mtime_ns, found.st_size, found.st_ino

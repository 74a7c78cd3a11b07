"""An OCI layout in a folder (image specification 1.1): reading and writing images as files.

A blob is written beside its place and moved there when its digest is right, `index.json` likewise: whoever reads
meanwhile, or after a crash, finds whole files. Tags are `org.opencontainers.image.ref.name` in `index.json`.
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
from typing import Any

from tallyman.adapters.http.connections import PIECE
from tallyman.adapters.oci.fallback_tag import listed
from tallyman.domain.images.manifest import MAX_MANIFEST_BYTES, Descriptor, Manifest
from tallyman.domain.locations import layout_path
from tallyman.domain.names import Digest, Repository
from tallyman.errors import BadManifest, BadName, DigestMismatch, NotFound, Refused, Unreachable
from tallyman.ports.copying import BlobStream

_NAME = "org.opencontainers.image.ref.name"
_LAYOUT = '{"imageLayoutVersion":"1.0.0"}'


class OciLayout:
    """`Origin` and `Destination` for folders; safe to share between threads and processes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    # --- Origin

    def manifests(self, repository: Repository, references: Sequence[str]) -> dict[str, Manifest]:
        index = self._index(repository)
        types = {d.get("digest"): d.get("mediaType") for d in index}
        found: dict[str, Manifest] = {}
        for reference in dict.fromkeys(references):
            digest = reference if reference.startswith("sha256:") else _tagged(index, reference)
            raw = self._read(repository, digest) if digest else None
            if raw is not None:
                found[reference] = Manifest(raw, types.get(digest) or _media_type(raw))
        return found

    def tags(self, repository: Repository) -> dict[str, Digest]:
        """All tags, and what each points to."""
        return {
            str(d["annotations"][_NAME]): _digest(repository, d)
            for d in self._index(repository)
            if (d.get("annotations") or {}).get(_NAME)
        }

    def untagged(self, repository: Repository) -> list[Digest]:
        """Images of `index.json` that have no tag and point at no other."""
        untagged = [d for d in self._index(repository) if not (d.get("annotations") or {}).get(_NAME)]
        found = [_digest(repository, d) for d in untagged]
        return [d for d in found if not self._subject(repository, d)]

    def missing_blobs(self, repository: Repository, digests: Iterable[Digest]) -> set[Digest]:
        return {digest for digest in digests if not self._path(repository, digest).exists()}

    @contextmanager
    def open_blob(self, repository: Repository, digest: Digest, start: int = 0) -> Iterator[BlobStream]:
        path = self._path(repository, digest)
        try:
            file = path.open("rb")
        except FileNotFoundError:
            raise NotFound(f"the blob {digest} is not in {repository}") from None
        except OSError as error:
            raise Refused(f"read {path}: {error.strerror}") from error
        with file:
            yield _File(file, os.fstat(file.fileno()).st_size, start)

    def referrers(self, repository: Repository, subject: Digest) -> list[Descriptor]:
        """Those of `index.json`'s manifests that point at the subject. Reads each of them: layouts are small."""
        found = []
        for entry in self._index(repository):
            digest = _digest(repository, entry)
            if self._subject(repository, digest) == subject:
                raw = self._read(repository, digest) or b""
                found.append(Descriptor(str(entry.get("mediaType", "")), digest, len(raw)))
        return found

    # --- Destination

    def mount(self, repository: Repository, digest: Digest, source: str) -> bool:
        """Never: a layout holds its own blobs."""
        return False

    def upload(self, repository: Repository, digest: Digest, size: int | None, chunks: Iterable[bytes]) -> None:
        path = self._path(repository, digest)
        hasher = hashlib.sha256()

        def hashed() -> Iterator[bytes]:
            for chunk in chunks:
                hasher.update(chunk)
                yield chunk

        def check() -> None:
            if f"sha256:{hasher.hexdigest()}" != digest:
                raise DigestMismatch(f"what came for {digest} hashes to sha256:{hasher.hexdigest()}: nothing was kept")

        _write(path, hashed(), check)

    def put_manifest(self, repository: Repository, manifest: Manifest, tag: str | None = None) -> None:
        """The manifest as a blob. What has a tag, or points at another image, is entered into `index.json`; a
        child of an index is found through it."""
        for needed in (*manifest.children, *manifest.blobs):
            if not self._path(repository, needed.digest).exists():
                raise Unreachable(f"{repository} lacks {needed.digest}, which {manifest.digest} needs")
        _write(self._path(repository, manifest.digest), [manifest.raw])
        with self._locked(repository):
            index = self._index(repository)
            entry = listed(manifest)
            entry.pop("annotations", None)
            if tag:
                entry["annotations"] = {_NAME: tag}
                index = [d for d in index if (d.get("annotations") or {}).get(_NAME) != tag]
                index = [d for d in index if d.get("digest") != manifest.digest or d.get("annotations")]
            elif any(d.get("digest") == manifest.digest for d in index):
                return
            children = {c.digest for c in manifest.children}
            index = [d for d in index if d.get("digest") not in children or d.get("annotations")]
            document = {"schemaVersion": 2, "manifests": [*index, entry]}
            path = Path(layout_path(repository))
            _write(path / "oci-layout", [_LAYOUT.encode()])
            _write(path / "index.json", [json.dumps(document, indent=2).encode()])

    def unlisted(self, repository: Repository, manifests: Sequence[Manifest]) -> set[Digest]:
        """Those that `index.json` does not name."""
        named = {entry.get("digest") for entry in self._index(repository)}
        return {m.digest for m in manifests if m.digest not in named}

    # --- how

    def _index(self, repository: Repository) -> list[dict[str, Any]]:
        """`index.json`'s entries; none where there is no layout yet."""
        path = Path(layout_path(repository)) / "index.json"
        try:
            document = json.loads(path.read_bytes())
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise Refused(f"{path} can't be read: {error}") from error
        entries = document.get("manifests") if isinstance(document, dict) else None
        if not isinstance(entries, list) or not all(isinstance(d, dict) for d in entries):
            raise BadManifest(f"{path}: manifests: expected a list of descriptors")
        return entries

    def _subject(self, repository: Repository, digest: Digest) -> Digest | None:
        raw = self._read(repository, digest)
        try:
            found = Manifest.parse(raw) if raw else None
        except BadManifest:
            return None
        return found.subject.digest if found and found.subject else None

    def _read(self, repository: Repository, digest: str) -> bytes | None:
        path = self._path(repository, Digest.parse(digest))
        try:
            with path.open("rb") as file:
                return file.read(MAX_MANIFEST_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Refused(f"read {path}: {error.strerror}") from error

    def _path(self, repository: Repository, digest: Digest) -> Path:
        return Path(layout_path(repository)) / "blobs" / "sha256" / digest.hex

    @contextmanager
    def _locked(self, repository: Repository) -> Iterator[None]:
        """Alone in this layout, among threads and processes."""
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


def _tagged(index: list[dict[str, Any]], tag: str) -> str | None:
    for entry in index:
        if (entry.get("annotations") or {}).get(_NAME) == tag:
            return str(entry.get("digest"))
    return None


def _digest(repository: Repository, entry: dict[str, Any]) -> Digest:
    try:
        return Digest.parse(entry.get("digest"))
    except BadName as error:
        raise BadManifest(f"{repository}: index.json: {error}") from None


def _media_type(raw: bytes) -> str:
    try:
        return Manifest.parse(raw).media_type
    except BadManifest:
        return ""

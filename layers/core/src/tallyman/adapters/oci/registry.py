"""Any registry that speaks OCI's distribution protocol 1.0 or 1.1: reading and writing images.

Differences to ECR: no questions in batches, so several are on their way at once; repositories come into being by
themselves; older ones have no referrers API, there the tag `sha256-<hex>` names an index of them.
"""

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from typing import TypeVar
from urllib.parse import urlencode, urljoin

from tallyman.adapters.http.client import Response
from tallyman.adapters.http.connections import PIECE
from tallyman.adapters.oci.answers import Answer
from tallyman.adapters.oci.fallback_tag import descriptors, listed, merged, tag_of
from tallyman.adapters.oci.requests import OciHttp
from tallyman.domain.images.manifest import MANIFEST_TYPES, OCI_INDEX, Descriptor, Manifest
from tallyman.domain.names import Digest, Registry, Repository
from tallyman.errors import (
    DigestMismatch,
    NotAllowed,
    NotFound,
    Refused,
    Throttled,
    Unreachable,
    Unsupported,
    UploadExpired,
)
from tallyman.ports.copying import BlobStream

AT_ONCE = 16
"""Questions on their way at once."""

_SHORT = 16 * PIECE
"""Bytes of a blob up to which it is read in quarters of a PIECE: whole ones pay off only in a long row, else the memory
of each is asked of the kernel anew (four times the page faults, a tenth of a copy's processor time)."""

_ACCEPT = ", ".join(MANIFEST_TYPES)
_GONE = ("MANIFEST_UNKNOWN", "NAME_UNKNOWN", "")
_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")


class OciRegistry:
    """`Origin` and `Destination`: a source is made with an OciHttp that may only pull."""

    def __init__(self, http: OciHttp) -> None:
        self._http = http
        self._sessions: dict[tuple[Repository, Digest], str] = {}
        self._api: dict[Registry, bool] = {}  # whether it has the one for referrers
        self._probing = threading.Lock()
        self._tags: dict[Repository, set[str] | None] = {}
        self._lock = threading.Lock()
        self._subjects = threading.Lock()

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(AT_ONCE, thread_name_prefix="ask")

    # --- questions

    def manifests(self, repository: Repository, references: Sequence[str]) -> dict[str, Manifest]:
        """One GET each."""
        found = self._each(list(dict.fromkeys(references)), lambda r: self._manifest(repository, r))
        return {reference: manifest for reference, manifest in found if manifest is not None}

    def digests(self, repository: Repository, tags: Sequence[str]) -> dict[str, Digest]:
        """What tags point to, those that are there. One HEAD each."""

        def ask(tag: str) -> Digest | None:
            what = f"ask what {repository}:{tag} is"
            answer = self._http.send("HEAD", repository, f"manifests/{tag}", what=what, headers={"Accept": _ACCEPT})
            if answer.status == 404:
                return None
            if answer.status != 200:
                raise answer.error(what)
            told = answer.headers.get("Docker-Content-Digest")
            if told:
                return Digest.parse(told)
            manifest = self._manifest(repository, tag)
            return manifest.digest if manifest else None

        return {tag: digest for tag, digest in self._each(tags, ask) if digest}

    def tags(self, repository: Repository) -> list[str]:
        """All tags; pages of 1,000. An empty list where there is no such repository."""
        what = f"list the tags of {repository}"
        found: list[str] = []
        path = "tags/list?n=1000"
        while path:
            answer = self._http.send("GET", repository, path, what=what)
            if answer.status == 404:
                return found
            if answer.status != 200:
                raise answer.error(what)
            try:
                found += [str(tag) for tag in json.loads(answer.body).get("tags") or ()]
            except (ValueError, AttributeError, TypeError):
                raise Unreachable(f"{what}: the answer can't be read") from None
            path = _next_page(answer, repository)
        self._tags[repository] = {tag for tag in found if tag.startswith("sha256-")}
        return found

    def missing_blobs(self, repository: Repository, digests: Iterable[Digest]) -> set[Digest]:
        """One HEAD each."""

        def missing(digest: Digest) -> bool:
            what = f"look for {digest.short} in {repository}"
            answer = self._http.send("HEAD", repository, f"blobs/{digest}", what=what)
            if answer.status not in (200, 307, 404):
                raise answer.error(what)
            return answer.status == 404

        return {digest for digest, gone in self._each(list(dict.fromkeys(digests)), missing) if gone}

    def referrers(self, repository: Repository, subject: Digest) -> list[Descriptor]:
        """The referrers API; where a registry has none, the index at the fallback tag."""
        found = self._by_api(repository, subject)
        if found is not None:
            return found
        known = self._known_tags(repository)
        if known is not None and tag_of(subject) not in known:
            return []
        fallback = self._manifest(repository, tag_of(subject))
        return descriptors(fallback.raw) if fallback and fallback.media_type == OCI_INDEX else []

    def _by_api(self, repository: Repository, subject: Digest) -> list[Descriptor] | None:
        """None: the registry has no referrers API. The first answer says so to all who come meanwhile."""
        registry = repository.registry
        if registry not in self._api:
            with self._probing:
                if registry not in self._api:
                    found = self._pointing(repository, subject)
                    self._api[registry] = found is not None
                    return found
        return self._pointing(repository, subject) if self._api[registry] else None

    def _pointing(self, repository: Repository, subject: Digest) -> list[Descriptor] | None:
        what = f"list the referrers of {repository}@{subject}"
        path = f"referrers/{subject}"
        found: list[Descriptor] = []
        while path:
            answer = self._http.send("GET", repository, path, what=what, headers={"Accept": OCI_INDEX})
            if answer.status in (400, 404, 405, 501) and not found:
                return None
            if answer.status != 200:
                raise answer.error(what)
            found += descriptors(answer.body)
            path = _next_page(answer, repository)
        return found

    # --- blobs

    @contextmanager
    def open_blob(self, repository: Repository, digest: Digest, start: int = 0) -> Iterator[BlobStream]:
        what = f"read the blob {digest} of {repository}"
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        response = self._http.open(repository, f"blobs/{digest}", what=what, headers=headers)
        try:
            yield _Blob(response, start, what)
        finally:
            response.close()  # after the whole body its connection is kept already

    def mount(self, repository: Repository, digest: Digest, source: str) -> bool:
        """One POST. A registry that does not mount opens an upload instead: `upload` goes on with that."""
        what = f"mount {digest.short} from {source} into {repository}"
        query = urlencode({"mount": digest, "from": source})
        answer = self._http.send("POST", repository, f"blobs/uploads/?{query}", what=what)
        if answer.status == 201:
            return True
        if answer.status == 202:
            with self._lock:
                self._sessions[repository, digest] = self._http.location(repository, answer, what)
        elif answer.status not in (404, 405):
            raise answer.error(what)
        return False

    def upload(self, repository: Repository, digest: Digest, size: int | None, chunks: Iterable[bytes]) -> None:
        """A POST and one PUT with the whole body."""
        what = f"upload {digest.short} to {repository}"
        with self._lock:
            location = self._sessions.pop((repository, digest), None)
        if location is None:
            answer = self._http.send("POST", repository, "blobs/uploads/", what=what)
            if answer.status != 202:
                raise answer.error(what)
            location = self._http.location(repository, answer, what)
        length = {"Content-Length": str(size)} if size is not None else {"Transfer-Encoding": "chunked"}
        answer = self._http.stream(
            "PUT",
            repository,
            f"{location}{'&' if '?' in location else '?'}{urlencode({'digest': digest})}",
            what=what,
            headers={"Content-Type": "application/octet-stream", **length},
            body=_exactly(size, chunks, what),
        )
        if answer.status in (404, 416) and answer.code != "NAME_UNKNOWN":
            raise UploadExpired(f"{what}: the registry knows the upload no more, or refuses to go on ({answer.status})")
        if answer.status != 201:
            raise answer.error(what)
        _same(answer, digest, what)

    # --- manifests

    def put_manifest(self, repository: Repository, manifest: Manifest, tag: str | None = None) -> None:
        """One PUT. A referrer is entered at its subject's fallback tag where the registry does not do it itself
        (OCI 1.1: it says so by the header OCI-Subject)."""
        reference = tag or manifest.digest
        what = f"push {repository}{':' if tag else '@'}{reference}"
        answer = self._put(repository, manifest, reference, what)
        if manifest.subject is not None and not answer.headers.get("OCI-Subject"):
            self._enter(repository, manifest, manifest.subject.digest)

    def unlisted(self, repository: Repository, manifests: Sequence[Manifest]) -> set[Digest]:
        """Where there is no referrers API: what the fallback tags lack. One question a registry; without the API one
        more for each subject that has such a tag."""
        named: dict[Digest, set[Digest]] = {}
        for subject in dict.fromkeys(m.subject.digest for m in manifests if m.subject):
            if not self._api.get(repository.registry):
                named[subject] = {d.digest for d in self.referrers(repository, subject)}
            if self._api.get(repository.registry):
                return set()
        return {m.digest for m in manifests if m.subject and m.digest not in named[m.subject.digest]}

    def _put(self, repository: Repository, manifest: Manifest, reference: str, what: str) -> Answer:
        answer = self._http.send(
            "PUT",
            repository,
            f"manifests/{reference}",
            what=what,
            headers={"Content-Type": manifest.media_type},
            body=manifest.raw,
        )
        if answer.status not in (200, 201, 202):
            if answer.status == 405:
                raise Unsupported(f"{what}: the registry takes no {manifest.media_type}: {answer.message}")
            raise answer.error(what)
        _same(answer, manifest.digest, what)
        return answer

    def _enter(self, repository: Repository, manifest: Manifest, subject: Digest) -> None:
        """Into the index at the fallback tag. Two clients that do this at once may lose one entry: the protocol has
        no better."""
        tag = tag_of(subject)
        with self._subjects:
            now = self._manifest(repository, tag)
            there = descriptors(now.raw) if now and now.media_type == OCI_INDEX else []
            if manifest.digest not in {d.digest for d in there}:
                made = merged(now.raw if now and now.media_type == OCI_INDEX else None, listed(manifest))
                self._put(repository, Manifest(made, OCI_INDEX), tag, f"list {manifest.digest.short} at {tag}")
                if (known := self._tags.get(repository)) is not None:
                    known.add(tag)

    def _manifest(self, repository: Repository, reference: str) -> Manifest | None:
        what = f"read the manifest {reference} of {repository}"
        answer = self._http.send("GET", repository, f"manifests/{reference}", what=what, headers={"Accept": _ACCEPT})
        if answer.status == 404 and answer.code in _GONE:
            return None
        if answer.status != 200:
            raise answer.error(what)
        return Manifest(answer.body, answer.headers.get("Content-Type", "").partition(";")[0].strip())

    def _known_tags(self, repository: Repository) -> set[str] | None:
        """Those of referrers, listed once: cheaper than to ask at each manifest for a tag that is not there. None:
        we may not list them."""
        with self._lock:
            if repository not in self._tags:
                try:
                    self.tags(repository)
                except Refused:
                    self._tags[repository] = None
            return self._tags.get(repository, set())

    def _each(self, items: Sequence[_Item], ask: Callable[[_Item], _Answer]) -> Iterator[tuple[_Item, _Answer]]:
        if len(items) < 2:
            return iter([(item, ask(item)) for item in items])
        return zip(items, self._pool.map(ask, items), strict=True)


class _Blob:
    """`size` is the whole blob's, also where reading starts further on."""

    def __init__(self, response: Response, start: int, what: str) -> None:
        self._response, self._what = response, what
        status = response.status
        if status not in (200, 206):
            kind = {403: NotAllowed, 401: NotAllowed, 404: NotFound, 429: Throttled}.get(status, Unreachable)
            raise kind(f"{what}: the answer is {status}")
        if status == 206 and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise Unreachable(f"{what}: asked from byte {start}, the answer is another part")
        self._skip = start if status == 200 else 0  # ranges are optional to a server
        length = response.length
        self.size: int | None = None if length is None else length + (start if status == 206 else 0)
        self._piece = PIECE if length is None or length > _SHORT else PIECE // 4

    def __iter__(self) -> Iterator[bytes]:
        while True:
            try:
                piece = self._response.read(self._piece)
            except OSError as error:
                raise Unreachable(f"{self._what}: {error}") from error
            if not piece:
                return
            if self._skip:
                piece, self._skip = piece[self._skip :], max(0, self._skip - len(piece))
            if piece:
                yield piece


def _exactly(size: int | None, chunks: Iterable[bytes], what: str) -> Iterator[bytes]:
    """The chunks, or DigestMismatch where they are not `size` bytes: a registry told to expect more would wait."""
    sent = 0
    for chunk in chunks:
        sent += len(chunk)
        if size is not None and sent > size:
            raise DigestMismatch(f"{what}: its descriptor says {size} bytes, there are more")
        yield chunk
    if size is not None and sent != size:
        raise DigestMismatch(f"{what}: its descriptor says {size} bytes, there are {sent}")


def _same(answer: Answer, digest: Digest, what: str) -> None:
    told = answer.headers.get("Docker-Content-Digest")
    if told and told != digest:
        raise DigestMismatch(f"{what}: the registry calls it {told}")


def _next_page(answer: Answer, repository: Repository) -> str:
    """The path below `/v2/<name>/` that `Link: <…>; rel="next"` names; empty where there is none."""
    link = answer.headers.get("Link", "")
    if 'rel="next"' not in link or not link.startswith("<"):
        return ""
    url: str = urljoin(answer.url, link[1 : link.index(">")]) if ">" in link else ""
    _, found, path = url.partition(f"/v2/{repository.name}/")
    return path if found else ""

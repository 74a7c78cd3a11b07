"""Write blobs and manifests to a registry's `/v2/`, ECR's or any other's."""

import threading
from collections.abc import Iterable, Iterator
from urllib.parse import urlencode

from tallyman.adapters.oci.answers import Answer
from tallyman.adapters.oci.client import RegistryClient
from tallyman.domain.images.manifest import Manifest
from tallyman.domain.names import Digest, Location, parse_tag
from tallyman.errors import DigestMismatch, Refused, TransientError, Unsupported, UploadExpired


class RegistryWriter:
    """`mount`, `upload` and `put_manifest` of a `Destination`; safe to share between threads."""

    def __init__(self, client: RegistryClient) -> None:
        self._client = client
        self._sessions: dict[tuple[Location, Digest], str] = {}
        self._lock = threading.Lock()

    def mount(self, repository: Location, digest: Digest, source: str) -> bool:
        """One POST; False where the registry does not mount. It may open an upload instead, which `upload` then uses.
        Any other failure counts as False too: the upload that follows reports what is wrong."""
        what = f"mount {digest.short} from {source} into {repository}"
        query = urlencode({"mount": digest, "from": source})
        try:
            self._client.widen(repository, source)
            answer = self._client.send("POST", repository, f"blobs/uploads/?{query}", what=what)
            if answer.status == 202:
                location = self._client.location(repository, answer, what)
                with self._lock:
                    self._sessions[repository, digest] = location
        except (Refused, TransientError):
            return False
        return answer.status == 201

    def upload(self, repository: Location, digest: Digest, size: int | None, chunks: Iterable[bytes]) -> None:
        """A POST and one PUT with the whole body. An exception of `chunks` is raised, and the connection is closed at
        once: the registry never gets the end of the body, and keeps nothing."""
        what = f"upload {digest.short} to {repository}"
        with self._lock:
            location = self._sessions.pop((repository, digest), None)
        if location is None:
            answer = self._client.send("POST", repository, "blobs/uploads/", what=what)
            if answer.status != 202:
                raise answer.error(what)
            location = self._client.location(repository, answer, what)
        length = {"Content-Length": str(size)} if size is not None else {"Transfer-Encoding": "chunked"}
        answer = self._client.stream(
            "PUT",
            repository,
            f"{location}{'&' if '?' in location else '?'}{urlencode({'digest': digest})}",
            what=what,
            headers={"Content-Type": "application/octet-stream", **length},
            body=_exactly(size, chunks, what),
        )
        if answer.status in (404, 416) and answer.code != "NAME_UNKNOWN":
            raise UploadExpired(f"{what}: the registry has no such upload or refuses to continue it ({answer.status})")
        if answer.status != 201:
            if "does not have any parts" in answer.message:  # ECR's EmptyUploadException
                raise Unsupported(f"{what}: ECR takes no empty blobs")
            raise answer.error(what)
        _same(answer, digest, what)

    def put(self, repository: Location, manifest: Manifest, tag: str | None = None) -> Answer:
        """One PUT, by tag or by digest. Raises Unsupported where the registry does not take this media type."""
        reference = parse_tag(tag) if tag else manifest.digest
        what = f"push {repository}{':' if tag else '@'}{reference}"
        answer = self._client.send(
            "PUT",
            repository,
            f"manifests/{reference}",
            what=what,
            headers={"Content-Type": manifest.media_type},
            body=manifest.raw,
        )
        if answer.status not in (200, 201, 202):
            if answer.status == 405:
                words = f"{answer.message} ({answer.code or 405})"
                raise Unsupported(f"{what}: the registry takes no {manifest.media_type}: {words}")
            raise answer.error(what)
        _same(answer, manifest.digest, what)
        return answer


def _exactly(size: int | None, chunks: Iterable[bytes], what: str) -> Iterator[bytes]:
    """The chunks. Raises DigestMismatch where they are not `size` bytes: a registry that expects more would wait."""
    sent = 0
    for chunk in chunks:
        sent += len(chunk)
        if size is not None and sent > size:
            raise DigestMismatch(f"{what}: its descriptor says {size} bytes, there are more")
        yield chunk
    if size is not None and sent != size:
        raise DigestMismatch(f"{what}: its descriptor says {size} bytes, there are {sent}")


def _same(answer: Answer, digest: Digest, what: str) -> None:
    named = answer.headers.get("Docker-Content-Digest")
    if named and named.startswith("sha256:") and named != digest:
        raise DigestMismatch(f"{what}: the registry computed the digest {named}")

"""Upload blobs in parts to any registry: POST, a PATCH for each part, PUT; a GET reads how many bytes arrived.

Source: OCI distribution 1.1, "Pushing a blob in chunks". It does not say what a registry keeps of an interrupted part;
docker-registry 2.8 forgets the whole upload, which then begins again.
"""

import re
from collections.abc import Iterable
from urllib.parse import urlencode, urlsplit

from tallyman.adapters.oci.answers import Answer
from tallyman.adapters.oci.client import RegistryClient
from tallyman.domain.names import Digest, Location
from tallyman.errors import NotAllowed, TransientError, Unsupported, UploadExpired

_RANGE = "(?:bytes=)?0-(-?[0-9]{1,18})"


class OciUploads:
    """A session is the path and query of the registry's location, so that a session that is read from a file never
    leads to another host."""

    def __init__(self, client: RegistryClient) -> None:
        self._client = client

    def begin(self, repository: Location, digest: Digest) -> str:
        """A new session. Raises Unsupported where its path is not beneath the repository's own."""
        what = f"begin to upload {digest.short} to {repository}"
        answer = self._client.send("POST", repository, "blobs/uploads/", what=what)
        if answer.status != 202:
            raise answer.error(what)
        return self._session(repository, answer, what)

    def reached(self, repository: Location, session: str) -> tuple[int, str]:
        """How many bytes the registry has, and the session for the next part. Raises UploadExpired where the upload is
        gone."""
        what = f"read how far an upload to {repository} is"
        answer = self._client.send("GET", repository, self._path(repository, session), what=what)
        if answer.status in (400, 404, 405, 416):
            raise UploadExpired(f"{what}: {answer.message or answer.status}")
        if answer.status != 204:
            raise answer.error(what)
        have = _reached(answer)
        if have is None:
            raise UploadExpired(f"{what}: the answer does not say")
        return have, self._session(repository, answer, what) if answer.headers.get("Location") else session

    def send_part(
        self, repository: Location, session: str, first: int, length: int, body: Iterable[bytes]
    ) -> tuple[int, str]:
        """Stream `length` bytes, from byte `first` of the blob. Return how many bytes the registry then has, and the
        session for the next part. Raises UploadExpired where the upload is gone, Unsupported where the registry takes
        no parts."""
        last = first + length - 1
        what = f"upload bytes {first} to {last} to {repository}"
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Range": f"{first}-{last}",
            "Content-Length": str(length),
        }
        url = f"{self._client.base(repository)}{session}"
        answer = self._client.stream("PATCH", repository, url, what=what, headers=headers, body=body)
        if answer.status in (404, 416):
            raise UploadExpired(f"{what}: the registry has no such upload or refuses to continue it ({answer.status})")
        if answer.status not in (201, 202, 204):
            error = answer.error(what)
            if isinstance(error, (TransientError, NotAllowed)) and answer.status not in (400, 405):
                raise error
            raise Unsupported(f"{what}: {error}") from error
        have = _reached(answer) if answer.status != 201 else None  # ECR, whose Range stays at the first part
        return first + length if have is None else have, self._session(repository, answer, what)

    def complete(self, repository: Location, session: str, digest: Digest) -> None:
        """End the upload. Raises DigestMismatch where the registry finds another digest, UploadExpired as above."""
        what = f"complete the upload of {digest.short} to {repository}"
        path = self._path(repository, session)
        query = urlencode({"digest": digest})
        answer = self._client.send("PUT", repository, f"{path}{'&' if '?' in path else '?'}{query}", what=what)
        if answer.status in (404, 416):
            raise UploadExpired(f"{what}: the registry has no such upload ({answer.status})")
        if answer.status != 201:
            raise answer.error(what)

    def _session(self, repository: Location, answer: Answer, what: str) -> str:
        parts = urlsplit(self._client.location(repository, answer, what))
        session = parts.path + (f"?{parts.query}" if parts.query else "")
        self._path(repository, session)
        return session

    def _path(self, repository: Location, session: str) -> str:
        before, found, path = session.partition(f"/v2/{repository.name}/")
        if before or not found:
            raise Unsupported(f"an upload to {repository} would continue outside its own path")
        return path


def _reached(answer: Answer) -> int | None:
    """The bytes received by `Range: 0-N`, where N is the last byte; None: the answer does not say. `0-0` is ambiguous
    (nothing, or one byte) and counts as nothing."""
    found = re.fullmatch(_RANGE, str(answer.headers.get("Range") or ""))
    if not found:
        return None
    last = int(found[1])
    return last + 1 if last > 0 else 0

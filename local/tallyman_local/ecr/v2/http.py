"""HTTP for `/v2/`: OCI's error answers, streamed bodies, ranges, URLs."""

import json
import re
from collections.abc import Iterable
from contextlib import suppress

from werkzeug.wrappers import Request, Response

from tallyman_local.ecr.errors import OCI, EcrError
from tallyman_local.ecr.store.blobs import CHUNK, ShortBody

_VERSION = {"Docker-Distribution-Api-Version": "registry/2.0"}
SHA512 = re.compile("sha512:[0-9a-f]{128}")  # a valid digest, but ECR only computes SHA-256: nothing has it
_RANGE = re.compile(r"(?:bytes[ =])?([0-9]{1,18})-[0-9]{0,18}(?:/.*)?")


class OciError(Exception):
    """An error answer in the distribution specification's form."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


def unsupported(what: str) -> OciError:
    """A request that the local ECR does not serve."""
    return OciError(405, "UNSUPPORTED", f"{what} is not served by the local ECR yet")


def translate(error: EcrError) -> OciError:
    """The registry's error for an error of the API."""
    status, code = error.oci or OCI.get(error.code, (400, "UNKNOWN"))
    message = "Requested image not found" if error.code == "ImageNotFoundException" else error.message
    return OciError(status, code, message)


def failure(error: OciError) -> Response:
    """The error as a response."""
    body = json.dumps({"errors": [{"code": error.code, "message": error.message}]}) + "\n"
    return Response(body, error.status, _VERSION, content_type="application/json; charset=utf-8")


def reply(status: int, headers: dict[str, str], body: bytes | str | Iterable[bytes] = b"", kind: str = "") -> Response:
    """A response of the registry. Without a body a given Content-Length stays, as HEAD needs it."""
    body = body or ()
    return Response(body, status, {**_VERSION, **headers}, content_type=kind or "text/plain; charset=utf-8")


class Body:
    """A request's body, read in pieces: `Content-Length` bytes, or all of a chunked body."""

    def __init__(self, request: Request) -> None:
        self._input = request.environ["wsgi.input"]
        chunked = "chunked" in request.headers.get("Transfer-Encoding", "").lower()
        self.length = None if chunked else request.content_length or 0
        self._left = self.length
        self._ended = False

    def read(self, size: int) -> bytes:
        """At most `size` bytes; empty at the end. Raises ShortBody where the connection breaks and this shows."""
        if self._left is not None:
            size = min(size, self._left)
        if size == 0 or self._ended:
            return b""
        try:
            data: bytes = self._input.read(size)
        except (OSError, ValueError) as error:  # ValueError: cheroot's, for an incomplete chunk
            self._ended = True
            raise ShortBody(f"the body is incomplete: {error}") from error
        self._ended = not data
        if self._left is not None:
            self._left -= len(data)
        return data

    def drain(self) -> None:
        """Read the rest, so that a refusal reaches a client that is still sending."""
        with suppress(ShortBody):
            while self.read(CHUNK):
                pass


def first_byte(request: Request) -> int | None:
    """The first byte in a `Content-Range`, with or without its unit; None: there is no such header."""
    given = request.headers.get("Content-Range")
    if given is None:
        return None
    found = _RANGE.fullmatch(given.strip())
    if not found:
        raise OciError(416, "BLOB_UPLOAD_INVALID", f"The Content-Range '{given}' is not valid")
    return int(found[1])


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """(first, last) of a `Range` with one part; None: the whole body. Raises ValueError where it can't be satisfied."""
    found = re.fullmatch(r"bytes=([0-9]{0,18})-([0-9]{0,18})", (header or "").strip())
    if not found or found[0] == "bytes=-":
        return None
    if not found[1]:
        count = min(int(found[2]), size)
        if count == 0:
            raise ValueError("an empty suffix")
        return size - count, size - 1
    first, last = int(found[1]), min(int(found[2]) if found[2] else size - 1, size - 1)
    if first >= size or (found[2] and int(found[2]) < first):
        raise ValueError("past the end")
    return first, last


def base(request: Request) -> str:
    """Scheme and host from the client's Host header, for the locations of uploads."""
    return f"{request.scheme}://{request.host}"


def other_name(request: Request) -> str:
    """Scheme and host of the same server under its other loopback name.

    ECR redirects to S3, another host, for which Go's client drops `Authorization`, which S3 refuses. In a redirect to
    the same name it would keep the header.
    """
    host, _, port = request.host.rpartition(":") if ":" in request.host else (request.host, "", "")
    swapped = {"localhost": "127.0.0.1", "127.0.0.1": "localhost", "[::1]": "localhost"}.get(host, host)
    return f"{request.scheme}://{swapped}{':' + port if port else ''}"

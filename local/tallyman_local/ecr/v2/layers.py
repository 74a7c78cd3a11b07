"""`/_layers/`: the bytes of a layer at a presigned URL, which behaves like S3."""

from werkzeug.wrappers import Request, Response

from tallyman.domain.names import Digest, EcrRegistry
from tallyman_local.ecr.api.calls import Parts
from tallyman_local.ecr.store.blobs import stream
from tallyman_local.ecr.v2.http import byte_range

_ONE_MECHANISM = (
    "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or "
    "the Authorization header should be specified"
)


def _refuse(status: int, code: str, message: str, **headers: str) -> Response:
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(body, status, named, content_type="application/xml")


def serve_layer(parts: Parts, request: Request) -> Response:
    """Answer a GET, with Range, in pieces of at most 1 MiB; refuse other methods, `Authorization`, and URLs that are
    older than an hour."""
    if "Authorization" in request.headers:
        return _refuse(400, "InvalidArgument", _ONE_MECHANISM)
    if request.method != "GET":  # the signature covers the method
        text = "The request signature we calculated does not match the signature you provided."
        return _refuse(403, "SignatureDoesNotMatch", text)
    if refusal := parts.tokens.layer_refusal(request.path, request.args):
        return _refuse(*refusal)
    _, _, account, region, name = request.path.split("/")
    path = parts.store.blobs.path(EcrRegistry(account, region), Digest("sha256:" + name))
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return _refuse(404, "NoSuchKey", "The specified key does not exist.")
    size = path.stat().st_size
    headers = {"Accept-Ranges": "bytes", "ETag": f'"{name}"'}
    try:
        wanted = byte_range(request.headers.get("Range"), size)
    except ValueError:
        file.close()
        return _refuse(416, "InvalidRange", "The requested range is not satisfiable", Content_Range=f"bytes */{size}")
    first, last = wanted or (0, size - 1)
    headers["Content-Length"] = str(last - first + 1)
    if wanted:
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    status = 206 if wanted else 200
    pieces = stream(file, first, last - first + 1)
    return Response(pieces, status, headers, content_type="application/octet-stream", direct_passthrough=True)

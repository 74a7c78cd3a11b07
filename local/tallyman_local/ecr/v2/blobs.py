"""`/v2/<name>/blobs/…`: uploads and downloads of layers and configurations, with ECR's oddities.

A PATCH answers 201, not 202, and its `Range` stays at the first chunk although all chunks are stored
(containers-roadmap #2831); there is no `Docker-Upload-UUID`; a GET redirects to a presigned URL.
"""

import re
import uuid

from werkzeug.wrappers import Request, Response

from tallyman.domain.names import Digest, Repository
from tallyman_local.ecr import errors
from tallyman_local.ecr.api.calls import Parts
from tallyman_local.ecr.errors import EcrError
from tallyman_local.ecr.identity import Identity
from tallyman_local.ecr.store.blobs import Upload
from tallyman_local.ecr.store.rows import RepositoryRow
from tallyman_local.ecr.v2.http import SHA512, Body, OciError, base, first_byte, other_name, reply


def _digest(text: str) -> Digest:
    try:
        return Digest.parse(text)
    except ValueError as error:
        raise OciError(400, "DIGEST_INVALID", f"Invalid digest '{text}'") from error


class BlobRoutes:
    """The routes below `blobs/`."""

    #: False: as in the specification (PATCH 202, Range of what is stored); only for tests/tools/conformance.py.
    oddities = True

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def serve(
        self, kind: str, request: Request, body: Body, identity: Identity, name: Repository, found: re.Match[str]
    ) -> Response:
        """Answer one request, which is authorized already."""
        repository = self._parts.store.get(name)
        if kind == "blobs" and SHA512.fullmatch(found["digest"]):
            raise OciError(404, "BLOB_UNKNOWN", f"The layer with digest '{found['digest']}' does not exist")
        if kind == "blobs":
            return self._read(request, repository, _digest(found["digest"]))
        upload_id = found["upload"]
        if request.method == "POST":
            return self._start(request, repository, identity)
        if request.method == "DELETE":
            with self._parts.store.upload(repository, upload_id):
                self._parts.store.drop_upload(repository, upload_id)
            return reply(204, {})
        with self._parts.store.upload(repository, upload_id) as upload:
            if request.method == "GET":
                return reply(204, self._progress(request, repository, upload_id, upload.size))
            self._append(request, body, upload)
            if request.method == "PATCH":
                status, size = (201, upload.first_chunk) if self.oddities else (202, upload.size)
                return reply(status, self._progress(request, repository, upload_id, size))
            return self._complete(request, repository, upload_id, upload)

    def _read(self, request: Request, repository: RepositoryRow, digest: Digest) -> Response:
        size = self._parts.store.layer_size(repository.id, digest)
        if size is None:
            text = f"The layer with digest '{digest}' does not exist in the repository with name "
            text += f"'{repository.name.name}' in the registry with id '{repository.name.registry.account}'"
            raise OciError(404, "BLOB_UNKNOWN", text)
        if request.method == "HEAD":
            headers = {"Docker-Content-Digest": str(digest), "Content-Length": str(size)}
            return reply(200, headers, kind="application/octet-stream")
        address = other_name(request) + self._parts.tokens.layer_path(repository.name, digest)
        return reply(307, {"Location": address, "Docker-Content-Digest": str(digest)})

    def _progress(self, request: Request, repository: RepositoryRow, upload_id: str, size: int) -> dict[str, str]:
        location = f"{base(request)}/v2/{repository.name.name}/blobs/uploads/{upload_id}"
        return {"Location": location, "Range": f"0-{max(size - 1, 0)}"}

    def _start(self, request: Request, repository: RepositoryRow, identity: Identity) -> Response:
        if request.args.get("mount") and self._mount(request, repository, identity):
            return self._created(request, repository, _digest(request.args["mount"]))
        upload_id = str(uuid.uuid4())
        self._parts.store.start_upload(repository, upload_id)
        return reply(202, self._progress(request, repository, upload_id, 0))

    def _mount(self, request: Request, repository: RepositoryRow, identity: Identity) -> bool:
        """Whether the blob was mounted: only from a repository of the same registry with the same encryption, from
        which the caller may download."""
        if SHA512.fullmatch(request.args["mount"]):
            return False
        digest, registry = _digest(request.args["mount"]), repository.name.registry
        source = self._parts.store.find(Repository(registry, request.args.get("from", "")))
        enabled = self._parts.settings.account(registry, "BLOB_MOUNTING") == "ENABLED"
        if not enabled or source is None or source.encryption != repository.encryption:
            return False
        with self._parts.store.db.transaction():
            repository, source = self._parts.store.get(repository.name), self._parts.store.get(source.name)
            size = self._parts.store.layer_size(source.id, digest)
            if size is None:
                return False
            try:
                self._parts.permit(identity, "GetDownloadUrlForLayer", registry, source.name.name)
            except EcrError:
                return False
            self._parts.store.add_layer(repository.id, digest, size)
        return True

    def _append(self, request: Request, body: Body, upload: Upload) -> None:
        if (first := first_byte(request)) not in (None, upload.size):
            text = f"First byte of the layer part is {first} instead of {upload.size}"
            raise OciError(416, "BLOB_UPLOAD_INVALID", text)
        upload.append(body.read, body.length)

    def _complete(self, request: Request, repository: RepositoryRow, upload_id: str, upload: Upload) -> Response:
        digest = _digest(request.args.get("digest", ""))
        if upload.size == 0:
            raise errors.upload_empty(repository.name, upload_id)
        if upload.digest() != digest:
            calculated = upload.digest()
            self._parts.store.drop_upload(repository, upload_id)
            raise errors.layer_mismatch(repository.name, [digest], calculated)
        self._parts.store.keep_upload(repository, upload_id, upload)
        return self._created(request, repository, digest)

    def _created(self, request: Request, repository: RepositoryRow, digest: Digest) -> Response:
        location = f"{base(request)}/v2/{repository.name.name}/blobs/{digest}"
        return reply(201, {"Location": location, "Docker-Content-Digest": str(digest)})

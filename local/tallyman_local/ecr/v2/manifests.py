"""`/v2/<name>/manifests/…`, `tags/list` and `referrers/…`."""

import json
import re
from typing import Any

from werkzeug.wrappers import Request, Response

from tallyman.domain.images.manifest import MAX_MANIFEST_BYTES
from tallyman.domain.names import Digest, Repository
from tallyman_local.ecr import errors
from tallyman_local.ecr.api.calls import Parts
from tallyman_local.ecr.errors import EcrError
from tallyman_local.ecr.identity import Identity
from tallyman_local.ecr.manifests import INDEXES
from tallyman_local.ecr.rules import conversion
from tallyman_local.ecr.rules.images import TAG, Failure
from tallyman_local.ecr.store.blobs import ShortBody
from tallyman_local.ecr.store.rows import RepositoryRow
from tallyman_local.ecr.v2.catalog import JSON, after, bad_last, next_page, page_size
from tallyman_local.ecr.v2.http import SHA512, Body, OciError, base, reply


def _reference(text: str) -> tuple[str | None, str | None]:
    """(digest, tag) of a reference, of which one is None. Raises OciError."""
    if ":" in text:
        try:
            return Digest.parse(text), None
        except ValueError as error:
            raise OciError(400, "DIGEST_INVALID", f"Invalid digest '{text}'") from error
    if not TAG.fullmatch(text):
        raise OciError(400, "TAG_INVALID", f"Invalid tag '{text}': must satisfy regular expression '{TAG.pattern}'")
    return None, text


class ManifestRoutes:
    """The routes of manifests, tags and referrers."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def serve(
        self, kind: str, request: Request, body: Body, identity: Identity, name: Repository, found: re.Match[str]
    ) -> Response:
        """Answer one request, which is authorized already."""
        repository = self._parts.store.get(name)
        if kind == "tags":
            return self._tags(request, repository)
        if kind == "referrers":
            return self._referrers(request, repository, found["digest"])
        if request.method != "PUT" and SHA512.fullmatch(found["reference"]):
            raise OciError(404, "MANIFEST_UNKNOWN", "Requested image not found")
        digest, tag = _reference(found["reference"])
        if request.method == "PUT":
            return self._put(request, body, identity, name, digest, tag)
        if request.method == "DELETE":
            return self._delete(identity, name, digest, tag)
        image = self._parts.images.readable(repository, digest, tag)
        if request.method == "HEAD":
            raw = self._parts.images.raw(repository, image)
        else:
            raw = self._parts.images.pull(repository, image, identity)
        accepted = conversion.acceptable(request.headers.getlist("Accept")) if tag else frozenset()
        answered = conversion.for_client(raw, image, accepted)
        headers = {"Docker-Content-Digest": str(answered.digest), "Content-Length": str(len(answered.raw))}
        return reply(200, headers, answered.raw if request.method == "GET" else b"", answered.media_type)

    def _put(
        self, request: Request, body: Body, identity: Identity, name: Repository, digest: str | None, tag: str | None
    ) -> Response:
        raw = bytearray()
        while (data := body.read(1 << 16)) and len(raw) <= MAX_MANIFEST_BYTES:
            raw += data
        if body.length is not None and len(raw) < min(body.length, MAX_MANIFEST_BYTES + 1):
            raise ShortBody(f"the manifest ended after {len(raw)} of {body.length} bytes")
        asked: dict[str, Any] = {"repositoryName": name.name, "registryId": name.registry.account}
        asked |= {key: value for key, value in (("imageTag", tag), ("imageDigest", digest)) if value}
        asked["imageManifestMediaType"] = request.mimetype or None
        try:
            put = self._parts.images.put(name, bytes(raw), request.mimetype or None, tag, digest, over_http=True)
        except EcrError as error:
            self._parts.events.call("PutImage", name.registry, identity, asked, None, (error.code, error.message))
            raise
        if put.changed:  # an unchanged one leaves no record: ECR's API would refuse it
            image_id = {"imageDigest": str(put.image.digest), **({"imageTag": tag} if tag else {})}
            image = {"registryId": name.registry.account, "repositoryName": name.name, "imageId": image_id}
            image["imageManifestMediaType"] = put.image.media_type
            self._parts.events.call("PutImage", name.registry, identity, asked, {"image": image})
        location = f"{base(request)}/v2/{name.name}/manifests/{put.image.digest}"
        headers = {"Location": location, "Docker-Content-Digest": str(put.image.digest)}
        if put.image.subject:
            headers["OCI-Subject"] = put.image.subject
        return reply(201, headers)

    def _delete(self, identity: Identity, name: Repository, digest: str | None, tag: str | None) -> Response:
        image_id = {key: value for key, value in (("imageDigest", digest), ("imageTag", tag)) if value}
        asked = {"repositoryName": name.name, "registryId": name.registry.account, "imageIds": [image_id]}
        found = self._parts.images.delete(name, digest, tag)
        if isinstance(found, Failure):
            if found.code == "ImageNotFound":
                raise errors.image_not_found(name, digest, tag)
            raise EcrError(found.code, found.reason)
        gone = [{"imageDigest": str(d), **({"imageTag": t} if t else {})} for d, t in found]
        answer = {"imageIds": gone, "failures": []}
        self._parts.events.call("BatchDeleteImage", name.registry, identity, asked, answer)
        return reply(202, {})

    def _tags(self, request: Request, repository: RepositoryRow) -> Response:
        count, last = page_size(request), after(request)
        if last and not re.fullmatch("[0-9]{1,18}", last):
            raise bad_last()
        rows = self._parts.store.tag_rows(repository.id, int(last or 0), count + 1)
        page = rows[:count]
        path = f"/v2/{repository.name.name}/tags/list"
        headers = next_page(path, str(page[-1][0]), count) if len(rows) > count else {}
        body = {"name": repository.name.name, "tags": [tag for _, tag in page]}
        return reply(200, headers, json.dumps(body), JSON)

    def _referrers(self, request: Request, repository: RepositoryRow, subject: str) -> Response:
        digest, _ = _reference(subject)
        if digest is None:
            raise OciError(400, "DIGEST_INVALID", f"Invalid digest '{subject}'")
        wanted = request.args.getlist("artifactType")
        found = self._parts.images.referrers(repository, digest, wanted, "ACTIVE")
        descriptors = [{k: v for k, v in d.items() if v is not None and k != "status"} for d in found]
        index = {"schemaVersion": 2, "mediaType": INDEXES[0], "manifests": descriptors}
        headers = {"OCI-Filters-Applied": "artifactType"} if wanted else {}
        return reply(200, headers, json.dumps(index), INDEXES[0])

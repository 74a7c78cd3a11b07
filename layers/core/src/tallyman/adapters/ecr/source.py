"""Reading images: manifests and lists by ECR's API, blobs from where ECR keeps them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from urllib3.response import BaseHTTPResponse

from tallyman.adapters.aws.clients import Clients
from tallyman.adapters.ecr.calls import (
    describe_images,
    describe_page,
    detail_of,
    missing_layers,
    names,
    read_manifest,
    read_manifests,
)
from tallyman.adapters.errors.translate import translated
from tallyman.adapters.http.pooled import CHUNK, Http
from tallyman.domain.images.details import ImageDetail
from tallyman.domain.images.manifest import Descriptor, Manifest
from tallyman.domain.names import Digest, Repository
from tallyman.domain.permissions import permissions
from tallyman.errors import NotAllowed, NotFound, Throttled, Unreachable, Unsupported
from tallyman.ports.copying import BlobStream


class EcrSource:
    """`ImageSource`, with the role that reads."""

    PERMISSIONS: tuple[str, ...] = permissions(
        "ecr:BatchCheckLayerAvailability",
        "ecr:BatchGetImage",
        "ecr:DescribeImages",
        "ecr:GetDownloadUrlForLayer",
        "ecr:ListImageReferrers",
    )

    def __init__(self, clients: Clients, http: Http) -> None:
        self._clients, self._http = clients, http

    def manifest(self, repository: Repository, reference: str) -> Manifest | None:
        return read_manifest(self._client(repository), repository, reference)

    def manifests(self, repository: Repository, references: Sequence[str]) -> dict[str, Manifest]:
        return read_manifests(self._client(repository), repository, references)

    def describe(self, repository: Repository, references: Sequence[str]) -> list[ImageDetail]:
        return describe_images(self._client(repository), repository, references)

    def images(self, repository: Repository) -> Iterator[ImageDetail]:
        client = self._client(repository)
        request: dict[str, Any] = {**names(repository), "maxResults": 1000}
        while True:
            answer = describe_page(client, repository, request)
            for image in answer.get("imageDetails", []):
                yield detail_of(repository, image)
            if not answer.get("nextToken"):
                return
            request["nextToken"] = answer["nextToken"]

    def missing_blobs(self, repository: Repository, digests: Iterable[Digest]) -> set[Digest]:
        return missing_layers(self._client(repository), repository, digests)

    @contextmanager
    def open_blob(self, repository: Repository, digest: Digest, start: int = 0) -> Iterator[BlobStream]:
        """GetDownloadUrlForLayer, then a GET of that presigned URL without any credentials of ours."""
        what = f"read the blob {digest} of {repository}"
        with translated(what):
            url = self._client(repository).get_download_url_for_layer(**names(repository), layerDigest=digest)[
                "downloadUrl"
            ]
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        response = self._http.open("GET", url, headers=headers, what=what)
        try:
            yield _Blob(response, start, what)
        finally:
            response.close()  # after the whole body the connection is back in the pool already

    def referrers(self, repository: Repository, subject: Digest) -> list[Descriptor]:
        """ListImageReferrers, 50 a page. A registry without that call is taken to hold no referrers: ECR had none
        before it had the call."""
        client = self._client(repository)
        request: dict[str, Any] = {**names(repository), "subjectId": {"imageDigest": subject}, "maxResults": 50}
        found: list[Descriptor] = []
        while True:
            try:
                with translated(f"list the referrers of {repository}@{subject}"):
                    answer = client.list_image_referrers(**request)
            except Unsupported:
                return found
            found.extend(_referrer(r) for r in answer.get("referrers", []))
            if not answer.get("nextToken"):
                return found
            request["nextToken"] = answer["nextToken"]

    def _client(self, repository: Repository) -> Any:
        return self._clients.get("ecr", repository.registry)


class _Blob:
    """`size` is the whole blob's, also where reading starts further on."""

    def __init__(self, response: BaseHTTPResponse, start: int, what: str) -> None:
        self._response, self._what = response, what
        status = response.status
        if status not in (200, 206):
            kind = {403: NotAllowed, 404: NotFound, 429: Throttled, 503: Throttled}.get(status, Unreachable)
            raise kind(f"{what}: the store of layers answers {status}")
        length = _number(response.headers.get("Content-Length"))
        self._skip = start if status == 200 else 0  # ranges are optional to a server
        if status == 206 and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise Unreachable(f"{what}: asked from byte {start}, the answer is another part")
        self._expected = length
        self.size: int | None = None if length is None else length + (start if status == 206 else 0)

    def __iter__(self) -> Iterator[bytes]:
        got = 0
        while True:
            with translated(self._what):
                part = self._response.read(CHUNK, decode_content=False)
            if not part:
                break
            got += len(part)
            if self._skip:
                part, self._skip = part[self._skip :], max(0, self._skip - len(part))
            if part:
                yield part
        if self._expected is not None and got != self._expected:
            raise Unreachable(f"{self._what}: {got} of {self._expected} bytes came")


def _referrer(found: Mapping[str, Any]) -> Descriptor:
    return Descriptor(
        media_type=found.get("mediaType", ""),
        digest=Digest.parse(found["digest"]),
        size=int(found.get("size", 0)),
        artifact_type=found.get("artifactType"),
        annotations=dict(found.get("annotations") or {}),
    )


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None

"""Read images: manifests and lists through ECR's API, blobs from the URLs that it presigns."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from tallyman.adapters.aws.clients import Clients
from tallyman.adapters.aws.paging import items
from tallyman.adapters.ecr.calls import (
    EcrAdapter,
    describe_images,
    describe_page,
    detail_of,
    missing_layers,
    names,
    read_manifest,
    read_manifests,
)
from tallyman.adapters.errors.translate import translated
from tallyman.adapters.http.client import HttpClient
from tallyman.adapters.oci.blob_body import BlobBody
from tallyman.domain.images.details import ImageDetail
from tallyman.domain.images.manifest import Descriptor, Manifest
from tallyman.domain.names import Digest, Location, Repository
from tallyman.domain.permissions import permissions
from tallyman.errors import BadName, Unsupported
from tallyman.ports.copying import BlobStream, Listing


class EcrSource(EcrAdapter):
    """`ImageSource`, with the role that reads."""

    PERMISSIONS: tuple[str, ...] = permissions(
        "ecr:BatchCheckLayerAvailability",
        "ecr:BatchGetImage",
        "ecr:DescribeImages",
        "ecr:GetDownloadUrlForLayer",
        "ecr:ListImageReferrers",
    )

    def __init__(self, clients: Clients, http: HttpClient) -> None:
        super().__init__(clients)
        self._http = http

    def manifest(self, repository: Repository, reference: str) -> Manifest | None:
        return read_manifest(self._client(repository), repository, reference)

    def manifests(self, repository: Location, references: Sequence[str]) -> dict[str, Manifest]:
        return read_manifests(self._client(repository), repository, references)

    def describe(self, repository: Repository, references: Sequence[str]) -> list[ImageDetail]:
        return describe_images(self._client(repository), repository, references)

    def images(self, repository: Repository) -> Iterator[ImageDetail]:
        client, what = self._client(repository), f"describe images of {repository}"
        request = {**names(repository), "maxResults": 1000}
        for image in items(partial(describe_page, client, repository), request, "imageDetails", what):
            yield detail_of(repository, image)

    def missing_blobs(self, repository: Location, digests: Iterable[Digest]) -> set[Digest]:
        return missing_layers(self._client(repository), repository, digests)

    @contextmanager
    def open_blob(self, repository: Location, digest: Digest, start: int = 0) -> Iterator[BlobStream]:
        """GetDownloadUrlForLayer, then a GET of that presigned URL without our credentials."""
        what = f"read the blob {digest} of {repository}"
        with translated(what):
            url = self._client(repository).get_download_url_for_layer(**names(repository), layerDigest=digest)[
                "downloadUrl"
            ]
        headers = {"Range": f"bytes={start}-"} if start else {}
        response = self._http.open("GET", url, headers=headers, what=what)
        try:
            yield BlobBody(response, start, what, busy=(429, 503))
        finally:
            response.close()  # a body that was read whole has returned its connection already

    def referrers(self, repository: Location, subject: Digest) -> Listing:
        """ListImageReferrers, 50 a page. A registry that does not know the call has no referrers: ECR could not store
        any before it had the call."""
        what = f"list the referrers of {repository}@{subject}"
        request = {**names(repository), "subjectId": {"imageDigest": subject}, "maxResults": 50}
        found = Listing()
        try:
            for entry in items(self._client(repository).list_image_referrers, request, "referrers", what):
                try:
                    found.append(_referrer(entry))
                except BadName as error:
                    found.odd[str(entry.get("digest"))] = str(error)
        except Unsupported:
            return Listing()
        return found


def _referrer(found: Mapping[str, Any]) -> Descriptor:
    return Descriptor(
        media_type=found.get("mediaType", ""),
        digest=Digest.parse(found.get("digest")),
        size=int(found.get("size", 0)),
        artifact_type=found.get("artifactType"),
        annotations=dict(found.get("annotations") or {}),
    )

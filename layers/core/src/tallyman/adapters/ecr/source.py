"""Read images: manifests and lists through ECR's API, blobs from the URLs that it presigns."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from tallyman.adapters.aws.clients import Clients
from tallyman.adapters.aws.paging import batches, items, listed
from tallyman.adapters.ecr.calls import names, utc
from tallyman.adapters.ecr.images import EcrImages, image_id
from tallyman.adapters.errors.translate import translated
from tallyman.adapters.http.client import HttpClient
from tallyman.adapters.oci.blob_body import BlobBody
from tallyman.domain.images.details import ImageDetail
from tallyman.domain.images.manifest import Descriptor
from tallyman.domain.names import Digest, Location, Repository
from tallyman.domain.permissions import permissions
from tallyman.errors import BadInput, BadName, NotFound, Unreachable, Unsupported
from tallyman.ports.copying import BlobStream, Listing


class EcrSource(EcrImages):
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

    def describe(self, repository: Repository, references: Sequence[str]) -> list[ImageDetail]:
        """The images that exist. One DescribeImages for 100 references; it fails where one image is missing, and names
        only that one. Then the list is halved: about 2·log2(100) calls for each missing image."""
        client = self._client(repository)
        found = (detail for batch in batches(references) for detail in _describe(client, repository, batch))
        return list({detail.digest: detail for detail in found}.values())

    def images(self, repository: Repository) -> Iterator[ImageDetail]:
        client, what = self._client(repository), f"describe images of {repository}"
        request = {**names(repository), "maxResults": 1000}
        for image in items(partial(_describe_page, client, repository), request, "imageDetails", what):
            yield _detail(repository, image)

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


def _describe(client: Any, repository: Repository, references: Sequence[str]) -> list[ImageDetail]:
    request = {**names(repository), "imageIds": [image_id(r) for r in references]}
    try:
        answer = _describe_page(client, repository, **request)
    except NotFound as error:
        if error.code == "RepositoryNotFoundException":
            raise
        if len(references) == 1:
            return []
        half = len(references) // 2
        return _describe(client, repository, references[:half]) + _describe(client, repository, references[half:])
    what = f"describe images of {repository}"
    found = [_detail(repository, image) for image in listed(answer, "imageDetails", what)]
    named = {name for detail in found for name in (detail.digest, *detail.tags)}
    if silent := [reference for reference in references if reference not in named]:
        raise Unreachable(f"{what}: the answer does not name {silent[0]}")
    return found


def _describe_page(client: Any, repository: Repository, **request: Any) -> dict[str, Any]:
    """One DescribeImages that includes archived images; a second without that filter where the API refuses it."""
    what = f"describe images of {repository}"
    try:
        with translated(what):
            return dict(client.describe_images(**request, filter={"imageStatus": "ANY"}))
    except BadInput:
        with translated(what):
            return dict(client.describe_images(**request))


def _detail(repository: Repository, image: Mapping[str, Any]) -> ImageDetail:
    """The image of an `imageDetails` item of DescribeImages. Raises Unreachable where the item lacks the digest or the
    time of the push."""
    if not image.get("imageDigest") or not image.get("imagePushedAt"):
        raise Unreachable(f"describe images of {repository}: an image lacks its digest or the time of its push")
    subject = image.get("subjectManifestDigest")
    return ImageDetail(
        repository=repository,
        digest=Digest.parse(image["imageDigest"]),
        tags=tuple(image.get("imageTags", ())),
        size=image.get("imageSizeInBytes"),
        pushed_at=utc(image["imagePushedAt"]),
        media_type=image.get("imageManifestMediaType"),
        artifact_type=image.get("artifactMediaType"),
        subject=Digest.parse(subject) if subject else None,
        archived=image.get("imageStatus", "ACTIVE") != "ACTIVE",
        pulled_at=utc(image["lastRecordedPullTime"]) if image.get("lastRecordedPullTime") else None,
    )

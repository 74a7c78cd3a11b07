"""Calls of ECR's API that several adapters share, with their answers as values of the domain."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tallyman.adapters.aws.clients import Clients, RoleKind
from tallyman.adapters.aws.paging import batches, listed
from tallyman.adapters.errors.translate import translated
from tallyman.domain.images.details import ImageDetail, RepositorySettings
from tallyman.domain.images.documents import loads
from tallyman.domain.images.manifest import MANIFEST_TYPES, Manifest
from tallyman.domain.names import Digest, EcrRegistry, Location, Repository, in_ecr
from tallyman.errors import BadInput, NotAllowed, NotFound, Refused, TallymanError, Throttled, Unreachable

_FAILURES: dict[str, type[TallymanError]] = {
    "InvalidImageDigest": BadInput,
    "InvalidImageTag": BadInput,
    "KmsError": NotAllowed,
    "UpstreamAccessDenied": NotAllowed,
    "UpstreamTooManyRequests": Throttled,
    "UpstreamUnavailable": Unreachable,
    "ImageInaccessible": Refused,  # archived, for example
}


class EcrAdapter:
    """An adapter that calls ECR's API. `ROLE`: the kind of role with which it does."""

    ROLE: RoleKind = "read"

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def _client(self, repository: Location) -> Any:
        return self._clients.get("ecr", in_ecr(repository.registry), self.ROLE)


def image_id(reference: str) -> dict[str, str]:
    """The API's `imageId` of a digest or a tag."""
    return {"imageDigest": reference} if reference.startswith("sha256:") else {"imageTag": reference}


def mutability(settings: RepositorySettings) -> dict[str, Any]:
    """The keys for tag mutability of CreateRepository and PutImageTagMutability."""
    if settings.immutable and settings.mutable_tags:
        return {
            "imageTagMutability": "IMMUTABLE_WITH_EXCLUSION",
            "imageTagMutabilityExclusionFilters": [
                {"filterType": "WILDCARD", "filter": tag} for tag in settings.mutable_tags
            ],
        }
    return {"imageTagMutability": "IMMUTABLE" if settings.immutable else "MUTABLE"}


def names(repository: Location) -> dict[str, str]:
    """The keys for registry and repository, which every call of the API takes."""
    return {"registryId": in_ecr(repository.registry).account, "repositoryName": repository.name}


def read_manifest(client: Any, repository: Location, reference: str) -> Manifest | None:
    """One BatchGetImage; None where there is no such image. The API returns the pushed bytes as text in UTF-8.

    ECR counts it as a pull of the image (`lastRecordedPullTime`), like every read of a manifest.
    """
    return read_manifests(client, repository, [reference]).get(reference)


def read_manifests(client: Any, repository: Location, references: Sequence[str]) -> dict[str, Manifest]:
    """The manifests that exist, by reference. One BatchGetImage for 100 references."""
    found: dict[str, Manifest] = {}
    for batch in batches(references):
        what = f"read the manifest {batch[0]} of {repository}"
        if len(batch) > 1:
            what = f"read {len(batch)} manifests of {repository}"
        with translated(what):
            answer = client.batch_get_image(
                **names(repository),
                imageIds=[image_id(reference) for reference in batch],
                acceptedMediaTypes=list(MANIFEST_TYPES),
            )
        missing: set[str] = set()
        for failure in answer.get("failures") or []:
            code = str(failure.get("failureCode", ""))
            missing.update(str(name) for name in (failure.get("imageId") or {}).values())
            if code not in ("ImageNotFound", "ImageTagDoesNotMatchDigest"):
                kind = _FAILURES.get(code, Refused)
                raise kind(f"{what}: {failure.get('failureReason', 'refused')} ({code})")
        for image in listed(answer, "images", what):
            raw = image["imageManifest"].encode("utf-8", "surrogatepass")
            manifest = Manifest(raw, image.get("imageManifestMediaType") or _media_type(raw))
            if len(batch) == 1:
                found[batch[0]] = manifest
                continue
            named = image.get("imageId", {})
            found.update((r, manifest) for r in (named.get("imageDigest"), named.get("imageTag")) if r in batch)
        if silent := [r for r in batch if r not in found and r not in missing]:
            raise Unreachable(f"{what}: the answer does not name {silent[0]}")
    return found


def describe_images(client: Any, repository: Repository, references: Sequence[str]) -> list[ImageDetail]:
    """The images that exist. One DescribeImages for 100 references; it fails where one image is missing, and names only
    that one. Then the list is halved: about 2·log2(100) calls for each missing image."""
    found: dict[Digest, ImageDetail] = {}
    for batch in batches(references):
        for detail in _describe(client, repository, batch):
            found[detail.digest] = detail
    return list(found.values())


def _describe(client: Any, repository: Repository, references: Sequence[str]) -> list[ImageDetail]:
    request = {**names(repository), "imageIds": [image_id(r) for r in references]}
    try:
        answer = describe_page(client, repository, **request)
    except NotFound as error:
        if "RepositoryNotFoundException" in str(error):
            raise
        if len(references) == 1:
            return []
        half = len(references) // 2
        return _describe(client, repository, references[:half]) + _describe(client, repository, references[half:])
    what = f"describe images of {repository}"
    found = [detail_of(repository, image) for image in listed(answer, "imageDetails", what)]
    named = {name for detail in found for name in (detail.digest, *detail.tags)}
    if silent := [reference for reference in references if reference not in named]:
        raise Unreachable(f"{what}: the answer does not name {silent[0]}")
    return found


def describe_page(client: Any, repository: Repository, **request: Any) -> dict[str, Any]:
    """One DescribeImages that includes archived images; a second without that filter where the API refuses it."""
    what = f"describe images of {repository}"
    try:
        with translated(what):
            return dict(client.describe_images(**request, filter={"imageStatus": "ANY"}))
    except BadInput:
        with translated(what):
            return dict(client.describe_images(**request))


def missing_layers(client: Any, repository: Location, digests: Iterable[Digest]) -> set[Digest]:
    """The blobs that the repository lacks. One BatchCheckLayerAvailability for 100 digests; to ECR, configurations are
    layers too."""
    missing: set[Digest] = set()
    for batch in batches(digests):
        with translated(f"look for {len(batch)} layers in {repository}"):
            answer = client.batch_check_layer_availability(**names(repository), layerDigests=[str(d) for d in batch])
        there = {
            layer.get("layerDigest")
            for layer in answer.get("layers") or []
            if layer.get("layerAvailability") == "AVAILABLE"
        }
        missing.update(d for d in batch if d not in there)
    return missing


def detail_of(repository: Repository, image: Mapping[str, Any]) -> ImageDetail:
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


def settings_of(registry: EcrRegistry, found: Mapping[str, Any]) -> RepositorySettings:
    """The settings of a `repositories` item of DescribeRepositories. MUTABLE_WITH_EXCLUSION, under which only some tags
    are fixed, counts as mutable: a tag can't be relied on to stay."""
    mutability = found.get("imageTagMutability", "MUTABLE")
    immutable = mutability in ("IMMUTABLE", "IMMUTABLE_WITH_EXCLUSION")
    filters = found.get("imageTagMutabilityExclusionFilters") or []
    encryption = found.get("encryptionConfiguration") or {}
    return RepositorySettings(
        repository=Repository(registry, found["repositoryName"]),
        immutable=immutable,
        mutable_tags=tuple(f["filter"] for f in filters) if immutable else (),
        encryption=encryption.get("encryptionType", "AES256"),
        kms_key=encryption.get("kmsKey"),
        scan_on_push=bool((found.get("imageScanningConfiguration") or {}).get("scanOnPush")),
        created_at=utc(found["createdAt"]) if found.get("createdAt") else None,
    )


def utc(moment: datetime) -> datetime:
    """The moment in UTC; botocore's own parser returns the machine's time zone."""
    return moment.astimezone(UTC)


def _media_type(raw: bytes) -> str:
    """The document's own `mediaType`; empty where it has none: `Manifest` then reports what is wrong."""
    try:
        found = loads(raw)
    except ValueError:
        return ""
    return str(found.get("mediaType", "")) if isinstance(found, dict) else ""
